"""An annotator's clicks and boxes lie where they were given, in any orientation, and move with the image."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from monailabel_app.imaging.orient import stack_of
from monailabel_app.imaging.volume import Volume
from monailabel_app.models.base import Case, GivenPrompts
from monailabel_app.models.placing import given_on, moved
from monailabel_app.models.prompting import SlicePrompt
from monailabel_app.models.registry import build_segmenter, default_spec
from monailabel_app.models.slices import Example, Slices
from monailabel_app.models.views import Views

LABELS = {"core": 1, "oedema": 4}
PICTURE = "picture"
GRIDS = {
    "lps": np.diag([-1.0, -1, 4, 1]),
    "upside down": np.diag([1.0, 1, -4, 1]),
    "coronal": np.array([[1.0, 0, 0, 0], [0, 0, 4, 0], [0, -1, 0, 0], [0, 0, 0, 1]]),
    "oblique": np.array([[0.96, -0.28, 0, 9], [0.28, 0.96, 0.4, -7], [-0.1, 0, 4, 3], [0, 0, 0, 1]]),
    "unequal pixels": np.diag([0.5, 1.5, 4, 1]),
    PICTURE: np.diag([-1.0, -1, 1, 1]),
}


@pytest.fixture(scope="module")
def network() -> Any:
    return build_segmenter(default_spec("sam"), LABELS).network


def made(name: str) -> tuple[Volume, np.ndarray, int]:
    """An image, a mask that is no mirror image of itself, and a slice with it; slices are across k."""
    depth = 1 if name == PICTURE else 5
    labels = np.zeros((40, 52, depth), dtype=np.uint8)
    k = depth // 2
    labels[8:15, 30:44, k] = 1
    labels[8:24, 40:44, k] = 1
    labels[28:34, 10:20, k] = 4
    array = np.random.default_rng(0).normal(100, 9, labels.shape).astype(np.float32)
    return Volume(array, GRIDS[name], is_2d=name == PICTURE), labels, k


def cut(volume: Volume) -> Slices:
    return Slices(volume, 256, colour=True, centred=False)


@pytest.mark.parametrize("name", GRIDS)
def test_prompts_lie_on_what_they_were_given_for(network: Any, name: str) -> None:
    volume, labels, k = made(name)
    assert stack_of(volume).axes[0] == 2
    inside = [(10, 32, k), (22, 42, k), (9, 42, k)]
    prompts = [
        GivenPrompts("core", foreground=inside, background=[(20, 34, k)], axis=2),
        GivenPrompts("core", box=(8, 30, k, 23, 43, k), axis=2),
    ]
    slices = cut(volume)
    ((index, label), prompt), *others = given_on(prompts, slices, LABELS).items()
    assert label == "core"
    assert not others
    example = Example(slices, labels, [1, 4])
    target = example.draw(index)[1][1]
    for x, y, belongs in prompt.points:
        assert float(target[int(y), int(x)]) == float(belongs)
    rows, columns = np.nonzero(target.numpy() > 0.5)
    edges = (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1)
    assert prompt.box == pytest.approx(edges, abs=0.6)
    pool = Views(network, 3, mirror=True, rng=np.random.default_rng(4))
    for view in pool.draw([(example, index)] * 12):
        solid = view.solid[0].numpy()
        own = moved(prompt, view.matrix, solid)
        assert len(own.points) >= len(prompt.points) - 1, "at most one left the square"
        assert {belongs for *_, belongs in own.points} == {True, False}
        rows, columns = np.nonzero(solid)
        edges = (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1)
        assert own.box is not None
        around = np.array(own.box) - edges
        assert (around[:2] <= 1.5).all(), "the box holds the object"
        assert (around[2:] >= -1.5).all()
        assert np.abs(around).max() < 0.2 * 256, "and not much more"


def test_labels_slices_and_axes_do_not_mix() -> None:
    volume, _, k = made("lps")
    prompts = [
        GivenPrompts("core", foreground=[(10, 32, k), (10, 32, k + 1)], axis=2),
        GivenPrompts("oedema", foreground=[(30, 12, k)], axis=2),
        GivenPrompts("core", foreground=[(11, 33, k)], axis=1),
        GivenPrompts("liver", foreground=[(11, 33, k)], axis=2),
        GivenPrompts("core", foreground=[(11, 33, 99)], axis=2),  # of an image that was replaced since
    ]
    found = given_on(prompts, cut(volume), LABELS)
    here, above = (stack_of(volume).locate((0, 0, n))[0] for n in (k, k + 1))
    assert found.keys() == {(here, "core"), (above, "core"), (here, "oedema")}
    assert all(len(prompt.points) == 1 for prompt in found.values())


def test_later_prompts_are_added_or_take_the_place_of_earlier_ones() -> None:
    volume, _, k = made("lps")
    first = GivenPrompts("core", foreground=[(10, 32, k)], box=(8, 30, k, 23, 43, k), axis=2)
    second = GivenPrompts("core", background=[(20, 34, k)], axis=2)
    (joined,) = given_on([first, second], cut(volume), LABELS).values()
    assert [inside for *_, inside in joined.points] == [True, False]
    assert joined.box is not None
    anew = GivenPrompts("core", background=[(20, 34, k)], axis=None, replace=True)
    (replaced,) = given_on([first, anew], cut(volume), LABELS).values()
    assert [inside for *_, inside in replaced.points] == [False]
    assert replaced.box is None


def test_a_click_that_the_submitted_mask_contradicts_is_not_trained_on() -> None:
    mask = np.zeros((64, 64), dtype=bool)
    mask[20:40, 20:40] = True
    still = np.array([[1, 0, 0], [0, 1, 0]], dtype=np.float32)
    changed_mind = SlicePrompt(((50.5, 50.5, True), (30.5, 30.5, True), (25.5, 25.5, False), (5.5, 5.5, False)))
    assert moved(changed_mind, still, mask).points == ((30.5, 30.5, True), (5.5, 5.5, False))
    assert moved(SlicePrompt(box=(2, 2, 12, 12)), still, mask).box is None, "nothing of the object is in it"
    shifted = np.array([[1, 0, 1.5], [0, 1, 0]], dtype=np.float32)
    assert moved(SlicePrompt(((30.5, 30.5, True),)), shifted, mask).points == (), "it left the square"


def test_a_step_asks_with_the_annotators_own_clicks_too() -> None:
    volume, labels, k = made("lps")
    segmenter = build_segmenter(default_spec("sam"), LABELS)
    given = (GivenPrompts("core", foreground=[(9, 42, k)], background=[(20, 34, k)], axis=2),)
    ((index, _), prompt) = next(iter(given_on(given, cut(volume), LABELS).items()))

    def shares(prompts: tuple[GivenPrompts, ...]) -> tuple[float, float]:
        """Of the prompted masks of the slice: how many are asked for with the very clicks, and with others."""
        objective: Any = segmenter.objective([Case(volume, labels, prompts=prompts)], batch_size=1, seed=0)
        own = other = 0
        for view in objective._views.draw([(objective._examples[0], index)] * 100):
            moved_clicks = moved(prompt, view.matrix, view.solid[0].numpy()).points
            asked = objective._first([view])
            clicks = [p.points for p, label in zip(asked.prompts, asked.labels, strict=True) if label == 0 and _any(p)]
            for points in clicks:
                mine = bool(points) and points == moved_clicks[: len(points)]
                own, other = own + mine, other + (not mine)
        return own, other

    own, other = shares(given)
    assert own > 10
    assert other > 10
    assert shares(())[0] == 0


def _any(prompt: SlicePrompt) -> bool:
    return bool(prompt.points) or prompt.box is not None
