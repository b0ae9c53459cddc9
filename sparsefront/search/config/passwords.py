"""Passwords in URIs, which nothing that is printed or stored may show."""

from __future__ import annotations

import re

_OF_A_USER = re.compile(r"((?:^|//)[^:/\s@]*):(?!//)\S*@")
_OF_A_QUERY = re.compile(r"(password=)[^&\s]+", re.IGNORECASE)


def mask_passwords(text: str) -> str:
    """The text with *** for the password of every URI in it."""
    return _OF_A_QUERY.sub(r"\1***", _OF_A_USER.sub(r"\1:***@", text))
