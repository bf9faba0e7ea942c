"""Methods that share a part of the adapter: what leaves a site, what stays, and what stays through a refusal."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from sites import NORMALISATION, SiteOnDisk, payload, unet_plan

from fed_backend.errors import PayloadError
from fed_backend.methods import build_method
from fed_backend.payload import Tensors, check
from monailabel_app.federation.local_part import LocalPart
from monailabel_app.federation.site_round import SiteRound

CASES = {"t1": "train", "t2": "train", "v1": "validation"}


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SiteOnDisk]:
    made = SiteOnDisk(tmp_path_factory.mktemp("fedbn"), "north", unet_plan("fedbn"), CASES)
    yield made
    made.state.close()


def differs(one: Tensors, other: Tensors, names: set[str]) -> set[str]:
    return {name for name in names if not np.array_equal(one[name], other[name])}


@pytest.mark.slow
def test_the_local_part_stays_and_goes_on_although_the_gate_refuses(site: SiteOnDisk) -> None:
    plan = site.plan
    shared = build_method(plan).shared_keys()
    local = set(plan.adapter) - shared
    assert local
    assert all(NORMALISATION in name for name in local)

    begun = payload(plan, "global")
    _, sent = site.train(begun)
    assert sent.keys() == shared, "the normalisation never leaves the site"
    _, again = site.train(begun)
    assert not differs(sent, again, set(shared)), "a round trained again gives the same tensors"

    base = site.champion()
    harmful = {name: np.full(plan.adapter[name], 0.5, np.float32) for name in shared}
    result = site.job("offer", payload(plan, "aggregate", harmful))
    assert not result["promoted"]
    refused = site.version(result["version"])
    assert differs(refused, base, local) == local, "the gate judged the shared tensors with the trained local part"
    assert not differs(refused, harmful, set(shared))
    assert not differs(site.champion(), base, set(plan.adapter))

    site.bench = site.new_bench()  # the learner starts anew
    starts: list[Tensors] = []
    train = SiteRound.train

    def watched(request: SiteRound, segmenter: object, cases: object, start: Tensors, *rest: object) -> object:
        starts.append(start)
        return train(request, segmenter, cases, start, *rest)  # type: ignore[arg-type]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(SiteRound, "train", watched)
        site.train(payload(plan, "global", sent, round_=1))
    assert not differs(starts[0], refused, local), "the next round goes on from the last round's local part"
    assert not differs(starts[0], sent, set(shared))


@pytest.mark.slow
def test_tensors_that_the_method_keeps_local_are_refused_from_the_hub(site: SiteOnDisk) -> None:
    everything = {name: np.zeros(shape, np.float32) for name, shape in site.plan.adapter.items()}
    with pytest.raises(PayloadError, match="may not travel"):
        site.train(payload(site.plan, "global", everything, run="run2"))


def test_a_round_trained_again_starts_where_it_started_before(tmp_path: Path) -> None:
    part = LocalPart(tmp_path / "local")
    assert part.latest() == part.before("run1", 0) == {}
    for round_ in range(6):
        part.keep("run1", round_, {"w": np.full(3, round_, np.float32)})
    again = LocalPart(tmp_path / "local")
    assert again.latest()["w"][0] == 5
    assert again.before("run1", 5)["w"][0] == 4
    assert again.before("run2", 0)["w"][0] == 5
    again.keep("run1", 5, {"w": np.full(3, 7, np.float32)})
    assert (again.latest()["w"][0], again.before("run1", 5)["w"][0]) == (7, 4)
    assert len(list((tmp_path / "local").iterdir())) == 4


@pytest.mark.slow
def test_a_site_sends_int8_differences_and_what_they_lost_the_next_time(tmp_path: Path) -> None:
    plan = unet_plan("fedavg", encoding="int8")
    site = SiteOnDisk(tmp_path, "north", plan, CASES)
    header, first = site.train(payload(plan, "global"))
    assert not header.scales, "the hub has sent nothing to take a difference from"
    request = payload(plan, "global", first, round_=1)
    reply = site.state.exchanges.read(site.job("federated_train", request)["reply"])
    header, received = check(reply, plan, kind="update", start=first)
    assert header.scales.keys() == plan.adapter.keys()
    lost = LocalPart(site.state.folder / "local" / f"{plan.sha256}-residual").latest()
    twin = SiteOnDisk(tmp_path / "twin", "north", unet_plan("fedavg"), CASES)
    exact = twin.train(payload(twin.plan, "global", first, round_=1))[1]
    for name, scale in header.scales.items():
        assert np.abs(lost[name]).max() <= 0.5001 * scale
        np.testing.assert_allclose(received[name] + lost[name], exact[name], atol=1e-6)
    site.state.close()
    twin.state.close()
