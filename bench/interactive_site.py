"""A site of ours with one large volume, and an annotator's client with a stopwatch."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import requests

from monailabel_app.interactive.wire import unpack

__all__ = ["SHAPE", "Annotator", "SiteProcess", "make_volume", "median", "percentile"]

SHAPE = (512, 512, 200)


def make_volume(folder: Path) -> None:
    """``big.nii``: a 512 x 512 x 200 volume of MR-like intensities with one ellipsoid."""
    folder.mkdir(parents=True)
    rng = np.random.default_rng(0)
    i, j, k = np.ogrid[: SHAPE[0], : SHAPE[1], : SHAPE[2]]
    inside = ((i - 250) / 90) ** 2 + ((j - 260) / 70) ** 2 + ((k - 100) / 50) ** 2 <= 1
    voxels = rng.integers(60, 140, SHAPE, dtype=np.int16) + 150 * inside.astype(np.int16)
    nib.save(nib.Nifti1Image(voxels, np.diag([0.7, 0.7, 1.5, 1.0])), folder / "big.nii")


def percentile(values: list[float], q: float) -> float:
    """Percentile of seconds, in milliseconds."""
    return float(np.percentile(values, q) * 1e3)


def median(values: list[float]) -> float:
    """Median of seconds, in milliseconds."""
    return percentile(values, 50)


class SiteProcess:
    """A site server.

    Args:
        folder: for state and log.
        studies: images.
        options: further options of ``fedseg site start``.
    """

    def __init__(self, folder: Path, studies: Path, *options: str) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        ready, self.state = folder / "ready.json", folder / "state"
        command = [sys.executable, "-m", "monailabel_app", "site", "start", "--studies", str(studies)]
        command += ["--state", str(self.state), "--port", "0", "--name", "bench", "--model", "sam"]
        command += ["--ready-file", str(ready), *options]
        self._log = folder / "site.log"
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(command, stdout=log, stderr=log, env={**os.environ, "PYTHONPATH": "."})
        deadline = time.monotonic() + 300
        while not ready.exists():
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"the site did not start:\n{self._log.read_text()[-2000:]}")
            time.sleep(0.1)
        self.url = json.loads(ready.read_text())["url"]

    def info(self) -> float:
        """Seconds that ``GET /info/`` took."""
        start = time.perf_counter()
        requests.get(f"{self.url}/info/", timeout=60).raise_for_status()
        return time.perf_counter() - start

    def promote(self, version: str) -> None:
        """Let another version serve."""
        reply = requests.post(f"{self.url}/versions/{version}/promote", json={"reason": "bench"}, timeout=60)
        reply.raise_for_status()

    def stop(self) -> None:
        """End the server."""
        self._process.send_signal(signal.SIGTERM)
        self._process.wait(60)


class Annotator:
    """One session on an image, over one kept-alive connection.

    Args:
        site: the server.
        image: its case.
        around: i and j near which it clicks.
    """

    def __init__(self, site: SiteProcess, image: str = "big", around: tuple[int, int] = (250, 260)) -> None:
        self._http = requests.Session()
        reply = self._http.post(f"{site.url}/sessions", json={"image": image}, timeout=300)
        reply.raise_for_status()
        self._base = f"{site.url}/sessions/{reply.json()['session']}"
        self._around = around
        self._clicks = 0

    def click(self, index: int) -> tuple[float, int, dict[str, Any]]:
        """A click on a slice: (seconds, bytes of the reply, its header)."""
        self._clicks += 1
        i, j = self._around
        body = {"foreground": [[i + self._clicks % 40, j, index]], "replace": True}
        start = time.perf_counter()
        reply = self._http.post(f"{self._base}/prompts", json=body, timeout=300)
        spent = time.perf_counter() - start
        reply.raise_for_status()
        return spent, len(reply.content), unpack(reply.content)[0]

    def look(self, index: int) -> bool:
        """Page to a slice; whether its features were there."""
        reply = self._http.post(f"{self._base}/view", json={"index": index}, timeout=300)
        reply.raise_for_status()
        return bool(reply.json()["warm"])

    def close(self) -> None:
        """End the session."""
        self._http.delete(self._base, timeout=60).raise_for_status()
