"""Making a federation: certificates and one kit per member, with FLARE's own builders.

::

    OUT/hub/            kit of the hub: startup/ (certificate, key), local/ (policies), plan.json,
                        supervisor/ (the kit with which the hub's supervisor submits the job), and
                        start.safetensors where a method of the plan compares with the common start
    OUT/sites/<name>/   kit of one site, to be carried there: startup/, local/, plan.json
    OUT/admin/          kit of a person who administrates, and authority/ with the root key

Every connection uses mutual TLS; a job may name only classes that are installed and listed.
"""

from __future__ import annotations

import ipaddress
import json
import os
import re
import shutil
import socket
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from fed_backend.errors import ProvisionError
from fed_backend.flare.aggregator import Aggregator
from fed_backend.flare.kit import ADMIN_NAME, CLASSES, KIT_FORMAT, START, SUPERVISOR_NAME
from fed_backend.methods import GOSSIP, check_methods
from fed_backend.plan import SITE_NAME, Plan, save_plan

__all__ = ["build", "check_host", "check_site_name", "organisation", "provision"]

HEARTBEAT_TIMEOUT_S = 20
"""After this many silent seconds FLARE drops a client; its own default of 600 is far too slow."""

_HOST = re.compile(r"^(?=.{1,63}$)[A-Za-z0-9]([A-Za-z0-9-]*[A-Za-z0-9])?(\.[A-Za-z0-9]([A-Za-z0-9-]*[A-Za-z0-9])?)*$")
_UNUSED = {"readme.txt", "system_info.ipynb", "privacy.json.sample", "log_config.json.default"}
_RESERVED = {"server", "hub", "admin", "all", "client", "relay"}
_INTERNAL = {
    "internal": {"scheme": "tcp", "resources": {"host": "localhost", "connection_security": "mtls"}},
}
"""FLARE's processes of one member speak on loopback; by default in plain TCP, to whoever dials."""


def provision(
    plan: Plan,
    sites: Sequence[str],
    out: Path,
    host: str = "localhost",
    port: int = 0,
    start: bytes | None = None,
    *,
    inviting: bool = False,
) -> Path:
    """Write the kits of a new federation.

    Args:
        plan: what all members agree on; a copy goes into every kit.
        sites: names of the member sites; also their certificate names.
        out: folder to create; must not exist or be empty.
        host: name under which the couriers reach the hub.
        port: TCP port of the hub; 0 picks a free one now.
        start: payload with the tensors that all sites start from; goes into the hub's kit.
        inviting: members come later (:func:`.authority.invite`): there may be none yet.

    Returns:
        ``out``, resolved.

    Raises:
        ProvisionError: a bad name, an existing federation, or FLARE could not build the kits.
        PlanError: a method of the plan cannot be built.
        FederationError: a method of the plan needs a start, and none is given that fits.
    """
    _check_names(sites)
    if not inviting:
        _check_membership(plan, sites)
    check_methods(plan)
    for method in plan.methods:
        if method not in GOSSIP:  # peers aggregate nothing at a hub
            Aggregator(plan, method, start=start)
    check_host(host)
    if not 0 <= port <= 65535:
        raise ProvisionError(f"port {port} is not between 0 and 65535", "leave --port out to pick a free one")
    out = Path(out).resolve()
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise ProvisionError(
            f"{out.name} already exists and is not empty", "a federation is never overwritten: choose another --out"
        )
    out.parent.mkdir(parents=True, exist_ok=True)
    port = port or _free_port()
    # Built beside the target and renamed at the end: an interrupted run leaves no half federation.
    with tempfile.TemporaryDirectory(prefix=f".{out.name}.", dir=out.parent) as scratch:
        ready = build(plan, sites, host, port, Path(scratch))
        if start is not None:
            (ready / "hub" / START).write_bytes(start)
        _keep_authority(Path(scratch), ready / "admin" / "authority")
        if out.exists():
            out.rmdir()
        os.replace(ready, out)
    return out


