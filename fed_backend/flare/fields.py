"""A message's fields as they travel: JSON, and deflated where that is worth it.

What grows is the status of a long run with many sites, which every site is shown several times a second:
its records are alike, and deflated a tenth is left.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Mapping
from typing import Any

__all__ = ["packed", "unpacked"]

_SHORT = 1024
"""Characters that are sent as they are."""
_MOST = 16 * 2**20
"""Bytes of JSON that are read, so that few bytes cannot fill the memory."""


def packed(fields: Mapping[str, Any]) -> str | bytes:
    """Fields for a message; those that JSON knows."""
    text = json.dumps(dict(fields))
    return text if len(text) <= _SHORT else zlib.compress(text.encode(), level=1)


def unpacked(sent: object) -> dict[str, Any]:
    """The fields of a message.

    Args:
        sent: what came, from anybody.

    Raises:
        ValueError: it is not what :func:`packed` makes, or too long.
    """
    if isinstance(sent, bytes):
        opener = zlib.decompressobj()
        try:
            text = opener.decompress(sent, _MOST)
        except zlib.error:
            raise ValueError("not deflated") from None
        if not opener.eof or opener.unused_data:
            raise ValueError("cut short, or too long")
    elif isinstance(sent, str):
        text = sent.encode()
    else:
        raise ValueError("neither text nor bytes")
    fields = json.loads(text)
    if not isinstance(fields, dict):
        raise ValueError("no mapping")
    json.dumps(fields, ensure_ascii=False).encode()  # half of a character cannot be stored: UnicodeEncodeError
    return fields
