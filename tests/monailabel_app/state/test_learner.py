"""The real learner process: learns, is watched, cancelled, killed, restarted; never harms what serves."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest

from fed_backend.errors import ReplayError
from fed_backend.payload import PayloadHeader, check, encode
from fed_backend.plan import ModelSpec, Plan, TrainingSpec
from monailabel_app.federation.rounds import RoundDesk
from monailabel_app.learning.jobs import FINAL, Job
from monailabel_app.learning.learner import Learner, request_learning
from monailabel_app.learning.setup import LearnerSetup
from monailabel_app.models.registry import build_segmenter
from monailabel_app.state.context import SiteContext
from monailabel_app.state.site import SiteState
from monailabel_app.state.versions import VersionStore

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

LABELS = {"tumour": 1}
SPEC = ModelSpec(image_size=32, channels=(8, 16))
FOREVER = 100_000


def make_plan() -> Plan:
    segmenter = build_segmenter(SPEC, LABELS)
    return Plan(
        model=SPEC,
        base_sha256=segmenter.base_sha256,
        adapter=segmenter.adapter_shapes(),
        labels=LABELS,
        training=TrainingSpec(steps=150, batch_size=4, learning_rate=3e-3),
    )


def make_site(folder: Path, images: Any, plan: Plan) -> SiteContext:
    setup = LearnerSetup(
        site_name="A", studies=images.studies, specs={"unet": SPEC}, labels=LABELS, training=plan.training, plan=plan
    )
    state = SiteState(folder / "state", images.studies)
    return SiteContext(
        site_name="A",
        state=state,
        studies=images.studies,
        plan=plan,
        specs=setup.specs,
        labels=LABELS,
        learner=Learner(state, setup),
        desk=RoundDesk(state, plan, "A"),
        training=plan.training,
    )


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory, new_images: Callable[[Path], Any]) -> Iterator[SiteContext]:
    """A site with two training cases and one for validation, all corrected."""
    folder = tmp_path_factory.mktemp("site")
    images = new_images(folder)
    context = make_site(folder, images, make_plan())
    context.state.splits.import_split({"a": "train", "b": "train", "c": "validation"})
    for case in "abc":
        images.submit(context.state, case)
    context.learner.start()
    yield context
    context.close()


def until(condition: Callable[[], Any], seconds: float = 60) -> Any:
    """The condition's value as soon as it is true."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if value := condition():
            return value
        threading.Event().wait(0.02)
    raise AssertionError(f"not true within {seconds} s")


def training(context: SiteContext, number: int) -> Job | None:
    job = context.state.jobs.get(number)
    assert job.state not in FINAL, job.message
    return job if job.progress > 0 else None


