"""``fedseg courier start``: the FLARE client of one site, kept running.

The courier has no access to images or labels: its job process calls the site server with a token
and carries payloads. The address and the token's place are handed over in a file in the kit.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from fed_backend.errors import FedSegError
from fed_backend.flare.certificates import announce_expiry, check_certificate
from fed_backend.flare.engine import ENVIRONMENT, client_command
from fed_backend.flare.kit import COURIER_CONFIG, COURIER_READY, Kit, hold, remove_jobs, write_json_atomic
from fed_backend.flare.leaving import left_at, require_member
from fed_backend.flare.processes import Child
from fed_backend.flare.site_client import SiteClient, token_reader
from fed_backend.flare.tls_check import serves

__all__ = ["Courier"]

_STEP_S = 0.3
_FIRST_BACKOFF_S, _MAX_BACKOFF_S = 1.0, 60.0
_STEADY_S = 60.0
_EXPLAIN_S = 20.0


class Courier:
    """The supervisor of one site's FLARE client.

    Args:
        kit: the site's kit.
        site_url: address of the site server.
        token_file: file with the courier's token.
        ready_file: gets ``{"pid", "site", "job"}`` once hub and site server both answered.
        say: prints a line for the person at the terminal.
        site_ca: certificates to trust at ``site_url``; see :class:`.SiteClient`.

    Raises:
        FederationError: ``site_url`` is no address, or ``site_ca`` holds no certificates.
    """

    def __init__(
        self,
        kit: Kit,
        site_url: str,
        token_file: Path,
        ready_file: Path | None,
        say: Callable[[str], None],
        site_ca: Path | None = None,
    ) -> None:
        self._site = SiteClient(site_url, token_reader(token_file), kit.plan.max_payload_bytes, site_ca)
        self._kit = kit
        self._config = {
            "site_url": site_url,
            "token_file": str(token_file.resolve()),
            "site_ca": str(site_ca.resolve()) if site_ca else None,
        }
        self._ready_file = ready_file
        self._say = say
        self._client: Child | None = None
        self._started_at = 0.0
        self._backoff = _FIRST_BACKOFF_S
        self._not_before = 0.0
        self._lost_at = 0.0
        self._job = ""
        self._explained = ""

    def run(self) -> None:
        """Supervise until :class:`~fed_backend.flare.processes.Stopped`, or until the site leaves its federation.

        Raises:
            ProvisionError: the kit's certificate is not this site's, or the site has left.
            FederationError: another courier runs from this kit.
        """
        require_member(self._kit)
        announce_expiry(self._kit.name, check_certificate(self._kit), self._say)
        with hold(self._kit.run / "lock", "a courier from this kit"):
            self.begin(self._config)
            if self._ready_file:
                self._ready_file.unlink(missing_ok=True)
            try:
                while not left_at(self._kit):
                    self.step()
                    time.sleep(_STEP_S)
            finally:
                self.end()

    def begin(self, config: Mapping[str, Any]) -> None:
        """Hand ``config`` to the job process that :meth:`step` starts."""
        write_json_atomic(self._kit.run / COURIER_CONFIG, dict(config))
        self._clean()

    def end(self) -> None:
        """Stop the FLARE client."""
        if self._client:
            self._client.stop()
        self._clean()

    def _clean(self) -> None:
        (self._kit.run / COURIER_READY).unlink(missing_ok=True)

    def step(self) -> None:
        """Start the FLARE client where none runs, and say what is new."""
        now = time.monotonic()
        if self._client and self._client.exit_code is not None:
            self._say(f"the connection to the hub ended with code {self._client.exit_code}; it is made again")
            self._client.stop()
            self._client = None
            self._clean()
            if now - self._started_at > _STEADY_S:
                self._backoff = _FIRST_BACKOFF_S
            self._not_before = now + self._backoff
            self._backoff = min(2 * self._backoff, _MAX_BACKOFF_S)
        if self._client is None and now >= self._not_before:
            remove_jobs(self._kit)
            log = self._kit.run / "client.log"
            self._client = Child(client_command(self._kit), cwd=self._kit.folder, log=log, environment=ENVIRONMENT)
            self._started_at = now
        self._announce()
        if not self._job and now - max(self._started_at, self._lost_at) > _EXPLAIN_S:
            self._explain()

    def _announce(self) -> None:
        try:
            job = str(json.loads((self._kit.run / COURIER_READY).read_text(encoding="utf-8"))["job"])
        except (OSError, ValueError, KeyError):
            job = ""
        if job == self._job:
            return
        self._job, self._explained = job, ""
        if not job:
            self._lost_at = time.monotonic()
            return
        self._say(f"{self._kit.name} is connected to the hub and to its site server")
        if self._ready_file:
            write_json_atomic(self._ready_file, {"pid": os.getpid(), "site": self._kit.name, "job": job})

    def _explain(self) -> None:
        """Say what is missing, when something has been missing for a while; each thing once."""
        missing = self._missing()
        if missing != self._explained:
            self._explained = missing
            self._say(missing)

    def _missing(self) -> str:
        kit = self._kit
        startup = kit.folder / "startup"
        try:
            if not serves(kit.host, kit.port, startup / "rootCA.pem", startup / "client.crt", startup / "client.key"):
                return f"the hub at {kit.host}:{kit.port} refuses this kit's certificate: ask its administrator"
            self._site.progress()
        except FedSegError as error:
            return str(error)
        return "hub and site server can be reached; waiting for the hub's job"
