"""Leaving a federation, at a site whose server may be running or not."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

from fed_backend.flare import leaving
from fed_backend.flare.kit import load_kit
from monailabel_app.errors import NotFound
from monailabel_app.federation.consent import Consent
from monailabel_app.state.database import Database

__all__ = ["leave"]


def leave(kit: Path, state: Path, who: str, *, forget: bool) -> str:
    """Let the site of a kit leave its federation; doing so twice does no harm.

    Consent to the plan is withdrawn first, so that nothing moves any more whatever happens to the rest.

    Args:
        kit: of the site.
        state: its state folder.
        who: the administrator.
        forget: destroy the private key in the kit, too.

    Returns:
        What was done and what was not, for a person to read.

    Raises:
        FedSegError: no kit, no state of a site, or a courier that does not end.
    """
    member = load_kit(kit, "site")
    if not (state / "site.sqlite").is_file():
        raise NotFound(f"{state.name!r} is no state folder of a site", "give the folder that the site runs with")
    with closing(Database(state / "site.sqlite")) as database:
        Consent(database).leave(member.plan, who)
    leaving.leave(member, who)
    said = [
        f"{member.name} has left the federation {member.plan.name!r}: its plan is approved no more, and its courier",
        "has ended and does not start again from this kit. Versions that serve go on serving.",
    ]
    if forget and leaving.destroy_key(member):
        said.append("The private key is destroyed. Copies of the kit, such as backups, may still hold it.")
    return "\n".join(
        [
            *said,
            "What it sent earlier is not taken back: it is part of aggregates, and of versions that sites made of",
            f"them. Ask the hub's administrator for `fedseg federation revoke FOLDER {member.name}` or, to take it",
            f"out of all rounds to come, for `fedseg federation forget FOLDER {member.name}`.",
        ]
    )
