"""Reading a kit: who this member is, where the hub listens, and the plan that all hold."""

from __future__ import annotations

import fcntl
import json
import os
import re
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fed_backend.errors import FederationError, ProvisionError
from fed_backend.plan import Plan, load_plan

__all__ = [
    "ADMIN_NAME",
    "CLASSES",
    "CONTROLLER",
    "COURIER_CONFIG",
    "COURIER_READY",
    "DRAIN",
    "EXECUTOR",
    "JOB_STATE",
    "KIT_FORMAT",
    "START",
    "SUPERVISOR_NAME",
    "Kit",
    "hold",
    "load_kit",
    "remove_jobs",
    "write_json_atomic",
]

KIT_FORMAT = "fedseg-kit/1"
SUPERVISOR_NAME = "supervisor@hub.fedseg"
ADMIN_NAME = "admin@hub.fedseg"

CONTROLLER = "fed_backend.flare.controller.RoundsController"
EXECUTOR = "fed_backend.flare.executor.CourierExecutor"
CLASSES = (CONTROLLER, EXECUTOR)
"""The only classes that a federation job names; every kit lists them as allowed."""

JOB_STATE = "job.json"
"""In the hub's run folder: which job runs and whom it hears, for the supervisor."""
DRAIN = "drain"
"""In the hub's run folder: while this file exists, the job ends at the next moment without an exchange."""
COURIER_CONFIG = "courier.json"
"""In a site's run folder: address of the site server, its token file, and the certificates to trust there."""
COURIER_READY = "ready.json"
"""In a site's run folder: exists once hub and site server have both answered in the running job."""

START = "start.safetensors"
"""In the hub's kit: the tensors that all sites start from, for methods that compare with them."""

_JOB = re.compile(r"^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$")


@dataclass(frozen=True)
class Kit:
    """A member's kit.

    Attributes:
        folder: the kit, also the workspace of FLARE's processes.
        role: ``hub`` or ``site``.
        name: the member's name, as in its certificate.
        org: organisation in the certificate.
        host: name of the hub's host.
        port: TCP port of the hub.
        plan: the plan in the kit.
        sites: all members (hub kit only).
    """

    folder: Path
    role: str
    name: str
    org: str
    host: str
    port: int
    plan: Plan
    sites: tuple[str, ...] = ()

    @property
    def run(self) -> Path:
        """Folder for what lives only while this member runs."""
        return self.folder / "run"

    def members(self) -> tuple[str, ...]:
        """All members as they are now, which may change while a hub runs; as loaded if the file is unreadable."""
        try:
            return tuple(map(str, json.loads((self.folder / "federation.json").read_text(encoding="utf-8"))["sites"]))
        except (OSError, ValueError, KeyError, TypeError):
            return self.sites

    def forgetting(self) -> dict[str, str]:
        """Site -> when the administrator asked to leave its updates out of rounds to come; hub kit only."""
        try:
            asked = json.loads((self.folder / "federation.json").read_text(encoding="utf-8")).get("forget", {})
            return {str(site): str(at) for site, at in asked.items()}
        except (OSError, ValueError, AttributeError):
            return {}

    def start(self) -> bytes | None:
        """The tensors that all sites start from, as a payload; ``None`` where no method needs them."""
        path = self.folder / START
        return path.read_bytes() if path.is_file() else None


def load_kit(folder: str | os.PathLike[str], role: str) -> Kit:
    """Read a kit and check that it is whole.

    Args:
        folder: the kit.
        role: ``hub`` or ``site``: which kind is expected.

    Raises:
        ProvisionError: no kit, the other kind, or a plan that was changed after provisioning.
    """
    path = Path(folder).resolve()
    hint = "give the folder that `fedseg provision` wrote"
    try:
        data: dict[str, Any] = json.loads((path / "federation.json").read_text(encoding="utf-8"))
        kit = Kit(
            folder=path,
            role=str(data["role"]),
            name=str(data["name"]),
            org=str(data["org"]),
            host=str(data["host"]),
            port=int(data["port"]),
            plan=load_plan(path / "plan.json"),
            sites=tuple(data.get("sites", ())),
        )
        expected = data["plan_sha256"]
    except (OSError, ValueError, KeyError, TypeError):
        raise ProvisionError(f"{path.name} is no kit of a federation", hint) from None
    if data.get("format") != KIT_FORMAT:
        raise ProvisionError(f"kit {path.name} has format {data.get('format')!r}, expected {KIT_FORMAT!r}", hint)
    if kit.role != role:
        raise ProvisionError(f"{path.name} is the kit of a {kit.role}, not of a {role}", hint)
    if kit.plan.sha256 != expected:
        raise ProvisionError(
            f"the plan in kit {path.name} was changed after provisioning",
            "a changed plan is a new federation: provision again",
        )
    return kit


def remove_jobs(kit: Kit) -> None:
    """Remove what FLARE keeps of earlier jobs: the coordinator's checkpoint is all that is needed.

    A FLARE server would also take up a stored job by itself, beside the one that is submitted.
    """
    for path in kit.folder.iterdir():
        if path.is_dir() and _JOB.match(path.name):
            shutil.rmtree(path, ignore_errors=True)
    for name in ("jobs", "snapshots"):
        shutil.rmtree(kit.folder / "storage" / name, ignore_errors=True)


def write_json_atomic(path: Path, data: dict[str, Any], mode: int = 0o600) -> None:
    """Write JSON so that a reader sees the old file or the whole new one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor, temporary = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as handle:
            json.dump(data, handle)
            handle.flush()
            os.fsync(handle.fileno())
        os.chmod(temporary, mode)
        os.replace(temporary, path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


@contextmanager
def hold(
    path: Path,
    what: str,
    *,
    wait_s: float = 0.0,
    give_up: Callable[[], bool] = lambda: False,
    hint: str = "stop the other one first",
) -> Iterator[None]:
    """Hold a lock file; the kernel releases it when the process ends, however it ends.

    Args:
        path: the lock file; created if missing, never deleted.
        what: what is locked, for the message.
        wait_s: how long to wait for another holder.
        give_up: asked while waiting; ``True`` ends it.
        hint: what to do while another process holds it.

    Raises:
        FederationError: another process holds it.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    deadline = time.monotonic() + wait_s
    with open(path, "w", encoding="utf-8") as handle:
        while True:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if give_up() or time.monotonic() >= deadline:
                    raise FederationError(f"{what} is already running", hint) from None
                time.sleep(0.1)
        yield
