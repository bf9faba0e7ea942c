"""A site server on this computer, for a person without an administrator: checked, started, watched, stopped.

The server is a process of its own from a Python environment that has the site installed; Slicer's own Python is never
changed. It listens on this computer only. Everything here blocks: run it on a worker lane.
"""

from __future__ import annotations

import contextlib
import json
import re
import subprocess
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .cancel import CancelSwitch
from .errors import LocalSiteFault
from .language import mark
from .language import tr as _
from .worker import Report

START_SECONDS = 180.0
_CHECK_SECONDS = 30.0
_STOP_SECONDS = 5.0
_POLL_SECONDS = 0.1
_INSTALL = mark(
    "To install the site, type in a terminal 'python3 -m venv fedseg-site' and then 'fedseg-site/bin/pip install "
    "FOLDER' (on Windows 'py -m venv fedseg-site' and then 'fedseg-site\\Scripts\\pip install FOLDER'). FOLDER is "
    "SlicerFedSeg's repository: the folder with the file pyproject.toml. Then choose the Python beside that pip."
)
_CHECK = (
    "import importlib.util as u, json, sys; "
    "print(json.dumps([list(sys.version_info[:2]), "
    "[n for n in ('monailabel_app', 'monailabel', 'torch') if u.find_spec(n) is None]]))"
)
_LABELS = re.compile(r"^\s*[^=,]+=\s*\d+\s*(,\s*[^=,]+=\s*\d+\s*)*$")


@dataclass(frozen=True)
class LocalSettings:
    """What a local site needs.

    Attributes:
        python: interpreter of the environment that has the site.
        studies: folder of the images. state: folder for everything else; made if missing.
        labels: like "tumour=1, edema=2".
        environment: of the new process; without Slicer's own variables.
    """

    python: Path
    studies: Path
    state: Path
    labels: str
    environment: Mapping[str, str]

    def check(self) -> None:
        """Raise LocalSiteFault for what can be seen without starting anything."""
        if not self.python.is_file():
            raise LocalSiteFault(
                _("There is no Python interpreter chosen."),
                _("Choose one that has the site. {how}").format(how=_(_INSTALL)),
            )
        if not self.studies.is_dir():
            raise LocalSiteFault(_("There is no image folder chosen."), _("Choose the folder that holds the images."))
        if not any(self.studies.iterdir()):
            raise LocalSiteFault(_("The image folder is empty."), _("Put NIfTI, NRRD or picture files into it."))
        if not _LABELS.match(self.labels):
            raise LocalSiteFault(
                _("'{labels}' names no structures.").format(labels=self.labels), _("Write them like: tumour=1, edema=2")
            )


def check_environment(settings: LocalSettings) -> str:
    """Ask the interpreter whether it could run a site.

    Returns:
        A sentence for the person.

    Raises:
        LocalSiteFault: it could not, and what to do.
    """
    settings.check()
    try:
        done = subprocess.run(
            [str(settings.python), "-c", _CHECK],
            capture_output=True,
            text=True,
            timeout=_CHECK_SECONDS,
            cwd=settings.studies,  # what lies where Slicer was started must not be found
            env=dict(settings.environment),
            check=True,
        )
        version, missing = json.loads(done.stdout)
    except (OSError, ValueError, subprocess.SubprocessError):
        raise LocalSiteFault(_("That file is not a Python interpreter that runs."), _(_INSTALL)) from None
    number = ".".join(str(part) for part in version)
    if missing:
        raise LocalSiteFault(
            _("That Python ({number}) has no {parts}.").format(number=number, parts=_(" and no ").join(missing)),
            _(_INSTALL),
        )
    return _("Ready: Python {number} with the site.").format(number=number)


class LocalSite:
    """The server process, at most one."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def running(self) -> bool:
        """True while the process lives."""
        return self._process is not None and self._process.poll() is None

    def start(self, settings: LocalSettings, cancel: CancelSwitch, report: Report) -> str:
        """Start the server and wait until it serves.

        Returns:
            Its address.

        Raises:
            LocalSiteFault: it ended, or took too long; the message has its last words. Cancelled: it was stopped.
        """
        check_environment(settings)
        self.stop()
        ready, log = self._folder / "site-ready.json", self._folder / "site.log"
        ready.unlink(missing_ok=True)
        settings.state.mkdir(parents=True, exist_ok=True)
        command = [str(settings.python), "-m", "monailabel_app", "site", "start", "--name", "local", "--port", "0"]
        command += ["--studies", str(settings.studies), "--state", str(settings.state)]
        command += ["--labels", re.sub(r"\s*([=,])\s*", r"\1", settings.labels.strip()), "--ready-file", str(ready)]
        with log.open("wb") as output:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env=dict(settings.environment),
                cwd=self._folder,
            )
        try:
            return self._await(ready, log, cancel, report)
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """End the process in order; by force if it does not go."""
        process, self._process = self._process, None
        if process is None or process.poll() is not None:
            return
        process.terminate()
        try:
            process.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    def _await(self, ready: Path, log: Path, cancel: CancelSwitch, report: Report) -> str:
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline:
            cancel.check()
            if ready.exists():
                told: dict[str, Any] = json.loads(ready.read_text(encoding="utf-8"))
                return str(told["url"])
            if not self.running:
                raise LocalSiteFault(
                    _("The site did not start: {log}").format(log=_last_words(log)),
                    _("Correct that and start it again."),
                )
            report(_("Starting the site on this computer …"), None)
            cancel.wait(_POLL_SECONDS)
        raise LocalSiteFault(
            _("The site did not serve within {seconds:g} s.").format(seconds=START_SECONDS),
            _("Is this computer very busy?"),
        )


def _last_words(log: Path) -> str:
    """The last line that the process wrote."""
    text = ""
    with contextlib.suppress(OSError):
        text = log.read_text(encoding="utf-8", errors="replace")
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1][-300:] if lines else _("it said nothing.")
