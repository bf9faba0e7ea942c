"""What every model of a site must do, whichever it is."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from safetensors.numpy import load, save

from fed_backend.plan import ModelSpec, TrainingSpec
from monailabel_app.errors import AdapterError, Cancelled, Conflict
from monailabel_app.imaging.volume import Volume
from monailabel_app.learning.evaluate import evaluate
from monailabel_app.learning.finetune import finetune
from monailabel_app.models.base import Case as PartialCase
from monailabel_app.models.base import Labelmap, Segmenter
from monailabel_app.models.registry import build_segmenter

LABELS = {"core": 1, "oedema": 4}
Case = tuple[Volume, Labelmap]


def same(a: dict[str, np.ndarray], b: dict[str, np.ndarray]) -> bool:
    return a.keys() == b.keys() and all(np.array_equal(a[name], b[name]) for name in a)


def test_equal_specs_share_base_and_initial_adapter(segmenter: Segmenter, spec: ModelSpec) -> None:
    other = build_segmenter(spec, dict(reversed(LABELS.items())))
    assert other.base_sha256 == segmenter.base_sha256
    assert same(other.adapter(), segmenter.adapter())
    elsewhere = build_segmenter(spec.model_copy(update={"seed": 1}), LABELS)
    assert elsewhere.base_sha256 != segmenter.base_sha256
    assert not same(elsewhere.adapter(), segmenter.adapter())


def test_adapter_round_trip(segmenter: Segmenter) -> None:
    before = segmenter.adapter()
    shapes = segmenter.adapter_shapes()
    assert shapes.items() <= {name: t.shape for name, t in before.items()}.items()
    assert all(tensor.dtype == np.float32 for tensor in before.values())
    changed = {name: tensor + 1 for name, tensor in before.items()}
    segmenter.load_adapter(changed)
    assert same(segmenter.adapter(), changed)
    first = next(iter(shapes))
    segmenter.load_adapter({first: before[first]})
    assert same(segmenter.adapter(), changed | {first: before[first]})


def test_adapter_is_stored_as_it_is_whatever_the_memory_format(segmenter: Segmenter, spec: ModelSpec) -> None:
    before = segmenter.adapter()
    segmenter.network.to(memory_format=torch.channels_last_3d if spec.spatial_dims == 3 else torch.channels_last)
    try:
        assert same(load(save(segmenter.adapter())), before)
    finally:
        segmenter.network.to(memory_format=torch.contiguous_format)


def test_adapter_is_a_copy(segmenter: Segmenter) -> None:
    taken = segmenter.adapter()
    for tensor in taken.values():
        tensor += 9
    assert not same(segmenter.adapter(), taken)
    given = {name: tensor * 0 for name, tensor in taken.items()}
    segmenter.load_adapter(given)
    for tensor in given.values():
        tensor += 1
    assert not any(tensor.any() for tensor in segmenter.adapter().values())


@pytest.mark.parametrize("fault", ["unknown name", "wrong shape", "not finite"])
def test_bad_adapter_is_refused_and_nothing_changes(segmenter: Segmenter, fault: str) -> None:
    before = segmenter.adapter()
    bad = {name: tensor + 1 for name, tensor in before.items()}
    last = list(bad)[-1]
    if fault == "unknown name":
        bad["backdoor.weight"] = np.zeros(3, dtype=np.float32)
    elif fault == "wrong shape":
        bad[last] = np.zeros((*bad[last].shape, 2), dtype=np.float32)
    else:
        bad[last].flat[0] = np.inf
    with pytest.raises(AdapterError, match="backdoor" if fault == "unknown name" else last):
        segmenter.load_adapter(bad)
    assert same(segmenter.adapter(), before)


GRIDS = {
    "ras": np.diag([1.0, 1, 4, 1]),
    "lps": np.diag([-1.0, -1, 4, 1]),
    "upside down": np.diag([1.0, 1, -4, 1]),
    "oblique": np.array([[0.96, -0.28, 0, 9], [0.28, 0.96, 0.4, -7], [-0.1, 0, 4, 3], [0, 0, 0, 1]]),
    "sheared": np.array([[1, 0.3, 0, 0], [0, 1, 0, 0], [0, 0.2, 4, 0], [0, 0, 0, 1]]),
}


@pytest.mark.parametrize("affine", GRIDS.values(), ids=GRIDS.keys())
def test_mask_lies_on_the_grid_of_the_image(segmenter: Segmenter, case: Case, affine: np.ndarray) -> None:
    array = case[0].array[:31, :, :4]
    mask = segmenter.segment(Volume(array, affine))
    assert mask.shape == array.shape
    assert mask.dtype == np.uint8
    assert mask.flags.c_contiguous
    assert set(np.unique(mask)) <= {0, *LABELS.values()}


def test_mask_does_not_depend_on_how_the_voxels_are_stored(segmenter: Segmenter, case: Case) -> None:
    volume = case[0]
    if not segmenter.segment(volume).any():  # an untrained default prompt may find nothing
        finetune(segmenter, [case], TrainingSpec(steps=6, batch_size=2, learning_rate=3e-3), seed=0)
    mask = segmenter.segment(volume)
    assert mask.any()
    for order, flips in itertools.islice(
        zip(itertools.permutations(range(3)), itertools.product((False, True), repeat=3), strict=False), 1, 6
    ):
        to_old = np.zeros((4, 4))
        to_old[3, 3] = 1
        for new, (old, flip) in enumerate(zip(order, flips, strict=True)):
            to_old[old, new] = -1 if flip else 1
            to_old[old, 3] = volume.shape[old] - 1 if flip else 0
        index = tuple(slice(None, None, -1 if flip else 1) for flip in flips)
        stored = Volume(np.ascontiguousarray(volume.array.transpose(order)[index]), volume.affine @ to_old)
        np.testing.assert_array_equal(segmenter.segment(stored), mask.transpose(order)[index])


@pytest.mark.parametrize("colour", [False, True])
def test_two_dimensional_images(segmenter: Segmenter, colour: bool) -> None:
    rng = np.random.default_rng(0)
    array = rng.integers(0, 255, (37, 52, 1, 3) if colour else (37, 52, 1)).astype(np.uint8)
    mask = segmenter.segment(Volume(array, np.diag([-1.0, -1, 1, 1]), is_2d=True))
    assert mask.shape == (37, 52, 1)


def test_equal_seeds_give_equal_tensors(segmenter: Segmenter, case: Case) -> None:
    before = segmenter.adapter()
    training = TrainingSpec(steps=2, batch_size=2)
    results = []
    for seed in (3, 3, 4):
        segmenter.load_adapter(before)
        results.append(finetune(segmenter, [case], training, seed=seed))
    assert same(results[0].tensors, results[1].tensors)
    assert results[0].losses == results[1].losses
    assert not same(results[0].tensors, results[2].tensors)
    assert same(segmenter.adapter(), results[2].tensors)


def loss_of(segmenter: Segmenter, case: Case) -> float:
    """Mean loss of batches that are the same for every adapter; a single one's says little."""
    objective = segmenter.objective([case], batch_size=4, seed=9)
    with torch.no_grad():
        return float(np.mean([float(objective()) for _ in range(4)]))


