"""The interactive half of a site's protocol, with a "model" simple enough to know its answers by heart.

A point marks (or clears) the disc of radius 2 around it on its slice; a box is filled; a scribble's voxels are taken
(or left out) exactly; a mask replaces the label within its box; a propagation copies the middle prompted slice to its
two neighbours. Bytes are made and read here independently of the module's own code.
"""

from __future__ import annotations

import base64
import json
import struct
import zlib
from typing import Any

import numpy as np

Voxels = np.ndarray[Any, Any]
RADIUS = 2


class Desk:
    """The open sessions of a peer; ``closed`` lists those that were ended."""

    def __init__(self, shape: tuple[int, int, int], labels: dict[str, int]) -> None:
        self.shape = shape
        self.labels = labels
        self.open: dict[str, CannedSession] = {}
        self.closed: list[str] = []
        self.initial = np.zeros(shape, np.uint8)
        self.propagation_polls = 2
        self._count = 0

    def restart(self) -> None:
        """The site lost all sessions; the mask last shown is kept."""
        for one in self.open.values():
            self.initial = one.mask.copy()
        self.open.clear()

    def answer(self, method: str, rest: list[str], query: dict[str, str], body: bytes) -> tuple[int, Any]:
        """Status and reply: bytes of a changed box, or JSON."""
        values = json.loads(body) if body else {}
        if not rest and method == "GET":
            return 200, {"sessions": [one.described() for one in self.open.values()]}
        if not rest:
            self._count += 1
            one = CannedSession(f"s{self._count}", values["image"], self)
            self.open[one.id] = one
            return 201, one.described()
        session = self.open.get(rest[0])
        if session is None:
            return 404, {"error": "NotFound", "detail": f"you have no open session '{rest[0]}'", "hint": "Open one."}
        return session.answer(method, rest[1:], query, values)


class CannedSession:
    """One session."""

    def __init__(self, name: str, image: str, desk: Desk) -> None:
        self.id = name
        self.image = image
        self.desk = desk
        self.mask = desk.initial.copy()
        self.step = 0
        self.done: list[Voxels] = []
        self.undone: list[Voxels] = []
        self.marks: list[Voxels] = [self.mask.copy()]
        self.work: dict[str, Any] | None = None
        self.prompts: list[dict[str, Any]] = []

    def described(self) -> dict[str, Any]:
        """The session as JSON."""
        return {
            "session": self.id, "image": self.image, "model": "sam", "version": "sam-0001", "label": "tumour",
            "labels": self.desk.labels, "shape": list(self.desk.shape), "axis": "k", "step": self.step,
            "undo": len(self.done), "redo": len(self.undone),
        }  # fmt: skip

    def answer(self, method: str, rest: list[str], query: dict[str, str], values: dict[str, Any]) -> tuple[int, Any]:
        """Route one request."""
        match (method, *rest):
            case ("DELETE",):
                del self.desk.open[self.id]
                self.desk.closed.append(self.id)
                return 200, {"session": self.id, "closed": True}
            case ("POST", "prompts"):
                self.prompts.append(values)
                return 200, self._change(self._prompted(values))
            case ("POST", "undo" | "redo" as what):
                source, target = (self.done, self.undone) if what == "undo" else (self.undone, self.done)
                if not source:
                    return 400, {"error": "SiteError", "detail": f"there is nothing to {what}", "hint": "None."}
                target.append(self.mask.copy())
                return 200, self._moved(source.pop())
            case ("GET", "mask"):
                return 200, self._packed(np.zeros_like(self.mask))
            case ("GET", "changes"):
                return 200, self._packed(self.marks[int(query["since"])])
            case (_, "propagate"):
                return self._propagate(method, values)
        return 404, {"detail": "Not Found"}

    def _prompted(self, values: dict[str, Any]) -> Voxels:
        label = self.desk.labels[values["label"]]
        mask = self.mask.copy()
        axis = "ijk".index(values.get("axis", "k"))
        if (drawn := values.get("mask")) is not None:
            _put(mask, drawn, label, replace=True)
        if (box := values.get("box")) is not None:
            inside = mask[tuple(slice(a, b + 1) for a, b in zip(box[:3], box[3:], strict=True))]
            inside[...] = label
        for scribble in values.get("scribbles", []):
            _put(mask, scribble, label if scribble["positive"] else 0, replace=False)
        for key, value in (("foreground", label), ("background", 0)):
            for voxel in values.get(key, []):
                mask[disc(self.desk.shape, voxel, axis)] = value
        return mask

    def _change(self, mask: Voxels) -> bytes:
        self.done.append(self.mask.copy())
        self.undone.clear()
        return self._moved(mask)

    def _moved(self, mask: Voxels) -> bytes:
        before, self.mask = self.mask, mask
        self.step += 1
        self.marks.append(mask.copy())
        return self._packed(before)

    def _packed(self, before: Voxels) -> bytes:
        where = np.argwhere(self.mask != before)
        box = [int(n) for n in (*where.min(axis=0), *where.max(axis=0))] if len(where) else None
        head = json.dumps({
            "session": self.id, "step": self.step, "version": "sam-0001", "box": box, "axis": "k", "slices": None,
            "score": 0.9, "features": [], "milliseconds": {"total": 3.0}, "window": {},
            "undo": len(self.done), "redo": len(self.undone),
        }).encode()  # fmt: skip
        body = b""
        if box is not None:
            part = self.mask[box[0] : box[3] + 1, box[1] : box[4] + 1, box[2] : box[5] + 1]
            body = zlib.compress(np.ascontiguousarray(part).tobytes())
        return b"FSM1" + struct.pack("<I", len(head)) + head + body

    def _propagate(self, method: str, values: dict[str, Any]) -> tuple[int, Any]:
        if method == "POST":
            self.work = {"state": "running", "label": values["label"], "axis": "k", "done": 0, "at": 5, "first": None,
                         "last": None, "step": None, "since": self.step, "message": ""}  # fmt: skip
            self.left = self.desk.propagation_polls
            return 202, self.work
        assert self.work is not None
        self.left -= 1
        self.work["done"] += 1
        if self.work["state"] == "running" and (method == "DELETE" or self.left <= 0):
            self.work["state"] = "cancelled" if method == "DELETE" else "done"
            self._change(self._spread(self.desk.labels[self.work["label"]]))
            self.work["step"] = self.step
        return 200, self.work

    def _spread(self, label: int) -> Voxels:
        mask = self.mask.copy()
        slices = np.flatnonzero((mask == label).any(axis=(0, 1)))
        middle = int(slices[len(slices) // 2])
        for index in (middle - 1, middle + 1):
            mask[:, :, index][mask[:, :, middle] == label] = label
        return mask


def disc(shape: tuple[int, int, int], voxel: list[int], axis: int) -> Voxels:
    """The voxels of a point's answer, [i, j, k] boolean."""
    places = np.indices(shape)
    squared = sum((places[a] - voxel[a]) ** 2 for a in range(3) if a != axis)
    return (squared <= RADIUS**2) & (places[axis] == voxel[axis])


def _put(mask: Voxels, drawn: dict[str, Any], value: int, *, replace: bool) -> None:
    box = drawn["box"]
    part = mask[box[0] : box[3] + 1, box[1] : box[4] + 1, box[2] : box[5] + 1]
    bits = np.unpackbits(np.frombuffer(base64.b64decode(drawn["bits"]), np.uint8))[: part.size]
    inside = bits.reshape(part.shape).astype(bool)
    if replace:
        part[part == value] = 0
    part[inside] = value
