"""The address of a site server, as a person types it."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from urllib.parse import urlsplit

from .errors import BadAddress
from .language import mark
from .language import tr as _

_HINT = mark("Write it like https://site.hospital.example:8000 or http://127.0.0.1:8000.")


@dataclass(frozen=True)
class Address:
    """A checked server address.

    Attributes:
        url: ``scheme://host[:port][/path]`` without a trailing slash.
        scheme: "http" or "https".
        host: host name or IP address, lower case.
        loopback: True when the server runs on this computer.
    """

    url: str
    scheme: str
    host: str
    loopback: bool

    @property
    def encrypted(self) -> bool:
        """True when nobody on the way can read what is sent."""
        return self.scheme == "https"

    @property
    def private(self) -> bool:
        """True when others cannot read what is sent: encrypted, or it never leaves this computer."""
        return self.encrypted or self.loopback


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def parse_address(text: str) -> Address:
    """Check and normalise what was typed.

    A missing scheme becomes http for this computer and https for any other.

    Raises:
        BadAddress: empty, another scheme, no host, a bad port, or a user name, query or fragment in it.
    """
    text = text.strip()
    if not text:
        raise BadAddress(_("There is no server address."), _(_HINT))
    if "://" not in text:
        host = urlsplit("//" + text).hostname or ""
        text = ("http://" if _is_loopback(host) else "https://") + text
    try:
        parts = urlsplit(text)
        port = parts.port
    except ValueError:
        raise BadAddress(
            _("'{text}' has a port that is not a number from 0 to 65535.").format(text=text), _(_HINT)
        ) from None
    if parts.scheme not in ("http", "https"):
        raise BadAddress(_("'{scheme}' is not a way to reach a site server.").format(scheme=parts.scheme), _(_HINT))
    host = parts.hostname or ""
    if not host or any(c.isspace() for c in text):
        raise BadAddress(_("'{text}' names no server.").format(text=text), _(_HINT))
    if parts.username or parts.password or parts.query or parts.fragment:
        raise BadAddress(_("The address must not hold a user name, password, '?' or '#'."), _(_HINT))
    shown = f"[{host}]" if ":" in host else host
    url = f"{parts.scheme}://{shown}" + (f":{port}" if port is not None else "") + parts.path.rstrip("/")
    return Address(url, parts.scheme, host, _is_loopback(host))