def build(plan: Plan, sites: Sequence[str], host: str, port: int, scratch: Path) -> Path:
    """Kits of a federation with an authority of its own, in a folder of ``scratch``; names are not checked."""
    ready = scratch / "ready"
    _arrange(_build_kits(plan, sites, host, port, scratch), plan, sites, host, port, ready)
    return ready


def check_site_name(site: str, others: Sequence[str] = ()) -> None:
    """Check that a site may be called this beside ``others``.

    Raises:
        ProvisionError: it may not; says why.
    """
    hint = "use letters, digits, '-' and '_' (at most 63), starting with a letter or digit"
    if not SITE_NAME.match(site):
        raise ProvisionError(f"{site!r} cannot be a site name", hint)
    if site.lower() in _RESERVED:
        raise ProvisionError(f"site name {site!r} is reserved", "choose the hospital's or department's name")
    if site.lower() in {other.lower() for other in others}:
        raise ProvisionError(f"site {site!r} is named twice (upper and lower case count as equal)", hint)


def _check_names(sites: Sequence[str]) -> None:
    for number, site in enumerate(sites):
        check_site_name(site, sites[:number])


def _check_membership(plan: Plan, sites: Sequence[str]) -> None:
    if not sites:
        raise ProvisionError("a federation needs at least one site", "name each with --site NAME")
    if unknown := sorted(set(plan.starters) - set(sites)):
        raise ProvisionError(
            f"the plan lets {unknown[0]!r} start rounds, which is no member", "add it with --site or change the plan"
        )
    if plan.quorum > len(sites):
        raise ProvisionError(
            f"the plan needs {plan.quorum} updates a round, but there are {len(sites)} sites",
            "lower the plan's quorum or add sites",
        )


def check_host(host: str) -> None:
    """Check that certificates can name a host.

    Raises:
        ProvisionError: they cannot; says why.
    """
    try:
        ipaddress.ip_address(host)
    except ValueError:
        if _HOST.match(host):
            return
        raise ProvisionError(f"{host!r} is not a host name", "give the name under which sites reach the hub") from None
    raise ProvisionError(
        f"{host!r} is an address, not a name", "certificates name hosts: give a host name or localhost"
    )


def _free_port() -> int:
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _build_kits(plan: Plan, sites: Sequence[str], host: str, port: int, scratch: Path) -> Path:
    """Let FLARE's builders write certificates and start-up files; returns the folder of kits."""
    from nvflare.lighter.constants import CtxKey
    from nvflare.lighter.entity import Project
    from nvflare.lighter.impl.cert import CertBuilder
    from nvflare.lighter.impl.signature import SignatureBuilder
    from nvflare.lighter.impl.static_file import StaticFileBuilder
    from nvflare.lighter.impl.workspace import WorkspaceBuilder
    from nvflare.lighter.provisioner import Provisioner

    log = _Collected()
    project = Project("fedseg", plan.name)
    # One port for members and administration: one hole in the firewall.
    project.set_server(host, "hub", {"fed_learn_port": port, "admin_port": port})
    for site in sites:
        project.add_client(site, organisation(site), {})
    for name in (SUPERVISOR_NAME, ADMIN_NAME):
        project.add_admin(name, "hub", {"role": "project_admin"})
    builders = [
        WorkspaceBuilder(),
        StaticFileBuilder(config_folder="config", scheme="grpc"),
        CertBuilder(),
        SignatureBuilder(),
    ]
    context = Provisioner(str(scratch), builders).provision(project, logger=log)
    if context.get(CtxKey.BUILD_ERROR):
        raise ProvisionError(f"FLARE could not build the kits: {log.last_error()}", "check names, disk space, rights")
    return Path(context[CtxKey.CURRENT_PROD_DIR])


def organisation(site: str) -> str:
    """FLARE wants an organisation of letters, digits and '_' only."""
    return re.sub(r"[^A-Za-z0-9_]", "_", site)


class _Collected:
    """A logger for FLARE's provisioner that keeps errors instead of printing."""

    def __init__(self) -> None:
        self.errors: list[str] = []

    def debug(self, message: str) -> None:
        """Not kept."""

    info = warning = debug

    def error(self, message: str) -> None:
        self.errors.append(str(message))

    def last_error(self) -> str:
        return self.errors[-1] if self.errors else "unknown error"


