"""Runs one site in this process: checks, binds, opens, serves, and stops cleanly."""

from __future__ import annotations

import errno
import json
import logging
import os
import signal
import socket
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

import anyio.to_thread
import uvicorn

from monailabel_app.errors import SiteError
from monailabel_app.settings import SiteSettings, check_settings, configure_monailabel, is_loopback

if TYPE_CHECKING:
    from monailabel_app.app_context import Site
    from monailabel_app.state.site import SiteState

__all__ = ["bind", "run_site"]

logger = logging.getLogger(__name__)

_GRACE_S = 5
_SWITCH_S = 0.001
"""How long one thread may keep the interpreter from another: a click must not wait for an inference."""


def bind(host: str, port: int) -> socket.socket:
    """Listen on ``host`` and ``port`` (0 takes a free one).

    Raises:
        SiteError: the port is in use or may not be used, or the address is not this machine's.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # Only where the protocol is named does asyncio turn Nagle's algorithm off; it delays each reply by 40 ms.
    server = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    if os.name != "nt":  # there it would let two servers share the port
        server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        server.bind((host.strip("[]"), port))
        server.listen(128)
    except OSError as error:
        server.close()
        if error.errno == errno.EADDRINUSE:
            raise SiteError(
                f"port {port} on {host} is in use",
                "stop what uses it, choose another --port, or --port 0 for a free one",
            ) from None
        raise SiteError(f"cannot listen on {host}:{port}: {error.strerror}", "check --host and --port") from None
    server.set_inheritable(False)
    return server


def run_site(settings: SiteSettings) -> NoReturn:
    """Serve until SIGTERM or SIGINT, close everything, and end the process with status 0.

    Raises:
        FedSegError: anything that keeps the site from starting, before it serves.
    """
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s", stream=sys.stderr)
    for noisy in ("monailabel", "ignite", "httpx", "watchdog", "filelock", "uvicorn.access"):
        logging.getLogger(noisy).setLevel(logging.WARNING)  # MONAI Label logs names and paths at INFO
    logging.getLogger("monailabel.datastore.local").setLevel(logging.ERROR)  # it warns of cases by name
    stop = _Stop()
    check_settings(settings)
    listener = bind(settings.host, settings.port)
    try:
        port = listener.getsockname()[1]
        with _own_state(settings) as state:
            site, server = _open(settings, state, listener, port)
            stop.attach(server)
            try:
                server.run(sockets=[listener])
            finally:
                site.close()
    finally:
        listener.close()
    logger.info("stopped")
    _leave(settings.ready_file)


def _own_state(settings: SiteSettings) -> SiteState:
    """Take the state folder before anything heavy is loaded: whether it is free is known at once."""
    from monailabel_app.state.site import SiteState

    return SiteState(settings.state.resolve(), settings.studies.resolve())


def _open(settings: SiteSettings, state: SiteState, listener: socket.socket, port: int) -> tuple[Site, SiteServer]:
    from monailabel_app.imaging.files import IMAGE_SUFFIXES

    configure_monailabel(settings, port, IMAGE_SUFFIXES)
    import torch

    torch.set_num_threads(settings.threads)
    sys.setswitchinterval(_SWITCH_S)
    from monailabel_app.app_context import open_site
    from monailabel_app.server import create_app

    site = open_site(settings, state)
    try:
        config = uvicorn.Config(
            create_app(site),
            log_config=None,
            access_log=False,
            timeout_graceful_shutdown=_GRACE_S,
            server_header=False,
            ssl_certfile=settings.tls_cert,
            ssl_keyfile=settings.tls_key,
        )
        scheme = "https" if settings.tls_cert else "http"
        if scheme == "http" and not is_loopback(settings.host):
            logger.warning("passwords and images cross the network unencrypted; add --tls-cert and --tls-key")
        host = f"[{settings.host}]" if ":" in settings.host else settings.host
        return site, SiteServer(config, site, f"{scheme}://{host}:{port}")
    except BaseException:
        site.close()
        raise


class SiteServer(uvicorn.Server):
    """Uvicorn, which says when it serves and lets waiting requests go when it stops.

    Args:
        config: uvicorn's.
        site: what is served.
        url: where.
    """

    def __init__(self, config: uvicorn.Config, site: Site, url: str) -> None:
        super().__init__(config)
        self._site = site
        self._url = url

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Serve, start the learner, and say so."""
        await super().startup(sockets)
        if not self.started:
            return
        self._site.context.learner.start()
        state = self._site.context.state
        state.courier_token()
        ready = {
            "pid": os.getpid(),
            "url": self._url,
            "state": str(state.folder),
            "token_file": str(state.courier_token_file),
        }
        logger.info("site %s serves %s (Ctrl-C stops it)", self._site.name, self._url)
        self._remind_of_consent()
        if self._site.settings.ready_file is not None:
            write_ready(self._site.settings.ready_file, ready)

    def _remind_of_consent(self) -> None:
        from monailabel_app.federation.consent import Consent

        context = self._site.context
        plan = context.plan
        if plan is not None and Consent(context.state.database).of(plan) is None:
            logger.warning(
                "plan %s (%s…) is not approved here, so the site takes part in no rounds; read and approve it with"
                " `fedseg plan approve`",
                plan.name,
                plan.sha256[:12],
            )

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Let go what waits, then end as uvicorn does."""
        await anyio.to_thread.run_sync(self._site.interrupt)
        await super().shutdown(sockets)


def write_ready(path: Path, content: dict[str, object]) -> None:
    """Write a ready file: whoever sees it can read all of it."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    temporary.write_text(json.dumps(content), encoding="utf-8")
    temporary.replace(path)


class _Stop:
    """SIGTERM and SIGINT from the first moment on; uvicorn takes over while it serves."""

    def __init__(self) -> None:
        self._server: uvicorn.Server | None = None
        self._asked = False
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGTERM, signal.SIGINT):
                signal.signal(number, self._handle)

    def attach(self, server: uvicorn.Server) -> None:
        self._server = server
        server.should_exit = server.should_exit or self._asked

    def _handle(self, number: int, frame: object) -> None:
        if self._server is None and not self._asked:  # still starting: nothing needs to be closed in order
            self._asked = True
            raise SystemExit(0)


def _leave(ready_file: Path | None) -> NoReturn:
    """End now: everything is closed, and a request's thread may still compute for a client that is gone."""
    if ready_file is not None:
        ready_file.unlink(missing_ok=True)
    logging.shutdown()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)
