"""What a federation leaves behind while it runs: the hub's records of its runs, a real site's payloads and versions."""

from __future__ import annotations

import contextlib
import shutil
import threading
from pathlib import Path
from typing import Any

from real_site import WithRealSite

from fed_backend.errors import FedSegError
from fed_backend.payload import PayloadHeader, read_header


class Recorder:
    """Looks every tenth of a second; hub and site keep only the newest of each."""

    def __init__(self, federation: WithRealSite) -> None:
        self.federation = federation
        self._folder = federation.folder / "recorded"
        self._folder.mkdir()
        self._over = threading.Event()
        self._looking = threading.Lock()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self.runs: dict[str, dict[str, Any]] = {}
        self.versions: set[str] = set()

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """No file is written afterwards."""
        self._over.set()
        if self._thread.ident is not None:
            self._thread.join()

    def _watch(self) -> None:
        while not self._over.wait(0.1):
            self.look()

    def look(self) -> None:
        """Note what is there now."""
        with self._looking:
            if (run := self.federation.run_record()) and run["history"]:
                self.runs[run["id"]] = run
            for path in _names(self.federation.state_folder / "exchange"):
                if not (self._folder / path.name).exists():
                    with contextlib.suppress(OSError):  # just deleted
                        shutil.copyfile(path, self._folder / path.name)
            judged = self.federation.state_folder.glob("versions/unet/unet-*/verdict.json")
            self.versions |= {path.parent.name for path in judged}

    def rounds(self) -> int:
        """Rounds that were finished."""
        return sum(len(run["history"]) for run in list(self.runs.values()))

    def payloads(self) -> list[tuple[PayloadHeader, bytes]]:
        """Payloads that came to the real site and left it."""
        found = []
        for path in self._folder.iterdir():
            data = path.read_bytes()
            with contextlib.suppress(FedSegError):
                found.append((read_header(data), data))
        return found


def _names(folder: Path) -> list[Path]:
    return [path for path in folder.iterdir() if not path.name.startswith(".")] if folder.is_dir() else []
