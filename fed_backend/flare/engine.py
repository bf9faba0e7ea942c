"""Everything that reaches into private parts of NVIDIA FLARE 2.9; nothing else of ours may.

- the modules that start a FLARE server and a FLARE client,
- messages between the job processes of hub and sites (:class:`Link`),
- what the supervisor asks of a running server (:class:`Administration`).

Why not FLARE's aux messages: their handler learns the sender's name from the message itself. A
cell's own callback gets the headers that the FLARE server verified against the sender's
certificate-bound token (``nvflare.private.fed.authenticator.validate_auth_headers``), so a site
cannot speak in another's name.
"""

from __future__ import annotations

import io
import json
import sys
from collections.abc import Callable
from contextlib import redirect_stdout, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fed_backend.errors import FederationError
from fed_backend.flare.fields import packed, unpacked
from fed_backend.flare.kit import CONTROLLER, EXECUTOR, SUPERVISOR_NAME, Kit, write_json_atomic
from fed_backend.flare.messages import Message
from fed_backend.flare.pieces import BODY, PIECE, Spool, send
from fed_backend.flare.processes import SMALL_HEAP
from fed_backend.flare.quiet import keep_payloads_unprinted
from fed_backend.flare.sweeping import Sweeper

__all__ = [
    "ENVIRONMENT",
    "Administration",
    "Link",
    "Overview",
    "client_command",
    "place_storage",
    "server_command",
    "write_job",
]

HUB_CELL = "server"
ENVIRONMENT = {**SMALL_HEAP, "NVFLARE_STREAMING_RETRY_TIMEOUT": "5", "NVFLARE_STREAMING_RETRY_WAIT": "2"}
"""Of every process of FLARE. It keeps a thread for each answer that it got, for as long as the answer may be repeated.

With FLARE's own 65 seconds that is a thread for every beat of the last minute, and for every piece of a payload.
Whoever waits for an answer of ours asks again after ten seconds anyway.
"""
_CHANNEL = "fedseg"
_FIELDS = "fedseg-fields"
"""The header with a message's fields. The body alone is the payload: FLARE carries bytes as they are, anything else
through its serializer, which copies them twice at each end."""
_HEARTBEAT_S = 2.0
_SMALL_TIMEOUT_S = 10.0
_SECONDS_PER_MIB = 0.5  # slowest link that is still served: 2 MiB/s


def server_command(kit: Kit) -> list[str]:
    """The command line of the hub's FLARE server."""
    module = "nvflare.private.fed.app.server.server_train"
    return _command(module, kit, "fed_server.json", f"org={kit.org}")


def client_command(kit: Kit) -> list[str]:
    """The command line of a site's FLARE client."""
    module = "nvflare.private.fed.app.client.client_train"
    return _command(
        module, kit, "fed_client.json", f"uid={kit.name}", f"org={kit.org}", f"heart_beat_interval={_HEARTBEAT_S}"
    )


def _command(module: str, kit: Kit, config: str, *settings: str) -> list[str]:
    common = ["secure_train=true", "config_folder=config"]
    return [sys.executable, "-u", "-m", module, "-m", str(kit.folder), "-s", config, "--set", *common, *settings]


def place_storage(kit: Kit) -> None:
    """Point the FLARE server's storage into the hub's kit.

    FLARE wants absolute paths (its defaults are in ``/tmp``, open to every user of the machine), and
    a kit may have been moved since it was made, so this is done at every start.
    """
    path = kit.folder / "local" / "resources.json"
    resources = json.loads(path.read_text(encoding="utf-8"))
    storage = kit.folder / "storage"
    resources["snapshot_persistor"]["args"]["storage"]["args"]["root_dir"] = str(storage / "snapshots")
    for component in resources["components"]:
        if component["id"] == "job_manager":
            component["args"]["uri_root"] = str(storage / "jobs")
    write_json_atomic(path, resources)


