"""A bare FLARE job that moves what a round of ours moves: tensors down, an update up, the aggregate down, a report up.

Where the tensors of a start are those of the aggregate before, and so many that ours does not send them again, it
does not either.
No checks, no average, no disk, no site server behind the client: what FLARE itself takes for these bytes.
Its polling is as quick as is sensible (20 times a second; FLARE's defaults add up to two seconds a round).
"""

from __future__ import annotations

import json
import math
import os
import time
from pathlib import Path
from typing import Any

import numpy as np
from nvflare.apis.controller_spec import Task
from nvflare.apis.dxo import DXO, DataKind, from_shareable
from nvflare.apis.executor import Executor
from nvflare.apis.fl_constant import ReturnCode
from nvflare.apis.impl.controller import Controller
from nvflare.apis.shareable import make_reply
from nvflare.app_common.decomposers import common_decomposers

from fed_backend.flare.pieces import LEAST_BYTES
from fed_backend.plan import Plan

CLASSES = ["bench.rounds_bare.BareController", "bench.rounds_bare.BareExecutor"]
POLL_S = 0.05


def write_job(folder: Path, plan: Plan, sites: int, rounds: int, out: Path) -> Path:
    """The job's folder."""
    config = folder / "app" / "config"
    config.mkdir(parents=True)
    shapes = [list(shape) for shape in plan.adapter.values()]
    spared = 4 * sum(math.prod(shape) for shape in shapes) > LEAST_BYTES
    controller = {"sites": sites, "rounds": rounds, "shapes": shapes, "out": str(out), "spared": spared}
    meta = {"name": "bare", "resource_spec": {}, "min_clients": sites, "deploy_map": {"app": ["@ALL"]}}
    server = {
        "format_version": 2,
        "server": {"task_request_interval": POLL_S},
        "workflows": [{"id": "bare", "path": CLASSES[0], "args": controller}],
        "components": [],
    }
    client = {
        "format_version": 2,
        "executors": [{"tasks": ["*"], "executor": {"path": CLASSES[1], "args": {"shapes": shapes}}}],
        "components": [],
        "default_task_fetch_interval": POLL_S,
        "runner_sync_timeout": 2.0,
    }
    for path, data in (
        (folder / "meta.json", meta),
        (config / "config_fed_server.json", server),
        (config / "config_fed_client.json", client),
    ):
        path.write_text(json.dumps(data))
    return folder


def tensors(shapes: list[list[int]]) -> dict[str, Any]:
    rng = np.random.default_rng(0)
    return {f"blocks.{i:03}": rng.standard_normal(shape, np.float32) for i, shape in enumerate(shapes)}


class BareController(Controller):  # type: ignore[misc]
    """Two broadcasts a round, each waited for."""

    def __init__(self, sites: int, rounds: int, shapes: list[list[int]], out: str, spared: bool) -> None:
        super().__init__(task_check_period=POLL_S)
        self._spared = spared
        self._sites, self._rounds, self._shapes, self._out = sites, rounds, shapes, Path(out)
        common_decomposers.register()

    def start_controller(self, fl_ctx: Any) -> None:
        """Nothing to prepare."""

    def stop_controller(self, fl_ctx: Any) -> None:
        """Nothing to undo."""

    def control_flow(self, abort_signal: Any, fl_ctx: Any) -> None:
        down, seconds = tensors(self._shapes), []
        for number in range(self._rounds):
            began = time.monotonic()
            for name, answered in (("train", True), ("offer", False)):
                self._arrived = 0
                known = self._spared and answered and number > 0
                data = DXO(DataKind.WEIGHTS, {} if known else down).to_shareable()
                task = Task(name, data, result_received_cb=self._take if answered else None)
                self.broadcast_and_wait(task, fl_ctx, min_responses=self._sites, abort_signal=abort_signal)
                assert not answered or self._arrived == self._sites, f"{self._arrived} of {self._sites} updates"
            seconds.append(time.monotonic() - began)
        temporary = self._out.with_suffix(".tmp")
        temporary.write_text(json.dumps(seconds))
        os.replace(temporary, self._out)

    def _take(self, client_task: Any, fl_ctx: Any) -> None:
        self._arrived += len(from_shareable(client_task.result).data) == len(self._shapes)
        client_task.result = None

    def process_result_of_unknown_task(self, *_: Any) -> None:
        """There are none."""


class BareExecutor(Executor):  # type: ignore[misc]
    """Trains in no time."""

    def __init__(self, shapes: list[list[int]]) -> None:
        super().__init__()
        self._tensors = tensors(shapes)
        common_decomposers.register()

    def execute(self, task_name: str, shareable: Any, fl_ctx: Any, abort_signal: Any) -> Any:
        assert len(from_shareable(shareable).data) in (0, len(self._tensors))
        if task_name == "train":
            return DXO(DataKind.WEIGHTS, self._tensors).to_shareable()
        return make_reply(ReturnCode.OK)
