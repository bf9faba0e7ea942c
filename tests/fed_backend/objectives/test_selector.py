"""FedSM's selector: size, travelling moments, learning from one class per site, routing."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from builders import plan
from hypothesis import given
from hypothesis import strategies as st

from fed_backend.methods import Update
from fed_backend.methods.fedsm import SELECTOR, FedSM, fedsm_layout
from fed_backend.objectives.routing import calibrate_gamma, probabilities, route
from fed_backend.objectives.selector import Selector, SelectorTraining, selector_shapes

SITES = ("a", "b", "c")


def pictures(site: int, count: int = 8, seed: int = 0) -> torch.Tensor:
    """Noise of a coarseness that tells the site."""
    rng = np.random.default_rng((site, seed))
    coarse = rng.standard_normal((count, 1, 32 >> site, 32 >> site))
    return torch.from_numpy(coarse.repeat(1 << site, axis=2).repeat(1 << site, axis=3)).float()


def test_the_selector_is_small_and_the_same_at_every_site() -> None:
    shapes = selector_shapes(6)
    assert sum(int(np.prod(shape)) for shape in shapes.values()) < 400_000
    one, other = Selector(6), Selector(6)
    assert all(torch.equal(p, q) for p, q in zip(one.parameters(), other.parameters(), strict=True))
    assert one(torch.randn(2, 1, 16, 16)).shape == one(torch.randn(2, 1, 96, 64)).shape == (2, 6)


def test_training_goes_on_elsewhere_as_if_it_had_not_moved() -> None:
    images = pictures(0)
    steady = SelectorTraining(Selector(3))
    for _ in range(4):
        steady.step(images, 1)
    moving = SelectorTraining(Selector(3))
    for _ in range(4):
        moved = SelectorTraining(Selector(3, seed=9))
        moved.write(moving.read())
        moved.step(images, 1)
        moving = moved
    one, other = steady.read(), moving.read()
    assert one.keys() == other.keys()
    assert one["selector_steps"][0] == 4
    for name in one:
        np.testing.assert_array_equal(one[name], other[name])


def test_it_reads_as_the_layout_says() -> None:
    sent = SelectorTraining(Selector(3)).read()
    layout = fedsm_layout({}, selector_shapes(3))
    assert {name: tensor.shape for name, tensor in sent.items()} == layout


def federated(*, rounds: int, forget: bool) -> Selector:
    """A selector after rounds of one step per site; ``forget`` drops the moments in between."""
    layout = fedsm_layout({"w": (1,)}, selector_shapes(3))
    method = FedSM(plan(method={"name": "fedsm", "settings": {"sites": ",".join(SITES)}}, adapter=layout))
    models = {f"{group}/w": np.zeros(1, np.float32) for group in ("global", "personal")}
    selector = Selector(3)
    common = SelectorTraining(selector).read()
    for _ in range(rounds):
        updates = []
        for number, site in enumerate(SITES):
            training = SelectorTraining(selector, learning_rate=3e-3)
            kept = {n: t * 0 if forget and not n.startswith(SELECTOR) else t for n, t in common.items()}
            training.write(kept)
            training.step(pictures(number), number)
            updates.append(Update(site, {**models, **training.read()}, 8))
        common = method.aggregate(updates)["a"]
    SelectorTraining(selector).write(common)
    return selector


def accuracy(selector: Selector) -> float:
    """Share of unseen pictures that are given to their site."""
    unseen = [selector(pictures(number, 40, seed=1)).argmax(dim=1) == number for number in range(3)]
    return float(torch.cat(unseen).float().mean())


def test_sites_that_see_one_class_need_common_moments_to_teach_a_selector() -> None:
    assert accuracy(federated(rounds=30, forget=False)) > 0.75
    assert accuracy(federated(rounds=30, forget=True)) < 0.6


def test_the_rule() -> None:
    assert route(np.asarray([0.05, 0.95]), 1, 0.9).personal
    unsure = route(np.asarray([0.6, 0.4]), 0, 0.9)
    assert (unsure.personal, unsure.likeliest, unsure.confidence) == (False, 0, 0.6)
    another = route(np.asarray([0.05, 0.95]), 0, 0.9)
    assert (another.personal, another.likeliest, another.confidence) == (False, 1, 0.95)
    assert not route(np.asarray([0.9, 0.1]), 0, 0.9).personal  # not above gamma
    assert not route(np.asarray([1.0]), 0, 1.0).personal
    for shares, own in (([0.5], 1), ([0.5, np.nan], 0)):
        with pytest.raises(ValueError, match="need finite ones"):
            route(np.asarray(shares), own, 0.9)


def test_slices_vote_with_their_probabilities() -> None:
    logits = np.asarray([[0.0, 0.0], [1000.0, 0.0]])
    np.testing.assert_allclose(probabilities(logits), [0.75, 0.25])
    for wrong in (np.zeros(2), np.zeros((0, 2))):
        with pytest.raises(ValueError, match="need \\[slices, sites\\]"):
            probabilities(wrong)


@given(st.lists(st.tuples(st.floats(0, 1), st.floats(-1, 1)), min_size=1, max_size=8), st.integers(1, 6))
def test_no_threshold_beats_the_calibrated_one(cases: list[tuple[float, float]], sites: int) -> None:
    shares, gains = [share for share, _ in cases], [gain for _, gain in cases]
    gamma = calibrate_gamma(shares, gains, sites)

    def total(threshold: float) -> float:
        return sum(gain for share, gain in cases if share > threshold)

    floor = 1 / sites if sites > 1 else 0.0
    assert floor <= gamma <= 1
    assert total(gamma) >= max(total(t) for t in [floor, 0.9, 1.0, *shares] if t >= floor) - 1e-12


def test_calibration_stays_clear_of_the_cases_on_either_side() -> None:
    assert calibrate_gamma([], [], 2) == 0.9
    assert calibrate_gamma([0.94, 0.97], [0.1, 0.1], 2) == pytest.approx(0.72)  # between chance and the least sure
    assert calibrate_gamma([0.8, 0.96], [-0.1, 0.1], 2) == pytest.approx(0.88)
    assert calibrate_gamma([0.4, 0.45], [0.1, 0.2], 4) == pytest.approx(0.325)  # sites that look alike
    assert calibrate_gamma([0.6, 0.95], [0.0, 0.0], 2) == pytest.approx(0.775)  # where nothing speaks for either
    assert calibrate_gamma([0.2, 0.1], [0.1, 0.1], 2) == 1.0  # taken for another site's: never below chance
    assert calibrate_gamma([0.95], [-0.2], 2) == 1.0
    with pytest.raises(ValueError, match="1 shares and 0 gains"):
        calibrate_gamma([0.5], [], 2)
