"""The inference service over a real U-Net and a real version store."""

from __future__ import annotations

import threading
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from fed_backend.plan import ModelSpec
from monailabel_app.errors import AdapterError, ImageError, NotFound, StateError, Unavailable
from monailabel_app.inference.service import QUEUE, Inference
from monailabel_app.models.registry import build_segmenter
from monailabel_app.state.versions import NewVersion, VersionStore

LABELS = {"tumour": 1}


@pytest.fixture
def image(tmp_path: Path) -> Path:
    voxels = np.random.default_rng(0).normal(100, 20, (20, 24, 4)).astype(np.float32)
    nib.save(nib.Nifti1Image(voxels, np.diag([1.0, 1.0, 4.0, 1.0])), tmp_path / "a.nii.gz")
    return tmp_path / "a.nii.gz"


@pytest.fixture
def store(tmp_path: Path) -> VersionStore:
    return VersionStore(tmp_path / "versions", "unet")


@pytest.fixture
def service(store: VersionStore) -> Inference:
    segmenter = build_segmenter(ModelSpec(image_size=32, channels=(4, 8)), LABELS)
    store.ensure_base(segmenter.adapter(), segmenter.base_sha256)
    return Inference({"unet": segmenter}, lambda model: store)


def everything_is_tumour(store: VersionStore) -> str:
    """A version whose biases answer ``tumour`` everywhere."""
    tensors = store.load(store.champion())
    last = max((n for n in tensors if n.endswith("bias") and tensors[n].shape == (2,)), key=len)
    changed = {**tensors, last: np.array([-1e4, 1e4], np.float32)}
    base = store.get(store.champion())
    return store.create(changed, NewVersion(origin="learning", parent=base.id, base_sha256=base.base_sha256)).id


def test_a_promotion_and_a_rollback_are_live_with_the_next_request(
    service: Inference, store: VersionStore, image: Path
) -> None:
    first = service.infer("unet", image)
    version = everything_is_tumour(store)
    assert service.infer("unet", image).version == first.version
    store.promote(version, "test")
    second = service.infer("unet", image)
    assert second.version == version
    assert second.labelmap.all()
    store.rollback("test")
    third = service.infer("unet", image)
    assert third.version == first.version
    assert np.array_equal(third.labelmap, first.labelmap)


def test_a_version_can_be_asked_for_without_promoting_it(service: Inference, store: VersionStore, image: Path) -> None:
    version = everything_is_tumour(store)
    assert service.infer("unet", image, version=version).labelmap.all()
    assert service.infer("unet", image).version == store.champion() != version


@pytest.mark.parametrize("version", ["unet-0007-abcdef", "sam-0000-abcdef", "../champion", "x"])
def test_unknown_versions(service: Inference, image: Path, version: str) -> None:
    with pytest.raises(NotFound):
        service.infer("unet", image, version=version)


def test_a_damaged_version_does_not_serve_and_the_champion_still_does(
    service: Inference, store: VersionStore, image: Path, tmp_path: Path
) -> None:
    version = everything_is_tumour(store)
    (tmp_path / "versions" / version / "adapter.safetensors").write_bytes(b"half a fi")
    with pytest.raises(StateError, match="damaged"):
        service.infer("unet", image, version=version)
    assert service.infer("unet", image).version == store.champion()


def test_a_version_of_another_shape_does_not_serve(service: Inference, store: VersionStore, image: Path) -> None:
    base = store.get(store.champion())
    other = store.create(
        {"foreign": np.zeros(3, np.float32)}, NewVersion(origin="learning", base_sha256=base.base_sha256)
    )
    with pytest.raises(AdapterError):
        service.infer("unet", image, version=other.id)
    assert service.infer("unet", image).version == base.id


def test_an_image_that_changed_on_disk_is_read_again(service: Inference, image: Path) -> None:
    assert service.infer("unet", image).volume.shape == (20, 24, 4)
    nib.save(nib.Nifti1Image(np.zeros((9, 8, 3), np.int16), np.eye(4)), image)
    assert service.infer("unet", image).volume.shape == (9, 8, 3)
    image.unlink()
    with pytest.raises(ImageError):
        service.infer("unet", image)


def test_more_requests_than_the_queue_holds_are_told_to_come_back(service: Inference, image: Path) -> None:
    served = service._served["unet"]
    answers: list[object] = []

    def ask() -> None:
        answers.append(service.infer("unet", image).version)

    with served.turn():  # one place is taken by whoever computes now
        waiting = [threading.Thread(target=ask) for _ in range(QUEUE - 1)]
        for thread in waiting:
            thread.start()
        while served._places._value:  # until all of them stand in line
            pass
        with pytest.raises(Unavailable, match="already wait"):
            service.infer("unet", image)
    for thread in waiting:
        thread.join(60)
    assert len(answers) == QUEUE - 1
    assert service.infer("unet", image).version == answers[0]
