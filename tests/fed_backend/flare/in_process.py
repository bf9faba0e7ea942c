"""A federation in one thread with a clock of its own: the coordinator and sites that answer its messages."""

from __future__ import annotations

import hashlib
from collections import deque
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from builders import plan

from fed_backend.flare.checkpoint import CheckpointStore
from fed_backend.flare.coordinator import Coordinator
from fed_backend.flare.exchange import Timing
from fed_backend.flare.messages import Message
from fed_backend.methods import Update, build_method
from fed_backend.payload import PayloadHeader, Tensors, check, decode, encode, read_header
from fed_backend.plan import Plan
from fed_backend.tensor_file import whole

STEP_S = 0.5


def in_memory(message: Message) -> Message:
    """A message as it arrives elsewhere: its body no longer lies in the sender's files."""
    return replace(message, body=whole(message.body))


class Site:
    """A member: trains by adding noise of its own to what it receives, takes every offer.

    Args:
        name: its name.
        plan: the plan it holds.
        seconds: how long a training takes.
        spoil: changes the update before it is sent.
    """

    def __init__(
        self,
        name: str,
        plan: Plan,
        *,
        seconds: float = 1.0,
        examples: int = 4,
        spoil: Callable[[Tensors], Tensors] = lambda tensors: tensors,
        claims: str = "",
    ) -> None:
        self.name, self.plan, self.seconds, self.examples = name, plan, seconds, examples
        self.spoil, self.claims = spoil, claims or name
        self.online = True
        self.refuses = ""
        self.statuses: list[dict[str, Any]] = []
        self.offers: list[bytes] = []
        self.updates: dict[tuple[str, int], bytes] = {}
        self.trainings = 0
        self._task: tuple[str, str, bytes, float] | None = None

    def update(self, start: bytes) -> bytes:
        """The same request is answered with the same bytes."""
        header, tensors = decode(start)
        key = (header.federation_round, header.round)
        if key not in self.updates:
            self.trainings += 1
            seed = int.from_bytes(hashlib.sha256(f"{self.name}{header.round}".encode()).digest()[:4], "big")
            noise = np.random.default_rng(seed)
            plan = self.plan.under(header.method)
            shapes = {name: plan.adapter[name] for name in build_method(plan).shared_keys()}
            base = tensors or {name: np.zeros(shape, np.float32) for name, shape in shapes.items()}
            trained = {n: base[n] + noise.standard_normal(shapes[n]).astype(np.float32) for n in sorted(shapes)}
            out = PayloadHeader(
                kind="update",
                plan_sha256=plan.sha256,
                base_sha256=plan.base_sha256,
                site=self.claims,
                federation_round=header.federation_round,
                round=header.round,
                method=header.method,
                examples=self.examples,
                parent_sha256=hashlib.sha256(start).hexdigest(),
            )
            self.updates[key] = encode(out, self.spoil(trained))
        return self.updates[key]

    def receive(self, message: Message, now: float) -> None:
        if message.topic == "status":
            self.statuses.append(message.fields["round"])
        elif message.topic == "cancel":
            self._task = None
        elif not self._task or self._task[0] != message.fields["task"]:
            seconds = self.seconds if message.topic == "train" else 0.0
            self._task = (message.fields["task"], message.topic, message.body, now + seconds)

    def act(self, now: float) -> list[Message]:
        """What the site says at ``now``: always a beat, and a result when one is ready."""
        said = [self._beat(now)]
        if self._task and now >= self._task[3]:
            said.append(self._result(*self._task[:3]))
            self._task = None
        return said

    def _beat(self, now: float) -> Message:
        task = self._task[0] if self._task else ""
        left = self._task[3] - now if self._task else 0.0
        progress = 1 - left / self.seconds if self.seconds else 1.0
        stage = "training" if self._task and self._task[1] == "train" else "idle"
        fields = {"plan_sha256": self.plan.sha256, "task": task, "stage": stage, "progress": progress}
        return Message("beat", fields)

    def _result(self, task: str, topic: str, body: bytes) -> Message:
        fields = {"task": task, "ok": not self.refuses, "reason": self.refuses, "seconds": self.seconds}
        if topic == "train":
            return Message("result", fields, b"" if self.refuses else self.update(body))
        plan = self.plan.under(read_header(body).method)
        check(body, plan, kind="aggregate", site="hub", keys=build_method(plan).shared_keys())
        self.offers.append(body)
        report = {"promoted": True, "reason": "not worse", "dice_challenger": 0.5, "dice_champion": 0.4}
        return Message("result", {**fields, "report": report})