def _arrange(built: Path, plan: Plan, sites: Sequence[str], host: str, port: int, ready: Path) -> None:
    (ready / "sites").mkdir(parents=True)
    shutil.move(built / host, ready / "hub")
    shutil.move(built / SUPERVISOR_NAME, ready / "hub" / "supervisor")
    shutil.move(built / ADMIN_NAME, ready / "admin")
    kits = [ready / "hub"]
    for site in sites:
        shutil.move(built / site, ready / "sites" / site)
        kits.append(ready / "sites" / site)
    for kit, role, name in zip(kits, ["hub", *["site"] * len(sites)], ["hub", *sites], strict=True):
        save_plan(plan, kit / "plan.json")
        _write_json(
            kit / "federation.json",
            {
                "format": KIT_FORMAT,
                "role": role,
                "name": name,
                "org": "hub" if role == "hub" else organisation(name),
                "host": host,
                "port": port,
                "plan_sha256": plan.sha256,
                **({"sites": list(sites)} if role == "hub" else {}),
            },
        )
        _set_policies(kit, role)
        (kit / "run").mkdir(mode=0o700)
    for file in ready.rglob("*"):
        if file.name in _UNUSED or file.suffix == ".sh":
            file.unlink()  # FLARE's own way to start, without our supervisor


def _set_policies(kit: Path, role: str) -> None:
    """Local policies: our classes allowed, quick detection of dead clients, storage inside the kit."""
    resources = json.loads((kit / "local" / "resources.json.default").read_text())
    if role == "hub":
        for server in resources["servers"]:
            server["heart_beat_timeout"] = HEARTBEAT_TIMEOUT_S
            server["shutdown_period"] = 1.0
        for component in resources["components"]:
            if component["id"] == "job_scheduler":
                component["args"] |= {"min_schedule_interval": 1.0, "max_schedule_interval": 5.0}
        (kit / "storage").mkdir(mode=0o700)
    else:
        # FLARE would copy a site's error log to the hub: what is logged at a site stays at the site.
        resources["allow_log_streaming"] = False
        resources["components"] = [c for c in resources["components"] if c["id"] != "site_log_streamer"]
    # FLARE's own list holds a hundred classes of its examples; a federation needs these alone.
    used = [component["path"] for component in resources["components"]]
    resources["class_allow_list"] = sorted({*CLASSES, *used})
    _write_json(kit / "local" / "resources.json", resources)
    _write_json(kit / "local" / "log_config.json", _log_config())
    _write_json(kit / "local" / "comm_config.json", _INTERNAL)


def _log_config() -> dict[str, Any]:
    """One small rotating file per process; only warnings of FLARE, and what this project says."""
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {"plain": {"format": "%(asctime)s %(levelname)s %(name)s: %(message)s"}},
        "handlers": {
            "file": {
                "class": "logging.handlers.RotatingFileHandler",
                "formatter": "plain",
                "filename": "log.txt",
                "maxBytes": 2_000_000,
                "backupCount": 2,
            }
        },
        "loggers": {
            "root": {"level": "WARNING", "handlers": ["file"]},
            "fed_backend": {"level": "INFO"},
            # While a job is renewed these repeat every second what is no fault.
            "nvflare.fuel.f3": {"level": "ERROR"},
            "nvflare.private.fed.client.communicator": {"level": "ERROR"},
        },
    }


def _keep_authority(scratch: Path, authority: Path) -> None:
    """Keep the root certificate and key for later members; drop the members' keys FLARE remembers."""
    (state_file,) = scratch.rglob("cert.json")
    state = json.loads(state_file.read_text())
    authority.mkdir(mode=0o700)
    _write_json(authority / "cert.json", {key: state[key] for key in ("root_cert", "root_pri_key")}, mode=0o600)


def _write_json(path: Path, data: dict[str, Any], mode: int = 0o644) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode)
    with os.fdopen(descriptor, "w", encoding="utf-8") as handle:
        json.dump(data, handle, indent=2)
        handle.write("\n")
