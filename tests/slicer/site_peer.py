"""The other side of the protocol: a site's REST interface with canned volumes, on a real loopback socket.

Not a mock of anything of ours: the module talks HTTP to it as it does to a site. Every reply can be replaced by a
fault, held back until the test lets it go, and every request is recorded.
"""

from __future__ import annotations

import json
import ssl
import struct
import threading
import zlib
from collections.abc import Callable
from dataclasses import dataclass, field
from email.parser import BytesParser
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

import numpy as np
import session_peer
from volume_files import nrrd

Reply = Callable[["Handler"], None]

SHAPE = (24, 20, 12)
AFFINE = np.array([[-0.9, 0, 0, 10], [0, -0.9, 0, 8], [0, 0, 3.0, -18], [0, 0, 0, 1]])
LABELS = {"edema": 2, "tumour": 5}
COLORS = {"edema": [235, 190, 60], "tumour": [215, 60, 55]}


def image() -> np.ndarray[Any, Any]:
    """A head-like ellipsoid with a brighter lump."""
    i, j, k = np.indices(SHAPE).astype(float)
    head = ((i - 11.5) / 11) ** 2 + ((j - 9.5) / 9) ** 2 + ((k - 5.5) / 6) ** 2 < 1
    return (head * 300 + (mask() > 0) * 250 + (mask() == 5) * 200).astype(np.int16)


def mask(shift: int = 0) -> np.ndarray[Any, Any]:
    """Edema (2) around a tumour (5)."""
    i, j, k = np.indices(SHAPE).astype(float)
    distance = np.sqrt((i - 14 - shift) ** 2 + (j - 10) ** 2 + (2 * (k - 6)) ** 2)
    return (np.where(distance < 3, 5, np.where(distance < 5, 2, 0))).astype(np.uint8)


def thumbnail() -> bytes:
    """The middle slice as an 8-bit grey PNG, written by hand."""
    grey = np.clip(image()[:, :, 6].T / 3, 0, 255).astype(np.uint8)
    rows = b"".join(b"\0" + row.tobytes() for row in grey)

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = struct.pack(">IIBBBBB", grey.shape[1], grey.shape[0], 8, 0, 0, 0, 0)
    parts = chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + parts


IDLE_LEARNING: dict[str, Any] = {
    "state": "idle", "job": None, "model": "unet", "progress": 0, "seconds_left": None, "message": "", "curve": [],
    "result": None,
}  # fmt: skip


@dataclass
class Received:
    """One recorded request."""

    method: str
    path: str
    query: dict[str, str]
    headers: dict[str, str]
    body: bytes
    form: dict[str, Any] = field(default_factory=dict)


