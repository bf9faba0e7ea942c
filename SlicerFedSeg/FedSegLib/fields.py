"""Typed reading of JSON objects: what is missing or of the wrong type becomes a ProtocolError that names it."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence

from .errors import ProtocolError
from .language import mark
from .language import tr as _

_HINT = mark("The server may be of another version, or not a MONAI Label server.")


def parse_object(body: bytes, what: str) -> Mapping[str, object]:
    """Decode a JSON object.

    Raises:
        ProtocolError: not JSON, or JSON that is no object.
    """
    try:
        value = json.loads(body)
    except ValueError:
        raise ProtocolError(_("The reply to {what} is not JSON.").format(what=what), _(_HINT)) from None
    if not isinstance(value, dict):
        raise ProtocolError(_("The reply to {what} is not a JSON object.").format(what=what), _(_HINT))
    return value


class Fields:
    """Access to one JSON object of a reply.

    Args:
        values: the object.
        what: what it is, for messages ("the next case").
    """

    def __init__(self, values: object, what: str) -> None:
        if not isinstance(values, Mapping):
            raise ProtocolError(
                _("{what} should be a JSON object, not {values}.").format(what=what, values=_show(values)), _(_HINT)
            )
        self._values: Mapping[str, object] = values
        self._what = what

    def _bad(self, key: str, wanted: str) -> ProtocolError:
        return ProtocolError(
            _("'{key}' of {what} should be {wanted}, not {found}.").format(
                key=key, what=self._what, wanted=wanted, found=_show(self._values.get(key))
            ),
            _(_HINT),
        )

    def keys(self) -> list[str]:
        """Names in the object."""
        return [str(key) for key in self._values]

    def has(self, key: str) -> bool:
        """True when the key is there and not null."""
        return self._values.get(key) is not None

    def text(self, key: str, default: str | None = None) -> str:
        """A string; required when no default is given."""
        value = self._values.get(key)
        if value is None and default is not None:
            return default
        if not isinstance(value, str):
            raise self._bad(key, "text")
        return value

    def maybe_text(self, key: str) -> str | None:
        """A string, or None when absent."""
        return self.text(key) if self.has(key) else None

    def number(self, key: str, default: float | None = None) -> float:
        """A finite number; required when no default is given."""
        value = self._values.get(key)
        if value is None and default is not None:
            return default
        if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
            raise self._bad(key, _("a number"))
        return float(value)

    def maybe_number(self, key: str) -> float | None:
        """A finite number, or None when absent."""
        return self.number(key) if self.has(key) else None

    def whole(self, key: str, default: int | None = None) -> int:
        """A whole number; required when no default is given."""
        value = self._values.get(key)
        if value is None and default is not None:
            return default
        if isinstance(value, bool) or not isinstance(value, int):
            raise self._bad(key, _("a whole number"))
        return value

    def flag(self, key: str, default: bool = False) -> bool:
        """True or false."""
        value = self._values.get(key, default)
        if not isinstance(value, bool):
            raise self._bad(key, _("true or false"))
        return value

    def maybe_flag(self, key: str) -> bool | None:
        """True, false, or None when absent."""
        return self.flag(key) if self.has(key) else None

    def child(self, key: str) -> Fields:
        """An object, empty when absent."""
        value = self._values.get(key)
        return Fields({} if value is None else value, _("'{key}' of {what}").format(key=key, what=self._what))

    def children(self, key: str) -> list[Fields]:
        """A list of objects, empty when absent."""
        return [Fields(item, _("'{key}' of {what}").format(key=key, what=self._what)) for item in self.items(key)]

    def items(self, key: str) -> Sequence[object]:
        """A list, empty when absent."""
        value = self._values.get(key)
        if value is None:
            return []
        if not isinstance(value, list):
            raise self._bad(key, _("a list"))
        return value

    def raw(self, key: str) -> object:
        """The value as it is."""
        return self._values.get(key)


def _show(value: object) -> str:
    shown = repr(value)
    return shown if len(shown) <= 40 else shown[:37] + "..."
