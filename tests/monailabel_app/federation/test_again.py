"""A federated job whose learner was killed when its work was all but done: done again, it takes nothing in twice."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sites import SiteOnDisk, payload, unet_plan

from monailabel_app.learning.jobs import Job
from monailabel_app.learning.tasks import run_job

pytestmark = pytest.mark.slow

CASES = {"t1": "train", "t2": "train", "v1": "validation"}
SENT: dict[str, dict[str, Any]] = {
    "fedavg": {"kind": "aggregate"},
    "gcml": {"kind": "update", "run": "gossip", "site": "south"},
}


@pytest.fixture(params=sorted(SENT))
def ready(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[SiteOnDisk, Job]]:
    """A site, and the job of an aggregate or a visitor that its learner has taken."""
    plan = unet_plan(request.param)
    site = SiteOnDisk(tmp_path, "north", plan, CASES)
    site.allow_anything()
    site.bench.prepare()
    tensors = {name: tensor + np.float32(1e-4) for name, tensor in site.champion().items()}
    data = payload(plan, tensors=tensors, **SENT[request.param])
    site.state.jobs.submit("offer", plan.model.name, {"request": site.state.exchanges.keep(data)})
    job = site.state.jobs.claim()
    assert job is not None
    yield site, job
    site.state.close()


def as_of(site: SiteOnDisk) -> tuple[Callable[[], None], Callable[[], None]]:
    """Two ways back: to before the promotion, and to before the verdict too."""
    (folder,) = (f for f in (site.state.folder / "versions").iterdir() if f.is_dir())
    before = (folder / "champion").read_bytes()

    def unpromoted() -> None:
        (folder / "champion").write_bytes(before)

    def unjudged() -> None:
        unpromoted()
        for verdict in folder.glob("*/verdict.json"):
            verdict.unlink()

    return unpromoted, unjudged


@pytest.mark.parametrize("killed", ["after the promotion", "before the promotion", "before the verdict"])
def test_what_was_made_before_the_kill_counts(ready: tuple[SiteOnDisk, Job], killed: str) -> None:
    site, job = ready
    unpromoted, unjudged = as_of(site)
    done, _ = run_job(site.bench, job)
    assert done["promoted"] is True, done
    champion = site.champion()
    {"after the promotion": lambda: None, "before the promotion": unpromoted, "before the verdict": unjudged}[killed]()
    again, _ = run_job(site.new_bench(), job)
    assert {**again, "seconds": 0} == {**done, "seconds": 0}
    store = site.state.versions(site.plan.model.name)
    assert [version.origin for version in store.list()] == ["base", "federation"]
    assert store.champion() == done["version"]
    for name, tensor in site.champion().items():
        np.testing.assert_array_equal(tensor, champion[name])
