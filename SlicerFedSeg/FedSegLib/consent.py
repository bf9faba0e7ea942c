"""Consent before anything is sent: asked once per server, in words, kept, and revocable.

Nothing of FedSeg is sent to a server until the person agreed to exactly this text for exactly this server. A change of
the wording asks again. The client's uploading methods demand the Consent object, so no code path can forget to ask.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from .address import Address
from .errors import ConsentMissing
from .language import tr as _

WORDING = 2
"""Number of the text below; raise it when the text changes what is agreed to."""

_PREFIX = "consent/"


class Store(Protocol):
    """Small texts that outlive the session (in Slicer: the application's settings)."""

    def get(self, key: str) -> str | None:
        """The text kept under ``key``, or None."""
        ...

    def set(self, key: str, value: str) -> None:
        """Keep a text."""
        ...

    def remove(self, key: str) -> None:
        """Forget a text; nothing happens when it is not there."""
        ...


@dataclass(frozen=True)
class Consent:
    """A person's agreement to send to one server; ``given_at`` is ISO 8601 UTC."""

    server: str
    given_at: str
    wording: int = WORDING

    def check(self, address: Address) -> None:
        """Raise ConsentMissing unless this is consent for that server, to the present wording."""
        if self.server != address.url or self.wording != WORDING:
            raise ConsentMissing(
                _("You have not agreed to send anything to {url}.").format(url=address.url),
                _("Read what would be sent, then agree."),
            )


def consent_text(address: Address, site: str) -> str:
    """What the person agrees to, in words."""
    who = _("the site '{site}' at {url}").format(site=site, url=address.url) if site else address.url
    lines = [
        _(
            "The masks you submit, the points, boxes, outlines and strokes you place, and what "
            "you edit by hand between them will be sent to {who}, with the case's name there, "
            "your name if you entered one, and, unless you switch it off in the settings, the "
            "time and the number of clicks you took."
        ).format(who=who),
        _("A mask that cannot be delivered waits on this computer's disk until the site can be reached."),
        _("Image voxels are not sent: the images come from that site."),
    ]
    if site:
        lines.append(
            _(
                "The site learns from your masks. To other hospitals it gives only model weights and "
                "summary figures, never images, masks or points."
            )
        )
    else:
        lines.append(
            _("This is not a FedSeg site. What that server does with your masks is up to the person who runs it.")
        )
    if not address.private:
        lines.append(_("This connection is NOT encrypted: others on the network could read along."))
    lines.append(_("You can withdraw this in the settings at any time."))
    return "\n\n".join(lines)


def image_consent_text(address: Address, site: str, name: str) -> str:
    """What the person agrees to when an image leaves this computer; asked every time."""
    who = _("the site '{site}' at {url}").format(site=site, url=address.url) if site else address.url
    lines = [
        _(
            "The voxels of this volume, and where they lie, will be sent to {who} and kept there "
            "among its images, under the name '{name}'."
        ).format(who=who, name=name),
        _(
            "Patient name, dates and other DICOM fields are not sent. Make sure that the name "
            "above and the picture itself tell nobody who the patient is."
        ),
    ]
    if not address.private:
        lines.append(_("This connection is NOT encrypted: others on the network could read along."))
    return "\n\n".join(lines)


class ConsentBook:
    """Consents that were given, by server.

    Args:
        store: where they are kept.
        now: present time, ISO 8601 UTC.
    """

    def __init__(self, store: Store, now: Callable[[], str]) -> None:
        self._store = store
        self._now = now

    def find(self, address: Address) -> Consent | None:
        """The consent for a server, None when it was not given, was withdrawn, or was to another wording."""
        kept = self._store.get(_PREFIX + address.url)
        if kept is None:
            return None
        try:
            values = json.loads(kept)
            consent = Consent(address.url, str(values["given_at"]), int(values["wording"]))
        except (ValueError, KeyError, TypeError):
            return None
        return consent if consent.wording == WORDING else None

    def give(self, address: Address) -> Consent:
        """Record that the person agreed."""
        consent = Consent(address.url, self._now())
        self._store.set(_PREFIX + address.url, json.dumps({"given_at": consent.given_at, "wording": consent.wording}))
        return consent

    def withdraw(self, address: Address) -> None:
        """Forget a consent; from now on nothing is sent to that server."""
        self._store.remove(_PREFIX + address.url)