def gone(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def global_payload(plan: Plan, run: str, round: int = 0, tensors: dict[str, Any] | None = None) -> bytes:
    header = PayloadHeader(
        kind="global" if tensors is None else "aggregate",
        plan_sha256=plan.sha256,
        base_sha256=plan.base_sha256,
        site="hub",
        federation_round=run,
        round=round,
        method="fedavg",
        metrics={"initial": 1.0} if tensors is None else {},
    )
    return encode(header, tensors or {})


def test_corrections_become_a_version_that_serves_without_restart(site: SiteContext) -> None:
    reader = VersionStore(site.state.folder / "versions" / "unet", "unet")
    job = request_learning(site, steps=60, seed=3, author="ann")
    ended = site.state.jobs.wait(job.number, 150)
    assert ended.state == "done", ended.message
    assert ended.result is not None
    assert ended.result["promoted"], ended.result["reason"]
    assert reader.champion() == ended.result["version"]
    version = reader.get(reader.champion())
    assert (version.origin, version.seed, version.parent) == ("learning", 3, reader.base())
    newest = site.state.corrections.newest("train")
    assert [(d.correction, d.mask_sha256) for d in version.data] == [(c.id, c.mask_sha256) for c in newest]
    assert ended.curve[0]["loss"] > ended.curve[-1]["loss"]
    assert ended.result["dice_challenger"] >= ended.result["dice_champion"]


def test_equal_seeds_make_equal_versions(site: SiteContext) -> None:
    store = site.state.versions("unet")
    digests = []
    for _ in range(2):
        store.promote(store.base(), "start from the same version")
        ended = site.state.jobs.wait(request_learning(site, steps=10, seed=5).number, 60)
        assert ended.result is not None, ended.message
        digests.append(store.get(ended.result["version"]).sha256)
    assert digests[0] == digests[1]


def test_cancelling_stops_training_within_a_step_and_keeps_the_learner(site: SiteContext) -> None:
    champion, pid = site.state.versions("unet").champion(), site.learner.pid
    job = request_learning(site, steps=FOREVER)
    seen = until(lambda: training(site, job.number))
    assert seen.seconds_left > 1
    until(lambda: len(site.state.jobs.get(job.number).curve) > 1)
    begin = time.monotonic()
    site.state.jobs.cancel(job.number)
    ended = site.state.jobs.wait(job.number, 20)
    assert time.monotonic() - begin < 5
    assert ended.state == "cancelled"
    assert site.state.versions("unet").champion() == champion
    assert site.learner.pid == pid


def test_killed_while_training_the_learner_comes_back_and_says_what_happened(site: SiteContext) -> None:
    champion, pid = site.state.versions("unet").champion(), site.learner.pid
    assert pid is not None
    job = request_learning(site, steps=FOREVER)
    until(lambda: training(site, job.number))
    os.kill(pid, signal.SIGKILL)
    ended = site.state.jobs.wait(job.number, 5)
    assert ended.state == "failed"
    assert ended.message == "the learner process was killed while training; start learning again"
    assert until(lambda: site.learner.pid not in (None, pid), 5)
    assert site.state.versions("unet").champion() == champion
    assert site.state.jobs.wait(request_learning(site, steps=3).number, 60).state == "done"


def test_a_round_is_trained_answered_twice_alike_and_gated(site: SiteContext) -> None:
    plan, participant, store = site.plan, site.participant, site.state.versions("unet")
    assert plan is not None
    request = global_payload(plan, "run1")
    update = participant.train(request)
    header, tensors = check(update, plan, kind="update", site="A", federation_round="run1", round=0)
    assert header.examples == 2
    base = store.load(store.base())
    assert any(not np.array_equal(tensors[name], base[name]) for name in plan.adapter)
    jobs_before = len(site.state.database.rows("SELECT 1 FROM jobs"))
    assert participant.train(request) == update
    assert len(site.state.database.rows("SELECT 1 FROM jobs")) == jobs_before, "a repeat is not worked on again"
    with pytest.raises(ReplayError, match="another payload was already accepted"):
        participant.train(_changed(request))

    champion, versions = store.champion(), len(store.list())
    offer = global_payload(plan, "run1", 0, tensors)
    judged = participant.evaluate(offer)
    assert judged["version"] is None
    assert len(store.list()) == versions
    answer = participant.offer(offer)
    assert (answer["promoted"], answer["cases"]) == (judged["promoted"], 1)
    assert answer["dice_challenger"] == judged["dice_challenger"]
    assert store.get(answer["version"]).parent == champion
    assert store.get(answer["version"]).origin == "federation"
    assert store.champion() == (answer["version"] if answer["promoted"] else champion)
    assert participant.offer(offer) == answer


def _changed(request: bytes) -> bytes:
    """The same request in other bytes: still well-formed."""
    changed = request.replace(b'\\"examples\\": 0', b'\\"examples\\": 7')
    assert changed != request
    return changed


def test_an_offer_that_is_worse_is_kept_but_does_not_serve(site: SiteContext) -> None:
    plan, store = site.plan, site.state.versions("unet")
    assert plan is not None
    champion = store.champion()
    ruined = {name: np.zeros(shape, np.float32) for name, shape in plan.adapter.items()}
    answer = site.participant.offer(global_payload(plan, "run2", 0, ruined))
    assert not answer["promoted"]
    assert answer["reason"].startswith("Refused")
    assert store.champion() == champion
    assert store.state_of(answer["version"])[0] == "refused"
    report = store.verdict(answer["version"])
    assert report is not None
    assert report["champion"] == champion
    assert [case["case"] for case in report["cases"]] == ["c"]


def test_killed_during_a_round_the_work_is_done_once_more(site: SiteContext) -> None:
    plan, pid = site.plan, site.learner.pid
    assert plan is not None
    assert pid is not None
    replies: list[bytes] = []
    courier = threading.Thread(target=lambda: replies.append(site.participant.train(global_payload(plan, "run3"))))
    courier.start()

    def at_work() -> Job | None:
        job = site.state.jobs.latest("federated_train")
        return job if job and job.state == "running" and 0 < job.progress < 1 else None

    job = until(at_work)
    os.kill(pid, signal.SIGKILL)
    courier.join(90)
    assert replies, site.state.jobs.get(job.number).message
    check(replies[0], plan, kind="update", site="A", federation_round="run3", round=0)
    assert site.state.jobs.get(job.number).attempts == 2


def test_when_the_site_stops_the_job_is_recorded_and_the_process_gone(
    tmp_path: Path, images: Any, site: SiteContext
) -> None:
    assert site.plan is not None
    other = make_site(tmp_path, images, site.plan)
    images.submit(other.state, "a")
    images.submit(other.state, "b")
    job = request_learning(other)
    other.learner.start()
    pid = until(lambda: other.learner.pid)
    other.learner.stop()
    assert gone(pid)
    with pytest.raises(Exception, match="stopping"):
        other.state.jobs.wait(job.number)
    other.state.close()
    with SiteState(tmp_path / "state", images.studies) as again:
        assert again.jobs.get(job.number).state in ("queued", "failed")


PARENT = """
import sys, time
from pathlib import Path
from fed_backend.plan import ModelSpec
from monailabel_app.learning.learner import Learner
from monailabel_app.learning.setup import LearnerSetup
from monailabel_app.state.site import SiteState
folder = Path(sys.argv[1])
setup = LearnerSetup(site_name="A", studies=folder, specs={"unet": ModelSpec()}, labels={"t": 1})
learner = Learner(SiteState(folder / "state", folder), setup)
learner.start()
learner.warm()
while learner.pid is None:
    time.sleep(0.01)
print(learner.pid, flush=True)
time.sleep(600)
"""


def test_the_learner_dies_with_its_server(tmp_path: Path) -> None:
    server = subprocess.Popen([sys.executable, "-c", PARENT, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    assert server.stdout is not None
    pid = int(server.stdout.readline())
    server.kill()
    server.wait()
    until(lambda: gone(pid), 15)
