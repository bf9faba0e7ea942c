"""A site's half of leaving a federation: its courier ends for good, and its key is destroyed if it wishes.

The kit says that the site left, so the same kit starts no courier any more. The certificate stays valid
at the hub until its administrator revokes it: a kit whose key is kept could be copied and used.
"""

from __future__ import annotations

import json
import os
from datetime import UTC, datetime
from pathlib import Path

from fed_backend.errors import FederationError, ProvisionError
from fed_backend.flare.certificates import KEY
from fed_backend.flare.kit import Kit, hold, write_json_atomic

__all__ = ["destroy_key", "leave", "left_at", "require_member"]

_LEFT = "left.json"
_COURIER_S = 60.0
"""How long a courier may take to end; it looks several times a second, and stops its FLARE client first."""


def left_at(kit: Kit) -> str:
    """When this kit's site left its federation (ISO 8601 UTC); empty while it is a member."""
    path = kit.folder / _LEFT
    if not path.exists():
        return ""
    try:
        return str(json.loads(path.read_text(encoding="utf-8"))["at"])
    except (OSError, ValueError, KeyError, TypeError):
        return "an unknown day"


def require_member(kit: Kit) -> None:
    """Do nothing for a kit whose site has not left.

    Raises:
        ProvisionError: it has.
    """
    if at := left_at(kit):
        raise ProvisionError(
            f"site {kit.name!r} left this federation on {at[:10]}",
            "to take part again, join with a new invitation into a new kit; and disable the courier's service",
        )


def leave(kit: Kit, who: str, wait_s: float = _COURIER_S) -> None:
    """Let the site leave: a running courier ends, and none starts again. Leaving twice changes nothing.

    Args:
        kit: of the site.
        who: the administrator.
        wait_s: for the courier to end.

    Raises:
        FederationError: the courier still runs; the site has left all the same.
    """
    if not left_at(kit):
        now = datetime.now(UTC).isoformat(timespec="seconds")
        write_json_atomic(kit.folder / _LEFT, {"at": now, "who": who})
    try:
        with hold(kit.run / "lock", "a courier from this kit", wait_s=wait_s):
            return
    except FederationError:
        raise FederationError(
            f"the courier of {kit.name!r} still runs after {wait_s:g} s", "stop it by hand, then leave again"
        ) from None


def destroy_key(kit: Kit) -> bool:
    """Overwrite and delete the private key; whether there was one.

    A disk that writes elsewhere than it is told to (flash, snapshots, backups) may keep a copy: only
    the hub's administrator can make the certificate worthless.
    """
    path: Path = kit.folder / KEY
    try:
        with open(path, "r+b") as file:
            file.write(os.urandom(path.stat().st_size))
            file.flush()
            os.fsync(file.fileno())
        path.unlink()
    except FileNotFoundError:
        return False
    return True