def test_training_reports_every_step_and_lowers_the_loss(segmenter: Segmenter, case: Case) -> None:
    before = loss_of(segmenter, case)
    shares: list[float] = []
    steps = 10 if segmenter.spec.name == "sam" else 25
    done = finetune(
        segmenter,
        [case],
        TrainingSpec(steps=steps, batch_size=2, learning_rate=3e-3),
        seed=0,
        progress=shares.append,
    )
    assert shares == [pytest.approx((n + 1) / steps) for n in range(steps)]
    assert done.steps == len(done.losses) == steps
    assert loss_of(segmenter, case) < 0.9 * before


def test_cancelled_training_leaves_the_adapter_as_it_was(segmenter: Segmenter, case: Case) -> None:
    before = segmenter.adapter()

    def stop(share: float) -> None:
        if share >= 0.5:
            raise Cancelled("stopped by its owner")

    with pytest.raises(Cancelled):
        finetune(segmenter, [case], TrainingSpec(steps=4, batch_size=1), seed=0, progress=stop)
    assert same(segmenter.adapter(), before)


def test_diverged_training_says_so_and_leaves_the_adapter(segmenter: Segmenter, case: Case) -> None:
    huge = {name: np.full_like(tensor, 1e30) for name, tensor in segmenter.adapter().items()}
    segmenter.load_adapter(huge)
    with pytest.raises(AdapterError, match="diverged: the loss of step 1 is"):
        finetune(segmenter, [case], TrainingSpec(steps=5, batch_size=1), seed=0)
    assert same(segmenter.adapter(), huge)


