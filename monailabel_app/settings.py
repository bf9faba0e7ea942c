"""What one site is started with, and the environment MONAI Label reads at import.

MONAI Label builds its settings once, from the environment, when ``monailabel.config`` is first
imported; :func:`configure_monailabel` must therefore run before any import of ``monailabel``.
"""

from __future__ import annotations

import json
import os
import re
import ssl
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path

from fed_backend.plan import SITE_NAME, LabelSchema, load_plan
from monailabel_app.errors import LabelError, SiteError

__all__ = [
    "DEFAULT_FEATURES_LIMIT",
    "DEFAULT_UPLOAD_LIMIT",
    "SiteSettings",
    "check_settings",
    "configure_monailabel",
    "default_state",
    "is_loopback",
    "parse_labels",
]

DEFAULT_UPLOAD_LIMIT = 2 * 2**30
"""Largest request body in bytes: a 1024 x 1024 x 1000 volume of 16 bit fits."""

DEFAULT_FEATURES_LIMIT = 4 * 2**30
"""Bytes of features on disk."""

_LABEL_NAME = re.compile(r"^[A-Za-z0-9][A-Za-z0-9 _.-]{0,62}$")


@dataclass(frozen=True)
class SiteSettings:
    """The options of ``fedseg site start``.

    Attributes:
        name: the site's name in a federation.
        studies: folder of the images; read only, but for images uploaded by a client.
        state: folder of everything the site writes.
        host: address to listen on.
        port: TCP port; 0 takes a free one.
        plan: plan file of a federation.
        models: models to serve; empty takes the plan's, or all that can be built.
        labels: label schema; ``None`` takes the plan's, or one label ``tumour`` = 1.
        annotates: labels that are annotated here; ``None`` for all of the schema.
        codes: JSON file with coded words for labels (:func:`monailabel_app.labels.read_codes`).
        split: CSV with ``case,part`` (and ``patient``, ``site``) that assigns cases to parts and patients.
        users: JSON file of users; ``None`` is one local administrator.
        checkpoint: base checkpoint of a SAM model.
        tls_cert: certificate chain (PEM); with ``tls_key`` the site speaks HTTPS.
        tls_key: its private key (PEM), without a pass phrase.
        ready_file: written once the site serves.
        upload_limit: largest request body in bytes.
        features_limit: bytes of features on disk, for prompts; those used longest ago go first.
        threads: torch threads of the serving process; one leaves a core to the others.
        device: where prompts are answered: ``auto``, ``cpu`` or ``cuda``.
        token_seconds: how long a login lasts.
    """

    name: str
    studies: Path
    state: Path
    host: str = "127.0.0.1"
    port: int = 8000
    plan: Path | None = None
    models: tuple[str, ...] = ()
    labels: LabelSchema | None = None
    split: Path | None = None
    annotates: tuple[str, ...] | None = None
    codes: Path | None = None
    users: Path | None = None
    checkpoint: Path | None = None
    tls_cert: Path | None = None
    tls_key: Path | None = None
    ready_file: Path | None = None
    upload_limit: int = DEFAULT_UPLOAD_LIMIT
    features_limit: int = DEFAULT_FEATURES_LIMIT
    threads: int = 1
    device: str = "cpu"
    token_seconds: float = 12 * 3600.0


def is_loopback(host: str) -> bool:
    """Whether ``host`` can be reached from this machine only."""
    try:
        return ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host.lower() == "localhost"


def default_state(name: str) -> Path:
    """Where the state of site ``name`` lives when no ``--state`` is given."""
    base = os.environ.get("XDG_DATA_HOME") or str(Path.home() / ".local" / "share")
    return Path(base) / "fedseg" / name


def parse_labels(text: str) -> LabelSchema:
    """Parse ``tumour=1,liver=2``.

    Raises:
        LabelError: not ``name=value`` pairs, a value outside 1..255, a name or value twice.
    """
    labels: LabelSchema = {}
    for part in text.split(","):
        name, separator, value = (piece.strip() for piece in part.partition("="))
        if not separator or not _LABEL_NAME.match(name) or not value.isdecimal() or not 1 <= int(value) <= 255:
            raise LabelError(
                f"label {part.strip()!r} is not NAME=VALUE with a value in 1..255", 'write --labels "tumour=1,liver=2"'
            )
        if name in labels or int(value) in labels.values():
            raise LabelError(f"label {name!r} = {value} repeats a name or a value", "give each label its own value")
        labels[name] = int(value)
    return labels


