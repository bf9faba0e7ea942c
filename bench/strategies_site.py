"""A site of the strategies benchmark: its records, and its training patients waiting to be corrected."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace, TracebackType
from typing import Any

import nibabel as nib

from bench.learning import LABEL, Bench
from monailabel_app.imaging.files import write_mask
from monailabel_app.learning.acquisition import value_of
from monailabel_app.state.corrections import Submission
from monailabel_app.state.site import SiteState
from monailabel_app.strategies import STRATEGIES

__all__ = ["ChoosingSite"]

MODEL = "unet"


class ChoosingSite:
    """What the product's strategies see of a site whose champion is the base; every patient is for training.

    Args:
        folder: for the site's records and images; made.
        bench: its base is the champion, and says what it thinks of the patients.
        site: name of the site.
    """

    def __init__(self, folder: Path, bench: Bench, site: str) -> None:
        studies = folder / "studies"
        studies.mkdir(parents=True)
        self._folder = folder
        self._patients = {case.name: case for case in bench.sites[site]["train"]}
        for name, case in self._patients.items():
            nib.save(nib.Nifti1Image(case.volume.array, case.volume.affine), studies / f"{name}.nii.gz")
        self._state = SiteState(folder / "state", studies)
        self._state.splits.import_split(dict.fromkeys(self._patients, "train"))
        base = bench.base(site)
        champion = self._state.versions(MODEL).ensure_base(base, bench.segmenter.base_sha256)
        bench.segmenter.load_adapter(base)
        for name, case in self._patients.items():
            self._state.acquisition.put(champion, name, value_of(bench.segmenter, case.volume))
        self.context = SimpleNamespace(state=self._state, default_model=MODEL)

    def open_cases(self) -> list[str]:
        """Patients without a correction, by name."""
        corrected = {correction.case for correction in self._state.corrections.list()}
        return sorted(self._patients.keys() - corrected)

    def order(self, strategy: str, seed: int) -> list[str]:
        """Ask the strategy and correct what it offers until nothing is open."""
        chooser: Any = STRATEGIES[strategy](self)  # type: ignore[arg-type]
        order: list[str] = []
        while offered := chooser({"seed": 1000 * seed + len(order)}, None):
            self._correct(offered["id"])
            order.append(offered["id"])
        return order

    def _correct(self, name: str) -> None:
        case, mask = self._patients[name], self._folder / "mask.nii.gz"
        write_mask(case.mask, case.volume, mask)
        image = self._folder / "studies" / f"{name}.nii.gz"
        self._state.corrections.submit(Submission(name, image, mask, "bench"), {LABEL: 1})

    def __enter__(self) -> ChoosingSite:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._state.close()
