"""Keeps FLARE from writing every message out as text.

``Adapter.call`` of FLARE 2.9 formats a received payload, a ``ConsumableBufferList`` of its chunks, into a debug
line before it asks whether anybody wants debug lines: the bytes become four times as many characters, at every
hop that opens the message.
"""

from __future__ import annotations

from typing import Any

__all__ = ["keep_payloads_unprinted"]


def keep_payloads_unprinted() -> None:
    """In this process, from now on, a received payload's text is how many chunks it has."""
    from nvflare.fuel.utils.buffer_list import ConsumableBufferList

    def short(self: Any) -> str:
        return f"<{len(self)} chunks>"

    ConsumableBufferList.__repr__ = short