def check_settings(settings: SiteSettings) -> None:
    """Refuse what can be seen to be wrong before anything heavy is loaded.

    Raises:
        FedSegError: naming the option and what to do.
    """
    if not SITE_NAME.match(settings.name):
        raise SiteError(f"site name {settings.name!r} is not usable", "use letters, digits, '-' and '_', at most 63")
    if not settings.studies.is_dir():
        raise SiteError(f"studies folder {str(settings.studies)!r} does not exist", "check --studies")
    if not os.access(settings.studies, os.R_OK | os.X_OK):
        raise SiteError(f"studies folder {str(settings.studies)!r} cannot be read", "check its permissions")
    for option, path in (("--split", settings.split), ("--users", settings.users)):
        if path is not None and not path.is_file():
            raise SiteError(f"{option} file {str(path)!r} does not exist", f"check {option}")
    if settings.checkpoint is not None and not settings.checkpoint.is_file():
        raise SiteError(
            f"checkpoint {str(settings.checkpoint)!r} does not exist",
            "check --checkpoint, or leave it away to use the embedded base",
        )
    if settings.plan is not None:
        plan = load_plan(settings.plan)
        if settings.labels is not None and settings.labels != plan.labels:
            raise LabelError(
                f"--labels {_pairs(settings.labels)} are not the plan's {_pairs(plan.labels)}",
                "leave --labels away: a plan brings its own",
            )
    if settings.users is None and not is_loopback(settings.host):
        raise SiteError(
            f"without users, a site listens on this machine only, not on {settings.host!r}",
            "add --users FILE (make one with `fedseg site user FILE NAME --role admin`), or use --host 127.0.0.1",
        )
    _check_tls(settings)
    try:
        settings.state.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise SiteError(
            f"state folder {str(settings.state)!r} cannot be made: {error.strerror}", "check --state"
        ) from None
    if not os.access(settings.state, os.W_OK | os.X_OK):
        raise SiteError(f"state folder {str(settings.state)!r} cannot be written", "check --state and its permissions")


def _check_tls(settings: SiteSettings) -> None:
    cert, key = settings.tls_cert, settings.tls_key
    if cert is None and key is None:
        return
    if cert is None or key is None:
        raise SiteError("only one of --tls-cert and --tls-key was given", "give both, or neither for plain HTTP")
    try:
        ssl.create_default_context(ssl.Purpose.CLIENT_AUTH).load_cert_chain(cert, key, password=_no_password)
    except (OSError, ValueError) as error:  # SSLError is an OSError
        reason = getattr(error, "reason", None) or getattr(error, "strerror", None) or str(error)
        raise SiteError(
            f"certificate {cert.name!r} and key {key.name!r} cannot be used: {reason}",
            "give PEM files that belong together, the key without a pass phrase",
        ) from None


def _no_password() -> str:
    raise ValueError("the key has a pass phrase")


def _pairs(labels: LabelSchema) -> str:
    return ",".join(f"{name}={value}" for name, value in labels.items())


def configure_monailabel(settings: SiteSettings, port: int, suffixes: tuple[str, ...]) -> None:
    """Set the environment that ``monailabel.config`` reads.

    Tracking is off (its file store refuses newer mlflow), the file watcher is off (the site looks
    for new images itself, without a thread over the whole tree), MONAI Label's own authentication
    is off (the site has its own), and cross-origin requests are limited to the site itself.
    """
    os.environ.update(
        MONAI_LABEL_APP_DIR=str(Path(__file__).parent),
        MONAI_LABEL_STUDIES=str(settings.studies.resolve()),
        MONAI_LABEL_APP_CONF=json.dumps({"name": settings.name}),
        MONAI_LABEL_PROJECT_NAME="SlicerFedSeg",
        MONAI_LABEL_AUTH_ENABLE="false",
        MONAI_LABEL_TRACKING_ENABLED="false",
        MONAI_LABEL_AUTO_UPDATE_SCORING="false",
        MONAI_LABEL_DATASTORE="",
        MONAI_LABEL_DATASTORE_AUTO_RELOAD="false",
        MONAI_LABEL_DATASTORE_FILE_EXT=json.dumps([f"*{suffix}" for suffix in suffixes]),
        MONAI_LABEL_SERVER_PORT=str(port),
        MONAI_LABEL_SESSIONS="true",
        MONAI_LABEL_SESSION_PATH=str((settings.state / "sessions").resolve()),
        MONAI_LABEL_CORS_ORIGINS=json.dumps([f"http://127.0.0.1:{port}"]),
        MONAI_LABEL_RELOAD_APP_LIB="false",
    )