class SitePeer:
    """A running server.

    Attributes:
        replies: (method, path) -> what to answer instead.
        gates: (method, path) -> event that a request waits for.
        received: requests in order; ``arrived`` is notified of each.
        users: name -> password; empty for no sign-in.
    """

    def __init__(self, *, stock: bool = False, tls: tuple[Path, Path] | None = None) -> None:
        self.stock = stock
        self.role = "annotator"
        self.cases = ["case-01", "case-02"]
        self.known = ["case-10", "case-01", "case-02"]
        self.finals: dict[str, bytes] = {}
        self.corrections: list[dict[str, Any]] = []
        self.thumbnail = thumbnail()
        self.image = nrrd(image(), AFFINE)
        self.mask = nrrd(mask(), AFFINE)
        self.image_name = "case.nrrd"
        self.label_names = dict(LABELS)
        self.users: dict[str, str] = {}
        self.learning = dict(IDLE_LEARNING)
        self.versions: list[dict[str, Any]] = []
        self.statistics: dict[str, Any] = {"days": [], "versions": [], "cases": [], "summary": ""}
        self.federation: dict[str, Any] = {
            "enabled": True, "site": "north", "courier": {"connected": True, "last_seen": None}, "paused": False,
            "plan": {"name": "glioma", "sha256": "a" * 64, "method": "fedavg", "model": "unet", "rounds": 3},
            "rounds": [],
        }  # fmt: skip
        self.plan: dict[str, Any] = {
            "method": {"name": "fedavg"}, "alternatives": [{"name": "gcml"}], "labels": LABELS, "quorum": 2,
            "adapter": {"a.lora_A": [4, 768], "a.lora_B": [768, 4], "head": [393600]}, "training": {"steps": 60},
            "starters": [], "sha256": "a" * 64,
        }  # fmt: skip
        self.round: dict[str, Any] = {}
        self.sessions = session_peer.Desk(SHAPE, LABELS)
        self.received: list[Received] = []
        self.replies: dict[tuple[str, str], Reply] = {}
        self.gates: dict[tuple[str, str], threading.Event] = {}
        self._changed = threading.Condition()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), type("Bound", (Handler,), {"peer": self}))
        self._server.daemon_threads = True
        scheme = "http"
        if tls is not None:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(*tls)
            self._server.socket = context.wrap_socket(
                self._server.socket, server_side=True, do_handshake_on_connect=False
            )
            scheme = "https"
        self.url = f"{scheme}://127.0.0.1:{self._server.server_address[1]}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True)

    def __enter__(self) -> SitePeer:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        for gate in self.gates.values():
            gate.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def hold(self, method: str, path: str) -> threading.Event:
        """Hold back replies to this until the event is set."""
        self.gates[(method, path)] = threading.Event()
        return self.gates[(method, path)]

    def refuse(self, method: str, path: str, status: int, **body: Any) -> None:
        """Answer with an error."""
        self.replies[(method, path)] = lambda handler: handler.send_json(body, status)

    def wait_for(self, method: str, path: str, count: int = 1, seconds: float = 10.0) -> list[Received]:
        """The recorded requests of that kind, once there are ``count``."""

        def found() -> list[Received]:
            return [item for item in self.received if (item.method, item.path) == (method, path)]

        with self._changed:
            assert self._changed.wait_for(lambda: len(found()) >= count, seconds), f"{method} {path} never arrived"
        return found()

    def count(self, method: str, path: str) -> int:
        """How many such requests arrived."""
        return sum((item.method, item.path) == (method, path) for item in self.received)

    def record(self, item: Received) -> None:
        """Note a request."""
        with self._changed:
            self.received.append(item)
            self._changed.notify_all()

    def info(self) -> dict[str, Any]:
        """Reply of /info/."""
        kinds = {"unet": "segmentation", "sam": "deepedit" if self.stock else "segmentation"}
        models = {name: {"type": kind, "labels": LABELS, "dimension": 3} for name, kind in kinds.items()}
        info: dict[str, Any] = {
            "name": "Canned", "version": "0.8.5", "labels": LABELS, "models": models, "trainers": {},
            "strategies": {"random": {}, "uncertainty": {}}, "datastore": {"total": len(self.cases)},
        }  # fmt: skip
        if not self.stock:
            info["fedseg"] = {
                "version": "0.1.0", "site": "north", "labels": LABELS, "colors": COLORS, "federation": True,
                "models": {"unet": {"champion": "unet-0001"}, "sam": {"champion": "sam-0001"}}, "role": self.role,
            }  # fmt: skip
        return info


