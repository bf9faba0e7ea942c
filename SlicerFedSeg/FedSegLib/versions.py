"""A site's versions and what its corrections say about them, as typed values."""

from __future__ import annotations

from dataclasses import dataclass

from .fields import Fields, parse_object
from .language import tr as _


@dataclass(frozen=True)
class Version:
    """A version of a model.

    Attributes:
        parent: the version it was trained from, None for the first.
        origin: base, learning or federation. state: champion, accepted, refused or candidate.
        reason: why it serves, or does not. created: ISO 8601.
    """

    id: str
    model: str
    parent: str | None
    origin: str
    created: str
    state: str
    reason: str

    @property
    def serves(self) -> bool:
        """True for the champion of its model."""
        return self.state == "champion"


@dataclass(frozen=True)
class Use:
    """What corrections say about a version: their number, mean Dice of its masks against them, seconds, clicks."""

    version: str
    corrections: int
    dice: float | None
    seconds: float | None
    clicks: float | None


@dataclass(frozen=True)
class Statistics:
    """Whether the site saves work: per version, per correction (Dice in order of submission), in one sentence."""

    uses: tuple[Use, ...] = ()
    curve: tuple[tuple[str, float], ...] = ()
    summary: str = ""

    def use_of(self, version: str) -> Use | None:
        """The figures of a version, None when its masks were never corrected."""
        return next((use for use in self.uses if use.version == version), None)


NO_STATISTICS = Statistics()
"""Before the site was asked."""


def versions(body: bytes) -> tuple[Version, ...]:
    """Parse ``GET /versions``, newest first."""
    entries = Fields(parse_object(body, _("the versions")), _("the versions")).children("versions")
    found = [
        Version(
            id=entry.text("id"),
            model=entry.text("model", ""),
            parent=entry.maybe_text("parent"),
            origin=entry.text("origin", ""),
            created=entry.text("created", ""),
            state=entry.text("state", "candidate"),
            reason=entry.text("reason", ""),
        )
        for entry in entries
    ]
    return tuple(sorted(found, key=lambda version: version.created, reverse=True))


def statistics(body: bytes) -> Statistics:
    """Parse ``GET /statistics``."""
    fields = Fields(parse_object(body, _("the statistics")), _("the statistics"))
    uses = tuple(
        Use(
            version=entry.text("version"),
            corrections=entry.whole("corrections", 0),
            dice=entry.maybe_number("dice_shown"),
            seconds=entry.maybe_number("seconds"),
            clicks=entry.maybe_number("clicks"),
        )
        for entry in fields.children("versions")
    )
    curve = tuple(
        (entry.text("case", ""), entry.number("dice_shown"))
        for entry in fields.children("cases")
        if entry.has("dice_shown")
    )
    return Statistics(uses, curve, fields.text("summary", ""))
