"""Images that a client sends for one inference, kept for an hour at most.

MONAI Label's own class joins the session id into a path and removes what it finds there; here an id
is one this site issued (a UUID), and a half-written or emptied session is removed, not raised over.
"""

from __future__ import annotations

import json
import re
import shutil
import uuid
from pathlib import Path
from typing import Any

from monailabel.utils.sessions import SessionInfo, Sessions

from monailabel_app.errors import NotFound

__all__ = ["SiteSessions", "public_info"]

_ID = re.compile(r"^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$")


class SiteSessions(Sessions):  # type: ignore[misc]
    """Sessions below ``folder``.

    Args:
        folder: made when the first session is.
        expiry: seconds after the last use, at most.
    """

    def __init__(self, folder: Path, expiry: int = 3600) -> None:
        super().__init__(str(folder), expiry)

    def add(self, image: Path, suffix: str, expiry: int = 0) -> tuple[str, SessionInfo]:
        """Take over the file ``image`` under a fresh id; it is named ``image<suffix>`` there."""
        session = str(uuid.uuid4())
        named = image.with_name(f"image{suffix}")
        image.rename(named)
        added: tuple[str, SessionInfo] = self.add_session(str(named), expiry, False, session)
        return added

    def get_session(self, session_id: str, update_ts: bool = True, fetch_cache: bool = True) -> SessionInfo | None:
        """A session by its id, or ``None``."""
        if not _ID.match(session_id):
            return None
        try:
            return super().get_session(session_id, update_ts, fetch_cache)
        except (OSError, ValueError):
            return None

    def find(self, session_id: str, update_ts: bool = True) -> SessionInfo:
        """A session by its id.

        Raises:
            NotFound: unknown or expired.
        """
        info = self.get_session(session_id, update_ts)
        if info is None:
            raise NotFound(f"session {session_id[:60]!r} is unknown or has expired", "create it again: PUT /session/")
        return info

    def remove_session(self, session_id: str) -> None:
        """Delete a session and its image; unknown ids are ignored."""
        if _ID.match(session_id):
            super().remove_session(session_id)

    def remove_expired(self) -> int:
        """Delete sessions that are over or cannot be read; returns how many."""
        root = Path(self.store_path)
        before = len(list(root.iterdir())) if root.is_dir() else 0
        for folder in list(root.iterdir()) if before else []:
            if self.get_session(folder.name, update_ts=False, fetch_cache=False) is None:
                shutil.rmtree(folder, ignore_errors=True)
        if before:
            super().remove_expired()
        return before - (len(list(root.iterdir())) if root.is_dir() else 0)


def public_info(info: SessionInfo) -> dict[str, Any]:
    """A session as clients see it: without the folders of the server."""
    data: dict[str, Any] = json.loads(info.to_str())
    return {**data, "path": "", "image": Path(str(data["image"])).name}
