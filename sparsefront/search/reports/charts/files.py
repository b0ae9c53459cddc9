"""Files that appear whole or not at all: pictures, pages, tables."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

from sparsefront.files.atomic import write_bytes


def save_picture(figure: Any, path: Path) -> None:
    """A matplotlib figure as PNG."""
    content = io.BytesIO()
    figure.savefig(content, format="png")
    write_bytes(path, content.getvalue())