class Federation:
    """Coordinator and sites; messages take one step of half a second.

    ``drop`` loses messages to sites: called with (site, message). ``begun`` holds the first payload
    that each run sent out for training.
    """

    def __init__(
        self, folder: Path, sites: list[Site], plan: Plan, start: bytes | None = None, root: Any = None, **timing: Any
    ) -> None:
        self.root = root
        self.folder, self.plan, self.start_payload = folder, plan, start
        self.sites = {site.name: site for site in sites}
        self.timing = Timing(**timing)
        self.now = 0.0
        self.begun: dict[str, bytes] = {}
        self.drop: Callable[[str, Message], bool] = lambda _site, _message: False
        self.queue: deque[tuple[str, Message]] = deque()
        self.coordinator = self.start()

    def start(self) -> Coordinator:
        """A coordinator on the checkpoint in ``folder``; replaces the one before, as after kill -9."""
        self.queue.clear()
        self.coordinator = Coordinator(
            self.plan,
            list(self.sites),
            self,
            CheckpointStore(self.folder),
            start=self.start_payload,
            root=self.root,
            timing=self.timing,
            clock=lambda: self.now,
        )
        return self.coordinator

    def post(self, site: str, message: Message) -> None:
        message = in_memory(message)
        if message.topic == "train":
            self.begun.setdefault(read_header(message.body).federation_round, message.body)
        if not self.drop(site, message):
            self.queue.append((site, message))

    def step(self) -> None:
        self.now += STEP_S
        for name, site in self.sites.items():
            if site.online:
                for message in site.act(self.now):
                    self.coordinator.receive(name, message)
        self.coordinator.tick()
        while self.queue:
            name, message = self.queue.popleft()
            if self.sites[name].online:
                self.sites[name].receive(message, self.now)

    def ask(self, site: str, run: str = "run1", action: str = "start", **fields: Any) -> dict[str, Any]:
        return self.coordinator.receive(site, Message("request", {"id": run, "action": action, **fields}))

    def finish(self, limit_s: float = 600.0) -> dict[str, Any]:
        """Step until the run ended."""
        end = self.now + limit_s
        while self.now < end:
            self.step()
            status = self.coordinator.status()
            if status and status["state"] not in {"requested", "running"}:
                self.step()  # the last status goes out
                return status
        raise AssertionError(f"not ended after {limit_s:g} s: {self.coordinator.status()}")

    def run(self, rounds: int = 1, site: str = "north", run: str = "run1") -> dict[str, Any]:
        self.step()
        verdict = self.ask(site, run, rounds=rounds)
        assert verdict["accepted"], verdict
        return self.finish()


def small_plan(**changes: Any) -> Plan:
    return plan(**{"quorum": 2, "round_deadline_s": 60.0, **changes})


PLAN = small_plan()
LEVELS = {f"model.{'1.submodule.' * level}0.conv.unit0.conv.weight": [2 + level, 3, 3] for level in range(4)}
"""A U-Net's way down, by name."""


def start_payload(plan: Plan) -> bytes:
    """The zeros that all sites start from, as the hub's kit carries them."""
    header = PayloadHeader(
        kind="global",
        plan_sha256=plan.sha256,
        base_sha256=plan.base_sha256,
        site="",
        federation_round="start",
        round=0,
        method=plan.method.name,
    )
    return encode(header, {name: np.zeros(shape, np.float32) for name, shape in plan.adapter.items()})


NAMES = ["north", "south", "west"]


def updates(federation: Federation, round_: int, run: str = "run1") -> list[Update]:
    """What the sites sent in one round."""
    found = []
    for site in federation.sites.values():
        header, tensors = decode(site.updates[run, round_])
        found.append(Update(site.name, tensors, header.examples))
    return found
