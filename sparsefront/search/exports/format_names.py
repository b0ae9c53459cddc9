"""What `export --format` may be; apart from formats.py, whose imports are heavy."""

from __future__ import annotations

from typing import Literal

Format = Literal["original", "onnx", "pt2", "aotinductor"]
