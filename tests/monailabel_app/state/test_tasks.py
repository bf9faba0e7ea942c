"""What the learner does when a site is not ready for it, told in words that help."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fed_backend.payload import PayloadHeader, encode
from fed_backend.plan import ModelSpec, Plan, TrainingSpec
from monailabel_app.errors import Conflict
from monailabel_app.learning.evaluate import Measured
from monailabel_app.learning.gate import GateRule
from monailabel_app.learning.jobs import Job
from monailabel_app.learning.meter import Meter, Pace
from monailabel_app.learning.setup import LearnerSetup
from monailabel_app.learning.tasks import Workbench, run_job
from monailabel_app.learning.tasks.judging import Judge
from monailabel_app.models.registry import build_segmenter
from monailabel_app.state.site import SiteState
from monailabel_app.state.versions import NewVersion, adapter_sha256

pytestmark = pytest.mark.slow

LABELS = {"tumour": 1}
SPEC = ModelSpec(image_size=32, channels=(8, 16))


@pytest.fixture(scope="module")
def plan() -> Plan:
    segmenter = build_segmenter(SPEC, LABELS)
    return Plan(
        model=SPEC,
        base_sha256=segmenter.base_sha256,
        adapter=segmenter.adapter_shapes(),
        labels=LABELS,
        training=TrainingSpec(steps=2, batch_size=2),
    )


def bench(state: SiteState, plan: Plan) -> Workbench:
    setup = LearnerSetup(
        site_name="A", studies=state.studies, specs={"unet": SPEC}, labels=LABELS, training=plan.training, plan=plan
    )
    return Workbench(state, setup)


def take(state: SiteState, kind: Any, **params: Any) -> Job:
    state.jobs.submit(kind, "unet", params)
    job = state.jobs.claim()
    assert job is not None
    return job


def offer(plan: Plan, value: float = 0.1) -> bytes:
    header = PayloadHeader(
        kind="aggregate",
        plan_sha256=plan.sha256,
        base_sha256=plan.base_sha256,
        site="hub",
        federation_round="r",
        round=0,
        method="fedavg",
    )
    return encode(header, {name: np.full(shape, value, np.float32) for name, shape in plan.adapter.items()})


def test_without_a_validation_case_nothing_is_promoted_and_the_reason_names_what_to_correct(
    state: SiteState, images: Any, plan: Plan
) -> None:
    state.splits.import_split({"a": "train", "v1": "validation", "v2": "validation"})
    images.submit(state, "a")
    result, message = run_job(bench(state, plan), take(state, "learn"))
    assert not result["promoted"]
    assert "Correct at least one of 2 validation case(s): v1, v2." in message
    store = state.versions("unet")
    assert store.champion() == store.base()
    assert store.state_of(result["version"]) == ("refused", message)


def test_an_offer_without_a_validation_case_is_kept_refused(state: SiteState, plan: Plan) -> None:
    request = state.exchanges.keep(offer(plan))
    result, _ = run_job(bench(state, plan), take(state, "offer", request=request))
    assert (result["promoted"], result["cases"], result["dice_champion"]) == (False, 0, None)
    assert "validation" in result["reason"]
    assert state.versions("unet").state_of(result["version"])[0] == "refused"


def test_training_for_a_round_needs_a_corrected_case(state: SiteState, plan: Plan) -> None:
    request = state.exchanges.keep(encode_initial(plan))
    with pytest.raises(Conflict, match="site 'A' has no corrected case to train on"):
        run_job(bench(state, plan), take(state, "federated_train", request=request))


def encode_initial(plan: Plan) -> bytes:
    header = PayloadHeader(
        kind="global",
        plan_sha256=plan.sha256,
        base_sha256=plan.base_sha256,
        site="hub",
        federation_round="r",
        round=0,
        method="fedavg",
        metrics={"initial": 1.0},
    )
    return encode(header, {})


def test_a_case_whose_image_changed_is_left_out_and_said_so(state: SiteState, images: Any, plan: Plan) -> None:
    state.splits.import_split({"a": "train", "b": "train", "c": "validation"})
    for case in "abc":
        images.submit(state, case)
    images.add("b", (36, 40, 7))
    result, message = run_job(bench(state, plan), take(state, "learn"))
    assert "1 corrected case(s) were left out" in message
    (data,) = state.versions("unet").get(result["version"]).data
    assert data.correction == state.corrections.newest("train")[0].id


def test_what_turns_out_longer_while_the_job_runs_shows_in_its_bar_and_the_seconds_left(
    state: SiteState,
) -> None:
    number = take(state, "learn").number
    meter = Meter(state.jobs, number, {"rehearse": 10.0, "train": 10.0})
    meter.phase("rehearse", "running", "asking")
    assert state.jobs.get(number).seconds_left == 20
    meter.expect({"train": 30.0})
    meter.phase("train", "running", "training")
    assert (state.jobs.get(number).progress, state.jobs.get(number).seconds_left) == (0.25, 30)


def test_the_champion_is_scored_once(state: SiteState, images: Any, plan: Plan) -> None:
    state.splits.import_split({"a": "train", "c": "validation"})
    for case in "ac":
        images.submit(state, case)
    work = bench(state, plan)
    run_job(work, take(state, "learn", seed=1))
    before = len(state.database.rows("SELECT 1 FROM scores"))
    run_job(work, take(state, "learn", seed=2))
    assert len(state.database.rows("SELECT 1 FROM scores")) <= before + 1


def test_a_slow_descent_is_stopped_and_names_the_version_that_was_better(
    state: SiteState, images: Any, plan: Plan
) -> None:
    state.splits.import_split({"c": "validation"})
    images.submit(state, "c")
    (correction,) = state.corrections.newest("validation")
    store, judge = state.versions("unet"), Judge(state, Pace({}))
    base = {"w": np.zeros(3, np.float32)}
    store.ensure_base(base, plan.base_sha256)
    state.scores.put(adapter_sha256(base), correction.id, Measured({"tumour": 0.1}, {}))
    segmenter, meter = build_segmenter(SPEC, LABELS), Meter(state.jobs, take(state, "evaluate").number, {})

    def judged(number: int, dice: float) -> tuple[bool, str, str]:
        tensors = {"w": np.full(3, number, np.float32)}
        state.scores.put(adapter_sha256(tensors), correction.id, Measured({"tumour": dice}, {}))
        record = NewVersion(origin="federation", parent=store.champion(), base_sha256=plan.base_sha256)
        version = store.create(tensors, record)
        decision = judge(segmenter, store, tensors, meter, GateRule(confidence=0.5, spread=1e-6)).decision
        store.record_verdict(version.id, decision.as_json())
        if decision.promoted:
            store.promote(version.id, decision.reason)
        return decision.promoted, decision.reason, version.id

    promoted, _, best = judged(1, 0.9)
    assert promoted
    assert judged(2, 0.893)[0], "within the margin of what serves"
    promoted, reason, _ = judged(3, 0.886)
    assert not promoted
    assert f"below the 0.900 that {best}, which served before" in reason
    *_, worse = judged(4, 0.5)
    store.promote(worse, "the reviewer wants it")
    assert judged(5, 0.499)[0], "what a person chose is where it begins anew"


def test_a_plan_for_another_base_is_refused(state: SiteState, plan: Plan) -> None:
    other = plan.model_copy(update={"base_sha256": "0" * 64})
    request = state.exchanges.keep(offer(other))
    with pytest.raises(Conflict, match="made for base 000000000000"):
        run_job(bench(state, other), take(state, "offer", request=request))


def test_a_version_promoted_by_hand_meanwhile_is_what_the_challenger_must_match(
    state: SiteState, images: Any, plan: Plan, tmp_path: Path
) -> None:
    """The gate compared with a champion that no longer serves: it compares again."""
    state.splits.import_split({"a": "train", "c": "validation"})
    for case in "ac":
        images.submit(state, case)
    work = bench(state, plan)
    first, _ = run_job(work, take(state, "learn", seed=1, steps=40))
    store = state.versions("unet")
    store.promote(store.base(), "start over")

    original = state.scores.put
    meddled: list[str] = []

    def put_and_meddle(*arguments: Any) -> None:  # a person promotes while the gate measures
        original(*arguments)
        if not meddled:
            meddled.append(first["version"])
            store.promote(first["version"], "by hand")

    state.scores.put = put_and_meddle  # type: ignore[method-assign]
    result, _ = run_job(work, take(state, "learn", seed=2, steps=1))
    verdict = store.verdict(result["version"])
    assert verdict is not None
    assert meddled
    assert verdict["champion"] == first["version"] or not verdict["promoted"]
    assert store.champion() in (first["version"], result["version"])
