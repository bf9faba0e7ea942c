"""A volume that is in Slicer's scene already (loaded from DICOM, from a file) becomes a case of the site."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from .cancel import CancelSwitch
from .casework import CaseWork
from .connection import Connection
from .consent import image_consent_text
from .errors import ActionNotPossible
from .language import tr as _
from .panel import Panel
from .protocol import LabelSchema, NextCase
from .state import Action, Phase
from .voxels import Voxels, image_file
from .worker import Report

if TYPE_CHECKING:
    from .scene import SceneCase

_LONGEST_NAME = 80


class AdoptScene(Protocol):
    """What this needs of the scene; :class:`~FedSegLib.scene.SlicerScene` is it."""

    def volume_name(self, node_id: str) -> str: ...
    def export_volume(self, node_id: str, path: Path) -> Voxels | None: ...
    def adopt_volume(self, node_id: str, name: str, schema: LabelSchema) -> SceneCase: ...


def case_name(name: str) -> str:
    """A name that sites take: letters, digits, dots, dashes; "" when nothing is left."""
    return re.sub(r"[^A-Za-z0-9._-]+", "-", name).strip("-._")[:_LONGEST_NAME]


class Adopting:
    """Sends a volume of the scene, after asking, and opens it as a case.

    Args:
        panel: the view. connection: the site. casework: opens cases. scene: has the volume.
        folder: private folder for temporary files.
    """

    def __init__(
        self, panel: Panel, connection: Connection, casework: CaseWork, scene: AdoptScene, folder: Path
    ) -> None:
        self._panel = panel
        self._connection = connection
        self._casework = casework
        self._scene = scene
        self._folder = folder

    def send(self, node_id: str, name: str) -> None:
        """Ask, send, open.

        Args:
            node_id: the volume; "" for none.
            name: what the site shall call it; "" for the volume's own name.
        """
        if not self._panel.can(Action.NEXT) or not self._casework.may_leave(f"send {node_id}"):
            return
        wanted = self._panel.guarded(lambda: self._named(node_id, name))
        if wanted is not None:
            site = self._connection.site()
            text = image_consent_text(self._connection.client().address, site.site, wanted)
            self._connection.ask_once(text, lambda: self._send(node_id, wanted))

    def _named(self, node_id: str, name: str) -> str:
        if not node_id:
            raise ActionNotPossible(_("No volume is chosen."), _("Load one, then choose it here."))
        wanted = case_name(name or self._scene.volume_name(node_id))
        if not wanted:
            raise ActionNotPossible(_("The case needs a name."), _("Use letters, digits, dots and dashes."))
        return wanted

    def _send(self, node_id: str, name: str) -> None:
        client, path = self._connection.client(), self._folder / "volume.nrrd"
        exported = self._panel.guarded(lambda: (self._scene.export_volume(node_id, path),))
        if exported is None:
            return
        voxels = exported[0]

        def work(cancel: CancelSwitch, report: Report) -> str:
            try:
                if voxels is not None:
                    path.write_bytes(image_file(voxels))
                return client.add_image(name, path, cancel)
            finally:
                path.unlink(missing_ok=True)

        def done(case: str) -> None:
            schema = self._connection.site().schema
            self._casework.take(NextCase(case, ""), self._scene.adopt_volume(node_id, case, schema))

        back = Phase.READY if self._casework.case is None else Phase.OPEN
        self._panel.run(Phase.FETCHING, _("Sending '{name}' to the site …").format(name=name), work, done, back)
