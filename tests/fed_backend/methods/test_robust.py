"""Robust aggregation against independent computations, and what it does not go with."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from builders import plan
from federations import SITES, assert_same, effective, method_plan, random_tensors, updates
from hypothesis import given, seed, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from fed_backend.defences import RobustSpec
from fed_backend.errors import PlanError
from fed_backend.methods import METHODS, Update, build_method, check_methods
from fed_backend.methods.fedavg import Averaging, FedAvg
from fed_backend.methods.robust import change, clipped, krum_scores, robust_mean, trimmed_mean
from fed_backend.payload import Tensors
from fed_backend.plan import Plan

ALL = {"clip", "max_change", "trimmed_mean", "median", "krum", "multi_krum"}
SUITS = {"fedavg": ALL, "fedprox": ALL, "fedbn": ALL, "pfedsam": ALL, "fedsca": {"clip", "max_change"}, "fedsm": set()}
FIVE = ("a", "b", "c", "d", "e")

values = st.floats(-1e6, 1e6, width=32)
tables = st.integers(3, 9).flatmap(
    lambda count: arrays.arrays(np.float64, (count, 2, 3), elements=values).map(np.float64)
)


def asking(part: str) -> dict[str, object]:
    return {part: 1.0} if part in ("clip", "max_change") else {"rule": part, "hostile": 1}


def robust_plan(method: str, base: str = "sam", **robust: object) -> Plan:
    made = method_plan(method, base)
    return made.model_copy(update={"robust": RobustSpec.model_validate(robust), "quorum": 9})


@seed(0)
@settings(deadline=None, max_examples=60)
@given(tables, st.data())
def test_a_trimmed_mean_is_the_mean_of_the_sorted_middle(table: np.ndarray, data: st.DataObject) -> None:
    trim = data.draw(st.integers(0, (len(table) - 1) // 2))
    mean, kept = trimmed_mean(({"w": row} for row in table), trim)
    for place in np.ndindex(2, 3):
        column = sorted(float(row[place]) for row in table)
        middle = column[trim : len(column) - trim]
        assert mean["w"][place] == pytest.approx(sum(middle) / len(middle), rel=1e-9, abs=1e-6)
        assert (kept["w"][0][place], kept["w"][1][place]) == (middle[0], middle[-1])


@seed(0)
@settings(deadline=None, max_examples=40)
@given(tables)
def test_trimming_all_but_the_middle_is_the_median(table: np.ndarray) -> None:
    mean, _ = trimmed_mean(({"w": row} for row in table), (len(table) - 1) // 2)
    np.testing.assert_allclose(mean["w"], np.median(table, axis=0), rtol=1e-12)


def test_a_trimmed_value_harms_nothing_whatever_its_size() -> None:
    rows = [1.0, 2.0, 3.0, 1e300]
    mean, _ = trimmed_mean(({"w": np.array([value])} for value in rows), 1)
    assert mean["w"] == [2.5]


@seed(0)
@settings(deadline=None, max_examples=40)
@given(arrays.arrays(np.float64, (7, 3), elements=st.floats(-100, 100, width=32)), st.integers(0, 2))
def test_krum_scores_are_sums_over_the_nearest_others(points: np.ndarray, hostile: int) -> None:
    distances = ((points[:, None] - points[None]) ** 2).sum(axis=2)
    found = krum_scores(distances, hostile)
    for i in range(7):
        nearest = min(
            sum(distances[i, j] for j in chosen)
            for chosen in itertools.combinations([j for j in range(7) if j != i], 7 - hostile - 2)
        )
        assert found[i] == pytest.approx(nearest, rel=1e-9, abs=1e-9)


@seed(0)
@settings(deadline=None, max_examples=40)
@given(arrays.arrays(np.float32, (4,), elements=values), arrays.arrays(np.float32, (4,), elements=values))
def test_clipping_keeps_direction_and_bounds_the_norm(one: np.ndarray, start: np.ndarray) -> None:
    result, scale = clipped({"w": one}, {"w": start}, 2.0)
    moved = np.linalg.norm(one.astype(float) - start)
    if moved <= 2:
        assert scale == 1.0
        assert result["w"] is one
        return
    wanted = start + (one.astype(float) - start) * (2.0 / moved)
    np.testing.assert_allclose(result["w"], wanted, rtol=1e-5, atol=1e-5)
    assert change({"w": wanted}, {"w": start}) <= 2.0 * (1 + 1e-6)


def sent(of: Plan, sites: tuple[str, ...] = FIVE) -> dict[str, Tensors]:
    keys = build_method(of).shared_keys()
    return {site: random_tensors(keys, of, number) for number, site in enumerate(sites)}


def averaging(of: Plan) -> Averaging:
    method = build_method(of)
    assert isinstance(method, Averaging)
    return method


@pytest.mark.parametrize("rule", ["trimmed_mean", "median", "krum", "multi_krum"])
@pytest.mark.parametrize(
    ("method", "base"), [("fedavg", "sam"), ("fedavg", "unet"), ("fedbn", "sam"), ("fedbn", "unet"), ("pfedsam", "sam")]
)
def test_one_hostile_site_of_five_moves_nothing_far(method: str, rule: str, base: str) -> None:
    of = robust_plan(method, base, rule=rule, hostile=1)
    honest = sent(of)
    spec = of.robust
    assert spec is not None
    calm = effective(robust_mean(averaging(of), spec, honest).tensors)
    for attack in (1e3, -1e3):
        hostile = {**honest, "c": {name: np.float32(attack) * tensor for name, tensor in honest["c"].items()}}
        robust = robust_mean(averaging(of), spec, hostile)
        for name, tensor in effective(robust.tensors).items():
            assert np.abs(tensor - calm[name]).max() < 40, name
        assert rule in ("trimmed_mean", "median") or "c" in robust.notes
    assert np.abs(next(iter(averaging(of).mean(dict.fromkeys(FIVE, 1), updates_of(hostile)).values()))).max() > 40


def updates_of(tensors: dict[str, Tensors]) -> list[Update]:
    return [Update(site, tensors[site], 1) for site in sorted(tensors)]


def test_coordinate_rules_work_on_the_products_of_lora_pairs() -> None:
    of = plan(robust={"rule": "median", "hostile": 1}, quorum=3)
    a = random_tensors(frozenset(of.adapter), of, 0)
    # The same products from other factors: a median of factors would mix them up.
    turned = {**a, "block.lora_A": -2 * a["block.lora_A"], "block.lora_B": a["block.lora_B"] / -2}
    robust = robust_mean(averaging(of), RobustSpec(rule="median", hostile=1), {"x": a, "y": turned, "z": a})
    assert_same(robust.tensors, a, 1e-5)


def test_krum_takes_one_update_as_it_is_and_names_the_others() -> None:
    of = robust_plan("fedavg", rule="krum", hostile=1)
    tensors = sent(of)
    near = {name: tensor * np.float32(0.1) for name, tensor in tensors["a"].items()}
    crowd = {**tensors, **{site: {n: t + np.float32(i / 1e3) for n, t in near.items()} for i, site in enumerate("bcd")}}
    robust = robust_mean(averaging(of), RobustSpec(rule="krum", hostile=1), crowd)
    chosen = ({*FIVE} - robust.notes.keys()).pop()
    assert chosen in "bcd"
    assert all(np.array_equal(robust.tensors[name], crowd[chosen][name]) for name in robust.tensors)
    assert f"krum chose {chosen}" in robust.notes["e"]


def test_too_few_updates_are_refused() -> None:
    of = robust_plan("fedavg", rule="krum", hostile=1)
    with pytest.raises(ValueError, match="needs 5 updates"):
        robust_mean(averaging(of), RobustSpec(rule="krum", hostile=1), sent(of, FIVE[:4]))


@pytest.mark.parametrize("method", sorted(SUITS))
@pytest.mark.parametrize("part", sorted(ALL))
def test_what_goes_together_and_what_does_not(method: str, part: str) -> None:
    of = robust_plan(method, **asking(part))
    if part in SUITS[method]:
        assert build_method(of).shared_keys()
    else:
        with pytest.raises(PlanError, match=f"{method!r} cannot be combined with robust {part}"):
            build_method(of)


def test_every_method_says_what_it_goes_with() -> None:
    assert SUITS.keys() == METHODS.keys()


def test_peers_have_no_hub_that_could() -> None:
    with pytest.raises(PlanError, match="no hub"):
        check_methods(plan(method={"name": "gcml"}, quorum=3, robust=asking("median")))


@pytest.mark.parametrize(
    ("robust", "quorum", "said"),
    [
        ({"rule": "mean"}, 3, "bears nothing"),
        ({"rule": "mean", "hostile": 1, "clip": 1}, 3, "leave hostile out"),
        ({"rule": "median"}, 3, "needs hostile"),
        ({"rule": "trimmed_mean", "hostile": 1}, 2, "needs 3 updates, and quorum is 2"),
        ({"rule": "krum", "hostile": 1}, 4, "needs 5 updates, and quorum is 4"),
        ({"rule": "mean", "clip": 5, "max_change": 5}, 3, "must be below"),
        ({"rule": "mean", "clip": float("nan")}, 3, "clip"),
        ({"rule": "vote", "hostile": 1}, 3, "rule"),
    ],
)
def test_a_plan_that_cannot_be_kept_is_refused(robust: dict[str, object], quorum: int, said: str) -> None:
    with pytest.raises(PlanError, match=said):
        plan(robust=robust, quorum=quorum)


def test_every_site_counts_once_however_many_examples_it_claims() -> None:
    of = method_plan("fedavg")
    spec = RobustSpec(clip=1e9)
    tensors = {update.site: update.tensors for update in updates(of)}
    wanted = FedAvg(of).aggregate([Update(u.site, u.tensors, 1) for u in updates(of)])
    assert_same(robust_mean(averaging(of), spec, tensors).tensors, wanted[SITES[0]])


def test_a_plan_without_it_keeps_its_hash() -> None:
    assert "robust" not in plan().as_json()
    assert plan(robust=asking("median"), quorum=3).sha256 != plan(quorum=3).sha256
