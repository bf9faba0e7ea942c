"""A federation with a real site: corrected cases, versions, an audit log, a learner."""

from __future__ import annotations

import json
import shutil
import urllib.request
from pathlib import Path
from typing import Any

import nibabel as nib
import requests
from lasting import LastingFederation
from running import read_json, until
from sites import AFFINE, SiteOnDisk, unet_plan, volume

from fed_backend.plan import Plan
from monailabel_app.federation.consent import Consent
from monailabel_app.state.site import SiteState


class WithRealSite(LastingFederation):
    """Two light sites and ``clinic``, a real one with corrected cases, versions, an audit log and a learner."""

    def __init__(self, folder: Path, state: Path | None = None, spare: int = 0, **changes: Any) -> None:
        self.clinic_state = state
        self.spare = [f"s{number:02}" for number in range(spare)]
        self.settled: Plan = unet_plan("fedavg", **{"quorum": 2, "starters": ["north", "south"], **changes})
        super().__init__(folder, ["north", "south", "clinic"], plan=self.settled)

    def _settle(self, site: str, number: int) -> None:
        if site != "clinic":
            super()._settle(site, number)
            return
        made = SiteOnDisk(self.peer(site), site, self.plan, {"t1": "train", "t2": "train", "v1": "validation"})
        made.bench.prepare()
        made.state.settings.set("keep_last", 100_000)
        made.state.splits.import_split(dict.fromkeys(self.spare, "train"))
        Consent(made.state.database).approve(self.plan, self.plan.sha256, "dr-lee")
        made.state.close()
        for case in self.spare:
            nib.save(nib.Nifti1Image(volume(case)[0], AFFINE), self.peer(site) / "studies" / f"{case}.nii.gz")
        shutil.copy(self.kits / "sites" / site / "plan.json", self.peer(site))
        if self.clinic_state is None:
            self.clinic_state = self.peer(site) / "state"
        else:
            shutil.copytree(self.peer(site) / "state", self.clinic_state, dirs_exist_ok=True)

    def start_all(self) -> None:
        """The hub starts while the real site does: that one imports for long."""
        self.start_hub()
        for site in self.sites:
            self.start_peer(site)
        for site in self.sites:
            self.start_courier(site)
        self.wait_ready(*self.sites)

    def token(self, site: str) -> Path:
        return super().token(site) if site != "clinic" else self.state_folder / "courier.token"

    @property
    def state_folder(self) -> Path:
        """The real site's state."""
        assert self.clinic_state is not None
        return self.clinic_state

    def start_peer(self, site: str) -> None:
        if site != "clinic":
            super().start_peer(site)
            return
        port = self.urls[site].rsplit(":", 1)[1] if site in self.urls else "0"
        ready = self.peer(site) / "ready.json"
        ready.unlink(missing_ok=True)
        process = self.start(
            "peer-clinic",
            *("-m", "fed_backend", "site", "start", "--name", "clinic", "--port", port, "--ready-file", str(ready)),
            *("--studies", str(self.peer(site) / "studies"), "--state", str(self.state_folder)),
            *("--plan", str(self.peer(site) / "plan.json")),
        )

        def served() -> Any:
            assert process.poll() is None, (self.folder / "peer-clinic.log").read_text()[-2000:]
            return read_json(ready)

        self.urls[site] = until("site server of clinic", served, 400)["url"]

    def correct(self, case: str) -> requests.Response:
        """An annotator submits the true mask of a case."""
        mask = self.peer("clinic") / f"{case}.nii.gz"
        nib.save(nib.Nifti1Image(volume(case)[1], AFFINE), mask)
        with mask.open("rb") as file:
            query = {"image": case, "tag": "final"}
            return requests.put(
                f"{self.urls['clinic']}/datastore/label", params=query, files={"label": file}, timeout=20
            )

    def clinic(self) -> SiteState:
        """The real site's records, beside its server."""
        return SiteState(self.state_folder, self.peer("clinic") / "studies", own=False)

    def shown(self, path: str) -> Any:
        """JSON of the real site."""
        with urllib.request.urlopen(self.urls["clinic"] + path, timeout=20) as reply:
            return json.loads(reply.read())