def write_job(folder: Path) -> Path:
    """Write the one federation job; it ships no code and names installed classes only."""
    config = folder / "app" / "config"
    config.mkdir(parents=True, exist_ok=True)
    meta = {"name": "fedseg", "resource_spec": {}, "min_clients": 1, "deploy_map": {"app": ["@ALL"]}}
    server = {
        "format_version": 2,
        "workflows": [{"id": "rounds", "path": CONTROLLER, "args": {}}],
        "components": [],
    }
    client = {
        "format_version": 2,
        "executors": [{"tasks": ["*"], "executor": {"path": EXECUTOR, "args": {}}}],
        "components": [],
        "runner_sync_timeout": 2.0,
    }
    for path, data in (
        (folder / "meta.json", meta),
        (config / "config_fed_server.json", server),
        (config / "config_fed_client.json", client),
    ):
        path.write_text(json.dumps(data, indent=2), encoding="utf-8")
    return folder


class Link:
    """Messages between the job process of the hub and those of the sites.

    Args:
        fl_ctx: FLARE's context in a job process.
    """

    def __init__(self, fl_ctx: Any) -> None:
        keep_payloads_unprinted()
        self._sweeper = Sweeper()
        self._cell = fl_ctx.get_engine().get_cell()
        self._job_id: str = fl_ctx.get_job_id()

    def listen(
        self,
        handler: Callable[[str, Message], dict[str, Any]],
        *,
        spool: Spool | None = None,
        claimed: frozenset[str] = frozenset(),
    ) -> None:
        """Let ``handler(sender, message)`` answer every message; it runs in FLARE's threads.

        Args:
            handler: takes each message with the member that sent it, as its certificate names it.
            spool: takes bodies that come in pieces; without it there are none.
            claimed: topics whose sender is only what the message claims. The server verifies what is
                sent to it, not what one site sends to another: there the body must prove itself.
        """
        from nvflare.fuel.f3.cellnet.defs import MessageHeaderKey, ReturnCode
        from nvflare.fuel.f3.message import Message as CellMessage

        def on_request(request: Any) -> Any:
            message = _unpack(
                str(request.get_header(MessageHeaderKey.TOPIC)), request.get_header(_FIELDS), request.payload
            )
            sender = _origin(request) if message.topic in claimed else _sender(request)
            answer = _spooled(spool, sender, message, handler) if spool else handler(sender, message)
            self._sweeper.sent(0)
            return CellMessage({MessageHeaderKey.RETURN_CODE: ReturnCode.OK}, {"fields": json.dumps(answer)})

        self._cell.register_request_cb(channel=_CHANNEL, topic="*", cb=on_request)

    def ask(self, member: str, message: Message) -> dict[str, Any] | None:
        """Send a message and wait for the answer; ``None`` if there is none in time.

        Args:
            member: name of a site, or :data:`HUB_CELL`.
            message: what to say. The time to wait grows with its body.

        Raises:
            OSError: its body is a file that cannot be read.
        """
        return send(lambda part, count: self._ask(member, part, count), message)

    def _ask(self, member: str, message: Message, count: float) -> dict[str, Any] | None:
        from nvflare.fuel.f3.cellnet.defs import MessageHeaderKey, ReturnCode
        from nvflare.fuel.f3.message import Message as CellMessage

        reply = self._cell.send_request(
            channel=_CHANNEL,
            topic=message.topic,
            target=f"{member}.{self._job_id}",
            request=CellMessage({_FIELDS: packed(message.fields)}, message.body),
            timeout=_SMALL_TIMEOUT_S + _SECONDS_PER_MIB * count / 2**20,
            optional=True,
        )
        self._sweeper.sent(len(message.body) if isinstance(message.body, bytes) else 0)
        if reply is None or reply.get_header(MessageHeaderKey.RETURN_CODE) != ReturnCode.OK:
            return None
        if not isinstance(reply.payload, dict):
            return None
        answer = json.loads(reply.payload["fields"])
        return answer if isinstance(answer, dict) else None


