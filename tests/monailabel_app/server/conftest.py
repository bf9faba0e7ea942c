"""Two real site servers on loopback: one without users, one with; tiny volumes of every geometry."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import numpy.typing as npt
import pytest
import requests

ROOT = Path(__file__).resolve().parents[3]
LABELS = {"tumour": 1, "oedema": 2}
SHAPE = (26, 30, 9)
START_S = 400.0
TUMOUR_CODES = {
    "category": ["SCT", "49755003", "Morphologically Altered Structure"],
    "type": ["SCT", "108369006", "Tumor"],
}


@dataclass(frozen=True)
class RunningSite:
    """A server process and where it is."""

    url: str
    studies: Path
    state: Path
    process: subprocess.Popen[bytes]
    log: Path

    def get(self, path: str, **options: Any) -> requests.Response:
        return requests.get(self.url + path, timeout=60, **options)

    def infer(self, case: str, model: str = "unet", **params: Any) -> requests.Response:
        return requests.post(
            f"{self.url}/infer/{model}",
            params={"image": case, "output": "image"},
            data={"params": json.dumps(params)},
            timeout=120,
        )

    def save(self, case: str, mask: Path, *, tag: str = "final", **params: Any) -> requests.Response:
        with mask.open("rb") as file:
            return requests.put(
                f"{self.url}/datastore/label",
                params={"image": case, "tag": tag},
                data={"params": json.dumps(params)},
                files={"label": (mask.name, file)},
                timeout=120,
            )


def _affines() -> dict[str, npt.NDArray[np.float64]]:
    c, s = np.cos(0.4), np.sin(0.4)
    oblique = np.eye(4)
    oblique[:3, :3] = np.array([[c, -s, 0], [s, c, 0.1], [0, 0.0, 1]]) @ np.diag([0.9, 1.1, 3.0])
    oblique[:3, 3] = (12.5, -40.25, 7.125)
    return {
        "ras": np.diag([1.0, 1.0, 1.0, 1.0]),
        "lps": np.array([[-1.0, 0, 0, 20], [0, -1.0, 0, 30], [0, 0, 1.0, -5], [0, 0, 0, 1]]),
        "oblique": oblique,
        "thick": np.diag([0.7, 0.7, 5.0, 1.0]),
        "coronal": np.array([[1.0, 0, 0, 0], [0, 0, 4.0, 0], [0, -1.0, 0, 0], [0, 0, 0, 1]]),
    }


def _image(shape: tuple[int, int, int], seed: int) -> npt.NDArray[np.int16]:
    array = np.random.default_rng(seed).normal(100, 12, shape)
    array[6:14, 8:18, 2:6] += 90
    return array.astype(np.int16)


def make_studies(folder: Path) -> None:
    """Five orientations, a picture, a large volume, and a file that is no image."""
    from PIL import Image

    folder.mkdir(parents=True)
    for seed, (name, affine) in enumerate(_affines().items()):
        nib.save(nib.Nifti1Image(_image(SHAPE, seed), affine), folder / f"{name}.nii.gz")
    picture = np.random.default_rng(9).integers(0, 255, (40, 52), dtype=np.uint8)
    Image.fromarray(picture).save(folder / "picture.png")
    nib.save(nib.Nifti1Image(_image((160, 160, 96), 7), np.diag([1.0, 1.0, 1.5, 1.0])), folder / "zlarge.nii.gz")
    (folder / "zbroken.nii.gz").write_bytes(b"\x1f\x8b this is no image" * 20)


def serve(folder: Path, *options: str) -> RunningSite:
    """Start a site and wait until it says that it serves."""
    ready, log = folder / "ready.json", folder / "server.log"
    command = [sys.executable, "-m", "monailabel_app", "site", "start", "--studies", str(folder / "studies")]
    command += ["--state", str(folder / "state"), "--port", "0", "--ready-file", str(ready), *options]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    with log.open("wb") as output:
        process = subprocess.Popen(command, cwd=folder, env=environment, stdout=output, stderr=output)
    deadline = time.monotonic() + START_S
    while not ready.exists():
        if process.poll() is not None or time.monotonic() > deadline:
            process.kill()
            raise AssertionError(f"the site did not start:\n{log.read_text()[-3000:]}")
        time.sleep(0.1)
    told = json.loads(ready.read_text())
    return RunningSite(told["url"], folder / "studies", Path(told["state"]), process, log)


def stop(site: RunningSite) -> int:
    """SIGTERM; returns the exit status, and kills what does not go."""
    site.process.send_signal(signal.SIGTERM)
    try:
        return site.process.wait(30)
    except subprocess.TimeoutExpired:
        site.process.kill()
        return site.process.wait(10)


@pytest.fixture(scope="session")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningSite]:
    """A site without users; ``ras`` trains, ``lps`` validates, ``thick`` is held out."""
    folder = tmp_path_factory.mktemp("site")
    make_studies(folder / "studies")
    split = folder / "split.csv"
    split.write_text("site,case,part\nnorth,ras,train\nnorth,lps,validation\nnorth,thick,holdout\nsouth,ras,holdout\n")
    codes = folder / "codes.json"
    codes.write_text(json.dumps({"tumour": TUMOUR_CODES}))
    options = ["--labels", "tumour=1,oedema=2", "--codes", str(codes), "--split", str(split), "--upload-limit", "4"]
    running = serve(folder, "--name", "north", *options)
    yield running
    assert stop(running) == 0, running.log.read_text()[-2000:]


@pytest.fixture(scope="session")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningSite]:
    """A site with the users ada (admin), ann (annotator) and vic (viewer); passwords are ``<name> secret``."""
    from monailabel_app.auth import write_user

    folder = tmp_path_factory.mktemp("guarded")
    make_studies(folder / "studies")
    for name, role in (("ada", "admin"), ("ann", "annotator"), ("vic", "viewer")):
        write_user(folder / "users.json", name, role, f"{name} secret")
    split = folder / "split.csv"
    split.write_text("case,part,patient\nras,train,\nlps,validation,erika\nthick,,erika\n")
    options = ["--model", "unet", "--users", str(folder / "users.json"), "--labels", "tumour=1", "--split", str(split)]
    running = serve(folder, "--name", "guarded", *options)
    yield running
    stop(running)


@pytest.fixture
def fresh_site(tmp_path: Path) -> Iterator[RunningSite]:
    """A site without users and with three cases, for a test that changes it."""
    (tmp_path / "studies").mkdir()
    for seed, name in enumerate(("ras", "lps", "thick")):
        nib.save(nib.Nifti1Image(_image(SHAPE, seed), _affines()[name]), tmp_path / "studies" / f"{name}.nii.gz")
    running = serve(tmp_path, "--name", "north", "--labels", "tumour=1")
    yield running
    stop(running)


@pytest.fixture
def named_site(tmp_path: Path) -> Iterator[RunningSite]:
    """A site whose files and user have the names that test_operations.py looks for in the logs."""
    from monailabel_app.auth import write_user

    (tmp_path / "studies").mkdir()
    for seed, name in enumerate(("MUSTERMANN_ERIKA_19700401", "MUSTERMANN_ERIKA_19700401-2")):
        nib.save(nib.Nifti1Image(_image(SHAPE, seed), _affines()["ras"]), tmp_path / "studies" / f"{name}.nii.gz")
    write_user(tmp_path / "users.json", "dr.planted", "admin", "a planted secret")
    options = ["--model", "unet", "--users", str(tmp_path / "users.json")]
    running = serve(tmp_path, "--name", "north", "--labels", "tumour=1,oedema=2", *options)
    yield running
    stop(running)


@pytest.fixture
def restart() -> Iterator[Callable[[RunningSite], RunningSite]]:
    """Start a killed site again on its state, without users; stopped at the end of the test."""
    started: list[RunningSite] = []

    def again(site: RunningSite) -> RunningSite:
        (site.studies.parent / "ready.json").unlink(missing_ok=True)
        started.append(serve(site.studies.parent, "--name", "guarded", "--model", "unet", "--labels", "tumour=1"))
        return started[-1]

    yield again
    for site in started:
        stop(site)


@pytest.fixture(scope="session")
def until() -> Callable[..., Any]:
    """Poll ``look()`` until it is true; returns what it gave."""

    def wait(look: Callable[[], Any], seconds: float = 120.0) -> Any:
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            if found := look():
                return found
            time.sleep(0.1)
        raise AssertionError(f"not within {seconds} s")

    return wait


@pytest.fixture(scope="session")
def truth() -> Callable[[str, Path, Path], Path]:
    """Write a mask of a case on its image's grid: a tumour block with an oedema block beside it."""

    def write(case: str, studies: Path, out: Path) -> Path:
        image = nib.load(studies / f"{case}.nii.gz")
        mask = np.zeros(image.shape, np.uint8)
        mask[6:14, 8:18, 2:6] = 1
        mask[14:16, 8:18, 2:6] = 2
        path = out / f"{case}-mask.nii.gz"
        nib.save(nib.Nifti1Image(mask, image.affine), path)
        return path

    return write