class Handler(BaseHTTPRequestHandler):
    """Answers one connection."""

    protocol_version = "HTTP/1.1"
    peer: SitePeer

    def log_message(self, format: str, *args: Any) -> None:
        """Keep quiet."""

    def handle(self) -> None:
        """A client that hangs up is no matter."""
        try:
            super().handle()
        except (OSError, ssl.SSLError):
            self.close_connection = True

    def answer(self) -> None:
        """Record, wait if held, then answer."""
        parts = urlsplit(self.path)
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        query = {key: values[0] for key, values in parse_qs(parts.query).items()}
        item = Received(self.command, unquote(parts.path), query, dict(self.headers), body)
        item.form = _form(self.headers.get("Content-Type", ""), body)
        peer, key = self.peer, (item.method, item.path)
        peer.record(item)
        gate = peer.gates.get(key)
        if gate is not None:
            gate.wait(30)
        reply = peer.replies.get(key)
        if reply is not None:
            reply(self)
        elif peer.users and item.path != "/auth/token" and self.headers.get("Authorization") != "Bearer good":
            self.send_json({"error": "Unauthorised", "detail": "Sign in first.", "hint": "Use your site account."}, 401)
        else:
            self._route(item)

    do_GET = do_POST = do_PUT = do_DELETE = answer

    def _route(self, item: Received) -> None:
        peer = self.peer
        match (item.method, *item.path.strip("/").split("/")):
            case ("GET", "info"):
                self.send_json(peer.info())
            case ("POST", "auth", "token"):
                good = peer.users.get(item.form["username"]) == item.form["password"]
                token = {"access_token": "good", "token_type": "bearer"}
                self.send_json(token if good else {"detail": "Wrong name or password."}, 200 if good else 401)
            case ("POST", "activelearning", _):
                self.send_json({"id": peer.cases.pop(0), "reason": "least certain"} if peer.cases else {})
            case ("GET", "datastore"):
                final = {"final": {"ext": ".nii.gz", "info": {}}}
                objects = {
                    case: {"image": {"ext": ".nrrd", "info": {}}, "labels": final if case in peer.finals else {}}
                    for case in peer.known
                }
                self.send_json({"name": "x", "objects": objects, "images_dir": ".", "labels_dir": "labels"})
            case ("GET", "corrections") if not peer.stock:
                self.send_json({"corrections": peer.corrections})
            case ("GET", "datastore", "image", "thumbnail") if not peer.stock:
                self.send_bytes(peer.thumbnail, {"Content-Type": "image/png"})
            case ("GET", "datastore", "label"):
                found = peer.finals.get(item.query["label"])
                if found is None:
                    self.send_json({"error": "NotFound", "detail": "no label 'final'", "hint": "Save one first."}, 404)
                else:
                    self.send_file(found, "label.nrrd")
            case ("GET", "datastore", "image"):
                self.send_file(peer.image, peer.image_name)
            case ("POST", "infer", model):
                names = peer.label_names
                extra = {} if peer.stock else {"version": f"{model}-0001", "seconds": {"total": 0.4}}
                self.send_mask({"label_names": names, "model": model, **extra}, peer.mask)
            case ("PUT", "datastore", "image"):
                peer.known.append(item.query["image"])
                self.send_json({"image": item.query["image"]})
            case ("PUT", "datastore", "label"):
                more = {} if peer.stock else {"correction": 7, "part": "train", "dice_shown": 0.91}
                self.send_json({"image": item.query["image"], "label": "x", **more})
            case ("GET", "versions") if not peer.stock:
                self.send_json({"champion": {}, "versions": peer.versions})
            case ("GET", "statistics") if not peer.stock:
                self.send_json(peer.statistics)
            case ("POST", "versions", name, "promote" | "rollback" as what) if not peer.stock:
                champion = name if what == "promote" else "unet-0001"
                for version in peer.versions:
                    version["state"] = "champion" if version["id"] == champion else "accepted"
                self.send_json({"champion": champion, "previous": "x", "warning": None})
            case (method, "learning") if not peer.stock:
                self._learning(method)
            case (method, "sessions", *rest) if not peer.stock:
                status, reply = peer.sessions.answer(method, rest, item.query, item.body)
                if isinstance(reply, bytes):
                    self.send_bytes(reply, {"Content-Type": "application/x-fedseg-mask"}, status)
                else:
                    self.send_json(reply, status)
            case (method, "federation", *rest) if not peer.stock:
                self._federation(method, rest, item)
            case _:
                self.send_json({"detail": "Not Found"}, 404)

    def _learning(self, method: str) -> None:
        if method == "POST":
            self.peer.learning |= {"state": "training", "job": "j1", "progress": 0.35, "seconds_left": 95}
        elif method == "DELETE":
            self.peer.learning |= {"state": "cancelled", "seconds_left": None}
        self.send_json(self.peer.learning, 202 if method == "POST" else 200)

    def _federation(self, method: str, rest: list[str], item: Received) -> None:
        peer = self.peer
        match (method, *rest):
            case ("GET",):
                self.send_json(peer.federation)
            case ("GET", "plan"):
                self.send_json(peer.plan)
            case ("POST", "pause"):
                peer.federation["paused"] = json.loads(item.body)["paused"]
                self.send_json({"paused": peer.federation["paused"]})
            case ("POST", "plan"):
                asked, plan = json.loads(item.body), peer.federation["plan"]
                if asked["approved"] and asked["sha256"] != plan["sha256"]:
                    self.send_json({"error": "Conflict", "detail": "the plan at this site is another one"}, 409)
                    return
                plan["approved"] = {"who": "ada", "at": "2026-01-02T03:04:05Z"} if asked["approved"] else None
                self.send_json({"sha256": plan["sha256"], "approved": plan["approved"]})
            case ("POST", "rounds"):
                peer.round = running_round()
                peer.federation["rounds"] = [{"id": "r1", "state": "running", "method": "fedavg", "rounds": 3}]
                self.send_json({"id": "r1"}, 202)
            case ("GET", "rounds", "r1"):
                self.send_json(peer.round)
            case ("DELETE", "rounds", "r1"):
                peer.round |= {"state": "stopped", "reason": "Stopped by north."}
                self.send_json({})
            case _:
                self.send_json({"detail": "no such round"}, 404)

    def send_json(self, value: Any, status: int = 200) -> None:
        """Answer with JSON."""
        self.send_bytes(json.dumps(value).encode(), {"Content-Type": "application/json"}, status)

    def send_file(self, content: bytes, name: str) -> None:
        """Answer with a download."""
        self.send_bytes(content, {"Content-Disposition": f'attachment; filename="{name}"'})

    def send_mask(self, params: dict[str, Any], content: bytes, name: str = "mask.nrrd") -> None:
        """Answer as an inference does."""
        body, content_type = multipart(params, content, name)
        self.send_bytes(body, {"Content-Type": content_type})

    def send_bytes(self, body: bytes, headers: dict[str, str], status: int = 200, length: int | None = None) -> None:
        """Answer; ``length`` may lie."""
        self.send_response(status)
        for key, value in headers.items():
            self.send_header(key, value)
        self.send_header("Content-Length", str(len(body) if length is None else length))
        self.end_headers()
        self.wfile.write(body)