def test_nothing_to_learn_from(segmenter: Segmenter) -> None:
    with pytest.raises(Conflict, match="no corrected case"):
        finetune(segmenter, [], TrainingSpec(), seed=0)


def test_proximal_pull_keeps_the_adapter_near_its_start(segmenter: Segmenter, case: Case) -> None:
    before = segmenter.adapter()
    moved = []
    for mu in (0.0, 100.0):
        segmenter.load_adapter(before)
        after = finetune(segmenter, [case], TrainingSpec(steps=6, batch_size=1, proximal=mu), seed=0).tensors
        moved.append(sum(float(np.square(after[name] - before[name]).sum()) for name in before))
    assert moved[1] < 0.8 * moved[0]


def test_evaluation_names_cases_and_labels(segmenter: Segmenter, case: Case) -> None:
    volume, truth = case
    own = segmenter.segment(volume)
    scores = evaluate(segmenter, [("right", (volume, own)), ("other", (volume, truth))])
    assert scores["right"] == {"core": 1.0, "oedema": 1.0}
    assert scores["other"].keys() == LABELS.keys()
    assert all(0 <= value <= 1 for value in scores["other"].values())


def test_nothing_is_learned_of_labels_that_nobody_annotated(segmenter: Segmenter, case: Case) -> None:
    volume, truth = case
    (name, value), (_, other) = sorted(LABELS.items())
    annotated = frozenset([value])
    before, results = segmenter.adapter(), []
    for labels in (truth, np.where(truth == other, 0, truth).astype(np.uint8)):
        segmenter.load_adapter(before)
        partial = PartialCase(volume, labels, annotated)
        results.append(finetune(segmenter, [partial], TrainingSpec(steps=2, batch_size=2), seed=0).tensors)
    assert all(np.array_equal(results[0][key], results[1][key]) for key in before)
    assert evaluate(segmenter, [("case", PartialCase(volume, truth, annotated))])["case"].keys() == {name}


@pytest.mark.slow
def test_a_label_that_is_not_annotated_any_more_is_not_forgotten(case: Case) -> None:
    segmenter = build_segmenter(ModelSpec(image_size=48, channels=(8, 16)), LABELS)
    finetune(segmenter, [case], TrainingSpec(steps=120, batch_size=2, learning_rate=3e-3), seed=0)
    learned, (name, value) = segmenter.adapter(), max(LABELS.items())
    volume, truth = case
    without = np.where(truth == value, 0, truth).astype(np.uint8)
    further = TrainingSpec(steps=40, batch_size=2, learning_rate=3e-3)
    scores = {}
    for annotated in (None, frozenset(LABELS.values()) - {value}):
        segmenter.load_adapter(learned)
        finetune(segmenter, [PartialCase(volume, without, annotated)], further, seed=1)
        scores[annotated] = evaluate(segmenter, [("case", case)])["case"][name]
    assert scores.pop(None) < 0.3, "as background it is unlearned, so the test can fail"
    assert min(scores.values()) > 0.7


@pytest.mark.slow
def test_model_learns_to_segment(segmenter: Segmenter, case: Case) -> None:
    sam = segmenter.spec.name == "sam"  # a decoder that already segments wants a gentler rate
    training = TrainingSpec(steps=80 if sam else 120, batch_size=2, learning_rate=1e-3 if sam else 3e-3)
    finetune(segmenter, [case], training, seed=0)
    scores = evaluate(segmenter, [("case", case)])["case"]
    assert min(scores.values()) > (0.5 if sam else 0.8), scores