def _spooled(
    spool: Spool, sender: str, message: Message, handler: Callable[[str, Message], dict[str, Any]]
) -> dict[str, Any]:
    """What ``handler`` answers, once the body is there."""
    if message.topic == PIECE:
        return spool.take(sender, message)
    if BODY not in message.fields:
        return handler(sender, message)
    if (complete := spool.claim(sender, message)) is None:
        raise FederationError(f"the body of a {message.topic} message of {sender!r} did not arrive whole")
    try:
        return handler(sender, complete)
    finally:
        if isinstance(complete.body, Path):
            complete.body.unlink(missing_ok=True)


def _unpack(topic: str, fields: Any, body: Any) -> Message:
    if not isinstance(body, bytes | bytearray | memoryview):
        raise FederationError(f"malformed message on topic {topic!r}")
    try:
        return Message(topic, unpacked(fields), bytes(body))
    except ValueError:
        raise FederationError(f"malformed message on topic {topic!r}") from None


def _origin(request: Any) -> str:
    """The member that a message says it is from."""
    from nvflare.fuel.f3.cellnet.defs import MessageHeaderKey

    return str(request.get_header(MessageHeaderKey.ORIGIN)).split(".", maxsplit=1)[0]


def _sender(request: Any) -> str:
    """The member behind a message: both headers that the server verified, which must agree."""
    from nvflare.private.defs import CellMessageHeaderKeys

    origin = _origin(request)
    name = request.get_header(CellMessageHeaderKeys.CLIENT_NAME)
    if origin != HUB_CELL and name != origin:
        raise FederationError(f"a message from {origin!r} claims to be from {name!r}")
    return origin


@dataclass(frozen=True)
class Overview:
    """What a FLARE server reports: client -> seconds since epoch of its last sign, and running jobs."""

    clients: dict[str, float]
    jobs: list[str]


class Administration:
    """A session with the hub's FLARE server, under the supervisor's certificate.

    Raises:
        FederationError: the server does not answer, or refuses the certificate.
    """

    def __init__(self, kit: Kit, timeout_s: float = 10.0) -> None:
        from nvflare.fuel.flare_api.flare_api import new_secure_session

        try:
            with redirect_stdout(io.StringIO()):  # FLARE prints its progress
                self._session = new_secure_session(SUPERVISOR_NAME, str(kit.folder / "supervisor"), timeout=timeout_s)
        except Exception as error:
            raise FederationError(f"cannot log in to the hub's server: {type(error).__name__}") from None

    def overview(self) -> Overview:
        """Who is connected and which jobs run."""
        info = self._call("get_system_info")
        clients = {client.name: float(client.last_connect_time or 0) for client in info.client_info}
        return Overview(clients, [job.job_id for job in info.job_info])

    def submit(self, job: Path) -> str:
        """Submit the job; returns its identifier."""
        return str(self._call("submit_job", str(job)))

    def status(self, job_id: str) -> str:
        """FLARE's status of a job, such as ``SUBMITTED``, ``RUNNING`` or ``FINISHED:ABORTED``."""
        return str(self._call("get_job_meta", job_id).get("status"))

    def abort(self, job_id: str) -> None:
        """Abort a job; it may have ended already."""
        with suppress(FederationError):
            self._call("abort_job", job_id)

    def let_in(self, site: str, allowed: bool) -> None:
        """Let a site register at the server, or drop it and refuse it from now on."""
        self._call("enable_client" if allowed else "disable_client", site)

    def close(self) -> None:
        """End the session; never fails."""
        try:
            self._session.close()
        except Exception:  # the server may be gone already
            return

    def _call(self, name: str, *arguments: str) -> Any:
        try:
            return getattr(self._session, name)(*arguments)
        except Exception as error:
            raise FederationError(f"the hub's server did not answer {name}: {type(error).__name__}") from None