def multipart(params: dict[str, Any], content: bytes, name: str) -> tuple[bytes, str]:
    """Body and content type of an inference reply."""
    mark = "c0ffee0123456789"
    head = f'--{mark}\r\nContent-Disposition: form-data; name="params"\r\nContent-Type: application/json\r\n\r\n'
    middle = f'\r\n--{mark}\r\nContent-Disposition: form-data; name="image"; filename="{name}"\r\n\r\n'
    body = head.encode() + json.dumps(params).encode() + middle.encode() + content + f"\r\n--{mark}--\r\n".encode()
    return body, f"multipart/form-data; boundary={mark}"


def running_round() -> dict[str, Any]:
    """A federated run in its second round."""
    lost = {"west": {"state": "failed", "reason": "norm above the plan's bound"}}
    past = {"round": 0, "seconds": 52.0, "bytes_up": 1200000, "bytes_down": 2300000, "sites": lost}
    return {
        "id": "r1", "state": "running", "started_by": "north", "method": "fedavg", "rounds": 3, "round": 1,
        "reason": "", "sites": {
            "north": {"state": "training", "progress": 0.4, "reason": "", "dice": 0.71, "promoted": True},
            "south": {"state": "aggregated", "progress": 1.0, "reason": "", "dice": 0.66, "promoted": False},
            "west": {"state": "failed", "progress": 0.1, "reason": "courier lost", "dice": None, "promoted": None},
        },
        "history": [{**past, "dice": {"north": 0.68, "south": 0.66, "west": 0.59}}],
    }  # fmt: skip


def _form(content_type: str, body: bytes) -> dict[str, Any]:
    if content_type.startswith("application/x-www-form-urlencoded"):
        return {key: values[0] for key, values in parse_qs(body.decode()).items()}
    if not content_type.startswith("multipart/"):
        return {}
    message = BytesParser().parsebytes(f"Content-Type: {content_type}\r\n\r\n".encode() + body)
    form: dict[str, Any] = {}
    for part in message.get_payload():  # type: ignore[union-attr]
        name = part.get_param("name", header="content-disposition")  # type: ignore[union-attr]
        form[str(name)] = part.get_payload(decode=True)  # type: ignore[union-attr]
        if part.get_filename():  # type: ignore[union-attr]
            form[f"{name}.filename"] = part.get_filename()  # type: ignore[union-attr]
    return form
