"""Learning from few corrections: what is rehearsed, and that it keeps what the champion can do."""

from __future__ import annotations

import numpy as np
import pytest

from fed_backend.plan import ModelSpec, TrainingSpec
from monailabel_app.errors import Cancelled
from monailabel_app.imaging.volume import Volume
from monailabel_app.learning.dice import dice
from monailabel_app.learning.recipe import Rehearsal, learn_from, rehearse, with_batch, with_steps
from monailabel_app.models.base import Labelmap, Segmenter
from monailabel_app.models.registry import build_segmenter
from monailabel_app.models.slices import Slices, examples_of

Trained = tuple[Segmenter, dict[str, np.ndarray]]

LABELS = {"tumour": 1}
SPEC = ModelSpec(image_size=32, channels=(8, 16))
TRAINING = TrainingSpec(steps=40, batch_size=6, learning_rate=3e-3)


def case(seed: int, bright: float = 60) -> tuple[Volume, Labelmap]:
    rng = np.random.default_rng(seed)
    image, mask = rng.normal(100, 10, (32, 34, 4)), np.zeros((32, 34, 4), np.uint8)
    i, j = rng.integers(6, 20, 2)
    mask[i : i + 8, j : j + 9, 1:3] = 1
    image[mask > 0] += bright
    return Volume(image, np.diag([1.0, 1.0, 3.0, 1.0])), mask


@pytest.fixture(scope="module")
def trained() -> Trained:
    """A model that finds bright boxes."""
    segmenter = build_segmenter(SPEC, LABELS)
    cases = [case(n) for n in range(4)]
    learn_from(
        segmenter,
        segmenter.adapter(),
        cases,
        Rehearsal(),
        TrainingSpec(steps=120, batch_size=6, learning_rate=5e-3),
        seed=1,
    )
    return segmenter, segmenter.adapter()


def test_an_untrained_champion_is_not_rehearsed() -> None:
    segmenter = build_segmenter(SPEC, LABELS)
    found = rehearse(segmenter, segmenter.adapter(), [case(10)], {"x": case(11)[0]}, trained=False)
    assert found.cases == ()
    assert found.keep == 0
    assert found.trust is not None
    assert found.trust < 0.3


def test_one_odd_patient_does_not_speak_against_a_champion_that_was_trained(trained: Trained) -> None:
    volume, mask = case(10)
    odd = [(volume, 1 - mask)]
    found = rehearse(*trained, odd, {"x": case(11)[0]}, trained=True)
    assert found.trust is not None
    assert found.trust < 0.3
    assert len(found.cases) == 1
    assert rehearse(*trained, odd * 3, {"x": case(11)[0]}, trained=True).cases == ()


def test_asking_the_champion_tells_how_far_it_is_and_can_be_cancelled(trained: Trained) -> None:
    corrected, uncorrected = [case(10), case(11)], {str(n): case(n)[0] for n in (12, 13)}
    shares: list[float] = []
    rehearse(*trained, corrected, uncorrected, trained=True, progress=shares.append)
    assert shares == [0.25, 0.5, 0.75, 1.0]

    def stop(share: float) -> None:
        if share > 0.5:
            raise Cancelled("by hand")

    with pytest.raises(Cancelled):
        rehearse(*trained, corrected, uncorrected, trained=True, progress=stop)


def test_without_uncorrected_images_nothing_is_rehearsed_but_the_result_goes_half_way(trained: Trained) -> None:
    segmenter, champion = trained
    rehearsal = rehearse(segmenter, champion, [case(10)], {}, trained=True)
    assert rehearsal.cases == ()
    few = TRAINING.model_copy(update={"steps": 3})
    all_the_way = learn_from(segmenter, champion, [case(12)], Rehearsal(), few, seed=1).tensors
    half_way = learn_from(segmenter, champion, [case(12)], rehearsal, few, seed=1).tensors
    for name, tensor in segmenter.adapter().items():
        assert np.array_equal(tensor, half_way[name])
        assert np.allclose(tensor, (champion[name] + all_the_way[name]) / 2, atol=1e-6)
        assert not np.array_equal(tensor, champion[name])


@pytest.mark.slow
def test_rehearsal_keeps_what_the_champion_can_do(trained: Trained) -> None:
    """A single correction that says "nothing here" would teach the model to find nothing anywhere."""
    segmenter, champion = trained
    volume, mask = case(20)
    misleading = [(volume, np.zeros_like(mask))]
    rehearsal = rehearse(segmenter, champion, [case(21)], {str(n): case(n)[0] for n in range(30, 34)}, trained=True)
    assert rehearsal.images == ("30", "31", "32", "33")
    assert rehearsal.trust is not None
    assert rehearsal.trust > 0.5
    unseen = [case(n) for n in range(40, 44)]

    def score() -> float:
        return float(np.mean([dice(segmenter.segment(v) == 1, m == 1) for v, m in unseen]))

    learn_from(segmenter, champion, misleading, Rehearsal(), TRAINING, seed=2)
    naive = score()
    learn_from(segmenter, champion, misleading, rehearsal, TRAINING, seed=2)
    assert score() > naive + 0.2


@pytest.mark.slow
def test_equal_seeds_give_equal_tensors_and_cancelling_gives_the_champion_back(
    trained: Trained,
) -> None:
    segmenter, champion = trained
    rehearsal = rehearse(segmenter, champion, [case(21)], {"30": case(30)[0]}, trained=True)
    few = TRAINING.model_copy(update={"steps": 4})
    one, two = (learn_from(segmenter, champion, [case(22)], rehearsal, few, seed=3).tensors for _ in range(2))
    assert all(np.array_equal(one[name], two[name]) for name in one)

    def stop(share: float) -> None:
        raise Cancelled("enough")

    with pytest.raises(Cancelled):
        learn_from(segmenter, champion, [case(22)], rehearsal, few, seed=3, progress=stop)
    assert all(np.array_equal(segmenter.adapter()[name], champion[name]) for name in champion)


@pytest.mark.parametrize(
    ("corrected", "steps", "of_kept_sam"), [(1, 60, 60), (2, 90, 66), (4, 150, 78), (100, 240, 240)]
)
def test_more_corrections_are_learned_longer_up_to_a_limit(corrected: int, steps: int, of_kept_sam: int) -> None:
    kept, basic = Rehearsal(keep=0.5), TrainingSpec(steps=60)
    assert with_steps(basic, corrected, "unet", kept).steps == steps
    assert with_steps(basic, corrected, "sam", Rehearsal()).steps == steps
    assert with_steps(basic, corrected, "sam", kept).steps == of_kept_sam


@pytest.mark.parametrize(("model", "asked", "size"), [("unet", 8, 8), ("sam", 8, 4), ("sam", 2, 2)])
def test_sam_takes_small_batches(model: str, asked: int, size: int) -> None:
    training = TrainingSpec(batch_size=asked)
    assert with_batch(training, model) == training.model_copy(update={"batch_size": size})


def test_a_case_that_is_listed_often_is_held_once() -> None:
    volume, mask = case(0)
    made = examples_of([(volume, mask), (volume, mask), case(1)], lambda v: Slices(v, 32), [1])
    assert made[0] is made[1]
    assert made[2] is not made[0]
    assert len(examples_of([(volume, mask), (volume, mask.copy())], lambda v: Slices(v, 32), [1])) == 2
