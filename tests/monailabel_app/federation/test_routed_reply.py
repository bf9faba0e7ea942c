"""FedSM at a running site: the reply to an inference says which model answered, and how sure the selector was."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import requests
from sites import LABELS, UNET, SiteOnDisk, payload, unet_plan

from fed_backend.flare.processes import stop_tree
from fed_backend.methods.fedsm import GLOBAL, SELECTOR, fedsm_layout
from fed_backend.objectives.selector import selector_shapes
from fed_backend.plan import Plan, save_plan
from monailabel_app.models.registry import build_segmenter

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

SITES = ("north", "south", "west")
ROOT = Path(__file__).parents[3]


def fedsm_plan() -> Plan:
    layout = fedsm_layout(build_segmenter(UNET, LABELS).adapter_shapes(), selector_shapes(len(SITES)))
    return unet_plan("fedsm", {"sites": ",".join(SITES)}, adapter=layout)


def sure_of(site: SiteOnDisk, name: str) -> str:
    """A version whose selector takes every image for one of site ``name``; its global model was spoilt, so that
    the personal one is trusted where the selector may choose it."""
    _, tensors = site.train(payload(site.plan, "global", run=f"sure-{name}"))
    tensors[SELECTOR + "head.bias"][:] = -20
    tensors[SELECTOR + "head.bias"][SITES.index(name)] = 20
    spoilt = {key: tensor + np.float32(0.2) for key, tensor in tensors.items() if key.startswith(GLOBAL)}
    result = site.job("offer", payload(site.plan, "aggregate", {**tensors, **spoilt}, run=f"sure-{name}"))
    assert result["promoted"], result
    return str(result["version"])


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, dict[str, str]]]:
    """Address of a running site, and its versions by the site that their selector names."""
    folder = tmp_path_factory.mktemp("routed")
    site = SiteOnDisk(folder, "north", fedsm_plan(), {"t1": "train", "v1": "validation"})
    site.allow_anything()
    versions = {name: sure_of(site, name) for name in ("north", "west")}
    site.state.close()
    save_plan(site.plan, folder / "plan.json")
    ready, log = folder / "ready.json", (folder / "site.log").open("wb")
    folders = ("--studies", str(folder / "studies"), "--state", str(folder / "state"))
    command = ("site", "start", "--name", "north", "--port", "0", "--plan", str(folder / "plan.json"), *folders)
    process = subprocess.Popen(
        [sys.executable, "-m", "fed_backend", *command, "--ready-file", str(ready)],
        env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
        stdout=log,
        stderr=log,
        cwd=folder,
    )
    try:
        deadline = time.monotonic() + 400
        while not ready.exists() or not ready.read_text():
            assert process.poll() is None, (folder / "site.log").read_text()[-2000:]
            assert time.monotonic() < deadline, (folder / "site.log").read_text()[-2000:]
            time.sleep(0.05)
        yield json.loads(ready.read_text())["url"], versions
    finally:
        stop_tree(process.pid, grace_s=10)
        process.wait()
        log.close()


@pytest.mark.parametrize(("likeliest", "model"), [("north", "personal"), ("west", "global")])
def test_the_reply_names_the_model_that_answered(
    served: tuple[str, dict[str, str]], likeliest: str, model: str
) -> None:
    url, versions = served
    params: dict[str, Any] = {"version": versions[likeliest]}
    reply = requests.post(
        f"{url}/infer/unet",
        params={"image": "v1", "output": "json"},
        data={"params": json.dumps(params)},
        timeout=120,
    )
    assert reply.status_code == 200, reply.text
    told = reply.json()
    assert told["version"] == versions[likeliest]
    assert told["routing"]["confidence"] > 0.99
    assert (told["routing"]["model"], told["routing"]["likeliest"]) == (model, likeliest)


def test_a_version_of_one_model_has_nothing_to_route(served: tuple[str, dict[str, str]]) -> None:
    url, _ = served
    versions = requests.get(f"{url}/versions", params={"model": "unet"}, timeout=60).json()["versions"]
    base = versions[0]["id"]  # the initial adapter
    reply = requests.post(
        f"{url}/infer/unet",
        params={"image": "v1", "output": "json"},
        data={"params": json.dumps({"version": base})},
        timeout=120,
    )
    assert reply.status_code == 200, reply.text
    assert "routing" not in reply.json()
