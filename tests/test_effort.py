"""The measure of effort: methods without a network do what they are known for, and clicks are counted right."""

from __future__ import annotations

import numpy as np
import pytest

from bench.baselines import GrowCut, RegionGrowing
from bench.effort_clicks import CAP, Served, clicks_needed, plain_clicks, session_clicks, summary
from bench.effort_data import Case, Site, Target
from fed_backend.demo.generator import SCANNERS, make_case
from fed_backend.payload import Tensors
from fed_backend.plan import TrainingSpec
from monailabel_app.imaging.volume import Volume
from monailabel_app.inference.embeddings.snapshot import take_snapshot
from monailabel_app.learning.base_check import Answers, FilledBox, click_by_click, iou
from monailabel_app.learning.base_prompts import middle
from monailabel_app.learning.base_shapes import Mask
from monailabel_app.learning.finetune import finetune
from monailabel_app.models.base import Case as TrainingCase
from monailabel_app.models.base import GivenPrompts
from monailabel_app.models.prompting import SlicePrompt
from monailabel_app.models.registry import build_segmenter, default_spec
from monailabel_app.models.sam import SamSegmenter

ROWS, COLUMNS = np.mgrid[:64, :64]
DISC = (ROWS - 30) ** 2 + (COLUMNS - 34) ** 2 < 15**2


@pytest.mark.parametrize("method", [GrowCut(), RegionGrowing()], ids=["GrowCut", "region growing"])
def test_one_click_finds_a_bright_disc(method: Answers) -> None:
    noise = np.random.default_rng(0).normal(0, 0.02, DISC.shape)
    method.look((0.2 + 0.6 * DISC + noise).astype(np.float32))
    assert iou(method.answer(SlicePrompt(((34.5, 30.5, True),)), first=True), DISC) > 0.85
    assert iou(method.answer(SlicePrompt(box=(15, 11, 54, 50)), first=True), DISC) > 0.85


def test_growcut_gives_a_click_outside_its_side_of_the_edge() -> None:
    method = GrowCut()
    method.look((0.5 + 0.3 * (COLUMNS >= 32)).astype(np.float32))
    mask = method.answer(SlicePrompt(((10.5, 30.5, True), (50.5, 30.5, False))), first=True)
    assert np.array_equal(mask, COLUMNS < 32)


def test_clicks_go_to_the_largest_error_until_nothing_is_wrong() -> None:
    class Knows(FilledBox):
        """Finds a half of the disc per click."""

        def answer(self, prompt: SlicePrompt, *, first: bool) -> Mask:
            assert all(DISC[int(y), int(x)] == inside for x, y, inside in prompt.points)
            half: Mask = DISC & (COLUMNS >= 34)
            return half if len(prompt.points) == 1 else DISC

    masks = click_by_click(Knows(), DISC, 9)
    assert len(masks) == 2
    assert np.array_equal(masks[-1], DISC)


def test_clicks_on_a_case_are_counted_to_each_goal() -> None:
    volume = Volume((100 + 200 * DISC[..., None]).astype(np.int16), np.diag([1.0, 1, 3, 1]))
    case = Case(volume, DISC[..., None].astype(np.uint8))
    site = Site("one", {"disc": 1}, [], [case])
    targets = site.targets(case, 2)
    assert targets == [Target("disc", 2, 0)]
    found = plain_clicks(GrowCut(), site.schema, case, targets[0])
    assert found[0] == 0
    assert found[-1] > 0.9
    assert clicks_needed([0.0, 0.82, 0.7, 0.86], 0.85) == 3
    assert clicks_needed([0.95], 0.9) == 0
    counted = summary([[0.0, 0.82, 0.91], [0.0] * (CAP + 1)])
    assert counted["clicks_0.80"] == (1 + CAP) / 2
    assert counted["clicks_0.90"] == (2 + CAP) / 2
    assert counted["failures_0.90"] == 1


def clicked(case: Case) -> tuple[GivenPrompts, ...]:
    """What an annotator might have given: a click in the middle of every slice of the tumour, one beside the first."""
    found = []
    for k in np.flatnonzero(case.labels.any(axis=(0, 1))):
        mask = np.ascontiguousarray(case.labels[:, :, k] > 0)
        i, j = middle(mask)
        beside = (int(np.flatnonzero(mask.any(axis=1))[0]) - 3, j, int(k))
        found.append(GivenPrompts("tumour", [(i, j, int(k))], [] if found else [beside], axis=2))
    return tuple(found)


@pytest.mark.slow
@pytest.mark.parametrize("recorded", [False, True], ids=["simulated clicks", "recorded clicks"])
def test_learning_from_a_site_costs_no_clicks_on_its_other_cases(recorded: bool) -> None:
    """Fine-tuning for automatic masks once took them: what answers clicks drifted with the rest."""
    made = [make_case(SCANNERS[0], number, 0) for number in range(5)]
    cases = [Case(Volume(one.image, one.affine), one.label) for one in made]
    site = Site("one", {"tumour": 1}, cases[:2], cases[2:])
    segmenter = build_segmenter(default_spec("sam"), site.schema)
    assert isinstance(segmenter, SamSegmenter)

    def dice_after(adapter: Tensors) -> float:
        """Mean Dice after two and three clicks."""
        model = Served(take_snapshot(segmenter, "v", adapter))
        targets = [(case, target) for case in site.measured for target in site.targets(case, 2)]
        runs = [session_clicks(model, site.schema, case, target) for case, target in targets]
        return float(np.mean([run[min(number, len(run) - 1)] for run in runs for number in (2, 3)]))

    before = dice_after(segmenter.adapter())
    corrected = [TrainingCase(c.volume, c.labels, prompts=clicked(c) if recorded else ()) for c in site.corrected]
    learned = finetune(segmenter, corrected, TrainingSpec(steps=20, batch_size=2), seed=0)
    assert dice_after(learned.tensors) >= before
