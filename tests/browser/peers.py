"""The processes that a person's browser talks to: a seat, and the site behind it."""

from __future__ import annotations

import gzip
import json
import os
import signal
import subprocess
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import requests

ROOT = Path(__file__).resolve().parents[2]
START_SECONDS = 200.0
CASES = 3

_GENERATE = """
import sys
from pathlib import Path
import nibabel
from fed_backend.demo.generator import SCANNERS, make_case
for index in range(int(sys.argv[2])):
    case = make_case(SCANNERS[0], index, 0)
    for kind, voxels in (("studies", case.image), ("truth", case.label)):
        folder = Path(sys.argv[1], kind)
        folder.mkdir(exist_ok=True)
        nibabel.save(nibabel.Nifti1Image(voxels, case.affine), folder / f"{case.name}.nii.gz")
"""

Voxels = np.ndarray[Any, Any]


class Process:
    """A server of ours that says when it is ready.

    Args:
        folder: for its log and its ready file.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.url = ""
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Any:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def command(self) -> list[str]:
        """What to run, but for the ready file."""
        raise NotImplementedError

    def environment(self) -> dict[str, str]:
        """Variables of the process."""
        return {**os.environ, "OMP_NUM_THREADS": "1"}

    @property
    def log(self) -> str:
        """The end of what it wrote."""
        return (self.folder / "log").read_text(errors="replace")[-4000:]

    def start(self) -> None:
        """Start it and wait until it serves."""
        ready = self.folder / "ready.json"
        ready.unlink(missing_ok=True)
        command = [*self.command(), "--ready-file", str(ready)]
        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                command, cwd=self.folder, env=self.environment(), stdout=log, stderr=log, stdin=subprocess.DEVNULL
            )
        deadline = time.monotonic() + START_SECONDS
        while not ready.exists():
            if self._process.poll() is not None or time.monotonic() > deadline:
                self._process.kill()
                raise AssertionError(f"{command[0]} did not start:\n{self.log}")
            time.sleep(0.05)
        self.url = str(json.loads(ready.read_text())["url"])

    def stop(self) -> int:
        """SIGTERM; its exit status."""
        assert self._process is not None
        self._process.send_signal(signal.SIGTERM)
        try:
            return self._process.wait(30)
        except subprocess.TimeoutExpired:
            self._process.kill()
            raise


class Site(Process):
    """A site server with generated heads, and what its administrator would look at."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self._bin = Path(os.environ.get("FEDSEG_SITE_BIN", ROOT / ".venv" / "bin"))
        subprocess.run(
            [self._bin / "python", "-c", _GENERATE, folder, str(CASES)], check=True, cwd=ROOT, env=self.environment()
        )

    def command(self) -> list[str]:
        """``fedseg site start``; a second start takes the port of the first."""
        return [
            str(self._bin / "fedseg"), "site", "start", "--studies", str(self.folder / "studies"), "--name", "north",
            "--labels", "lesion=1,oedema=2", "--model", "sam", "--state", str(self.folder / "state"),
            "--port", self.url.rpartition(":")[2] or "0",
        ]  # fmt: skip

    def corrections(self, case: str) -> list[dict[str, Any]]:
        """What people submitted of a case, oldest first."""
        told = requests.get(f"{self.url}/corrections", timeout=30).json()["corrections"]
        return [one for one in told if one["case"] == case]

    def submitted(self, case: str) -> Voxels:
        """The mask [i, j, k] that the site keeps of a case."""
        reply = requests.get(f"{self.url}/datastore/label", params={"label": case, "tag": "final"}, timeout=30)
        reply.raise_for_status()
        return nifti(reply.content)

    def truth(self, case: str) -> Voxels:
        """Where the lesion is [i, j, k]."""
        return nifti((self.folder / "truth" / f"{case}.nii.gz").read_bytes())


class Doorkeeper(ThreadingHTTPServer):
    """A site that lets nobody in."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Refusing)
        self.url = f"http://127.0.0.1:{self.server_address[1]}"

    def __enter__(self) -> Doorkeeper:
        threading.Thread(target=self.serve_forever, args=(0.01,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.shutdown()
        self.server_close()


class _Refusing(BaseHTTPRequestHandler):
    def log_message(self, format: str, *args: Any) -> None:
        """Keep quiet."""

    def do_GET(self) -> None:
        body = json.dumps({"detail": "Wrong name or password."}).encode()
        self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self.send_response(401)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    do_POST = do_GET


class SeatProcess(Process):
    """``python -m FedSegBrowser``."""

    def environment(self) -> dict[str, str]:
        """With the extension's folders on the path."""
        places = [ROOT / "SlicerFedSeg", ROOT / "SlicerFedSeg" / "browser"]
        return {**super().environment(), "PYTHONPATH": os.pathsep.join(map(str, places))}

    def command(self) -> list[str]:
        """On a free port, with settings of its own."""
        return [sys.executable, "-m", "FedSegBrowser", "--port", "0", "--keep", str(self.folder / "keep")]


def nifti(content: bytes) -> Voxels:
    """Voxels [i, j, k] of a .nii.gz file of whole numbers."""
    raw = gzip.decompress(content)
    header = np.frombuffer(raw[40:56], "<i2")
    kind = {2: "u1", 4: "<i2", 8: "<i4", 256: "i1", 512: "<u2"}[int(np.frombuffer(raw[70:72], "<i2")[0])]
    offset = int(np.frombuffer(raw[108:112], "<f4")[0])
    shape = tuple(int(size) for size in header[1:4])
    return np.frombuffer(raw[offset:], kind, count=int(np.prod(shape))).reshape(shape, order="F")
