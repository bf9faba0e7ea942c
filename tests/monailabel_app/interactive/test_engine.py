"""Features from the nearest place, champions that change under open sessions, work ahead."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from click.testing import CliRunner

from monailabel_app.imaging.intensity import window_of
from monailabel_app.imaging.orient import stack_of
from monailabel_app.imaging.volume import Volume
from monailabel_app.inference.embeddings.cache import FeatureCache, SliceView
from monailabel_app.inference.embeddings.disk import DiskStore
from monailabel_app.inference.embeddings.memory import MemoryStore
from monailabel_app.inference.embeddings.priority import Turns
from monailabel_app.inference.embeddings.snapshot import take_snapshot
from monailabel_app.inference.planes import Plane
from monailabel_app.interactive.engine import Engine
from monailabel_app.models.sam import SamSegmenter
from monailabel_app.precompute import run_list
from monailabel_app.state.versions import NewVersion

Build = Callable[[str], Volume]
WAIT_S = 20.0


def view_of(volume: Volume, index: int = 4, size: int = 64) -> SliceView:
    return SliceView(volume, Plane.of(volume, stack_of(volume).axes[0], size), window_of(volume), index)


def adapted(segmenter: SamSegmenter, prefix: str) -> dict[str, np.ndarray]:
    """The initial adapter with the tensors that start with ``prefix`` changed."""
    rng = np.random.default_rng(5)
    return {
        name: value + (rng.normal(0, 0.2, value.shape).astype(np.float32) if name.startswith(prefix) else 0)
        for name, value in segmenter.adapter().items()
    }


def eventually(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + WAIT_S
    while not holds():
        assert time.monotonic() < deadline
        threading.Event().wait(0.02)


@pytest.fixture
def cache(tmp_path: Path) -> FeatureCache:
    return FeatureCache(MemoryStore(), DiskStore(tmp_path / "features"), Turns())


def test_the_encoder_in_two_parts_is_the_encoder(segmenter: SamSegmenter, cache: FeatureCache, build: Build) -> None:
    tensors = adapted(segmenter, "image_encoder")
    view = view_of(build("oblique"))
    found = cache.features(take_snapshot(segmenter, "v", tensors), view)
    segmenter.load_adapter(tensors)
    network: Any = segmenter.network
    with torch.inference_mode():
        whole = network.image_encoder(network.preprocess(view.plane.image(view.volume, view.window, view.index) * 255))
    assert found.source == "full"
    assert torch.allclose(found.features, whole, atol=1e-4)


def test_memory_then_disk_then_the_changed_blocks_only(segmenter: SamSegmenter, tmp_path: Path, build: Build) -> None:
    view = view_of(build("thick"))
    base = take_snapshot(segmenter, "v0", segmenter.adapter())
    upper = take_snapshot(segmenter, "v1", adapted(segmenter, "image_encoder.blocks.5"))
    decoder = take_snapshot(segmenter, "v2", adapted(segmenter, "mask_decoder"))

    def fresh() -> FeatureCache:
        return FeatureCache(MemoryStore(), DiskStore(tmp_path), Turns())

    cache = fresh()
    assert cache.features(base, view).source == "full"
    assert cache.features(base, view).source == "memory"
    assert cache.features(decoder, view).source == "memory"  # features do not depend on the decoder
    again = fresh().features(base, view)
    assert again.source == "disk"
    exact = cache.features(base, view).features
    assert torch.allclose(again.features, exact, atol=2e-3 * float(exact.abs().max()))  # float16
    recomputed = cache.features(upper, view)
    assert recomputed.source == "upper"
    assert not torch.allclose(recomputed.features, exact, atol=1e-2)
    whole = FeatureCache(MemoryStore(), None, Turns()).features(upper, view)
    assert whole.source == "full"
    assert torch.allclose(recomputed.features, whole.features, atol=5e-3 * float(whole.features.abs().max()))


def test_snapshots_share_the_base_and_nothing_that_is_trained(segmenter: SamSegmenter) -> None:
    first = take_snapshot(segmenter, "v0", segmenter.adapter())
    second = take_snapshot(segmenter, "v1", adapted(segmenter, ""))
    frozen = "image_encoder.patch_embed.proj.weight"
    assert first.network.get_parameter(frozen) is second.network.get_parameter(frozen)
    trained = "mask_decoder.mask_tokens.weight"
    assert not torch.equal(first.network.get_parameter(trained), second.network.get_parameter(trained))
    assert not any("lora" in name for name, _ in first.network.named_parameters())


def test_eight_requests_for_a_cold_slice_encode_it_once(
    segmenter: SamSegmenter, cache: FeatureCache, build: Build
) -> None:
    snapshot, view = take_snapshot(segmenter, "v", segmenter.adapter()), view_of(build("ras"))
    ready = threading.Barrier(8)
    sources: list[str] = []

    def click() -> None:
        ready.wait(WAIT_S)
        sources.append(cache.features(snapshot, view).source)

    threads = [threading.Thread(target=click) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(WAIT_S)
    assert sources.count("full") == 1
    assert set(sources) <= {"full", "joined", "memory"}


def test_slices_around_the_current_one_become_warm(make_engine: Callable[..., Engine], build: Build) -> None:
    engine, view = make_engine(), view_of(build("thick"))
    engine.prefetcher.look_at("ann", view)
    eventually(lambda: all(engine.cache.is_warm(engine.snapshot(), view.at(index)) for index in range(9)))
    engine.prefetcher.leave("ann")
    assert engine.prefetcher.current() == []


def test_a_new_champion_serves_without_stopping_who_is_clicking(
    make_engine: Callable[..., Engine], segmenter: SamSegmenter, build: Build
) -> None:
    engine, view = make_engine(), view_of(build("thick"))
    before = engine.snapshot()
    engine.prefetcher.look_at("ann", view)
    made = engine.versions.create(
        adapted(segmenter, "image_encoder.blocks.5"),
        NewVersion(origin="learning", parent=before.version, base_sha256=segmenter.base_sha256),
    )
    engine.versions.promote(made.id, "better")
    eventually(lambda: engine.snapshot().version == made.id)
    assert engine.cache.is_warm(engine.snapshot(), view)  # computed before it took over
    assert engine.features(before, view).features is not None  # whoever began on it can end


def test_a_champion_that_cannot_be_loaded_leaves_the_old_one_serving(
    make_engine: Callable[..., Engine], segmenter: SamSegmenter, tmp_path: Path
) -> None:
    engine = make_engine()
    before = engine.snapshot().version
    made = engine.versions.create(
        segmenter.adapter(), NewVersion(origin="learning", parent=before, base_sha256=segmenter.base_sha256)
    )
    engine.versions.promote(made.id, "better")
    (tmp_path / "versions" / made.id / "adapter.safetensors").write_bytes(b"torn")
    deadline = time.monotonic() + 1.0
    while time.monotonic() < deadline:
        assert engine.snapshot().version == before


def test_bfloat16_features_are_near_and_kept_apart(segmenter: SamSegmenter, cache: FeatureCache, build: Build) -> None:
    view = view_of(build("ras"))
    exact = cache.features(take_snapshot(segmenter, "v", segmenter.adapter()), view).features
    rounded = cache.features(take_snapshot(segmenter, "v", segmenter.adapter(), numeric="bfloat16"), view)
    assert rounded.source == "full"
    assert rounded.features.dtype == torch.float32
    assert torch.nn.functional.cosine_similarity(exact.flatten(), rounded.features.flatten(), dim=0) > 0.99
    assert all(p.dtype == torch.float32 for p in segmenter.network.parameters())  # the base itself is not rounded


def save_case(volume: Volume, path: Path) -> tuple[str, Path]:
    import nibabel as nib

    nib.save(nib.Nifti1Image(volume.array, volume.affine), path)
    return path.name.removesuffix(".nii.gz"), path


def test_a_work_list_is_computed_and_gone_on_with(segmenter: SamSegmenter, tmp_path: Path, build: Build) -> None:
    cases = [save_case(build(name), tmp_path / f"{name}.nii.gz") for name in ("ras", "thick")]
    (tmp_path / "broken.nii.gz").write_bytes(b"no image")
    cases.insert(1, ("broken", tmp_path / "broken.nii.gz"))
    snapshot = take_snapshot(segmenter, "v", segmenter.adapter())

    def run(limit: int) -> list[tuple[str, int, int, bool, bool]]:
        disk = DiskStore(tmp_path / "features", limit)
        cache = FeatureCache(MemoryStore(1), disk, Turns())
        done = run_list(cases, snapshot, cache, disk, "", limit)
        return [(d.case, d.computed, d.skipped, bool(d.problem), d.full) for d in done]

    first = run(150_000)
    assert first[0][1] < 9
    assert first[0][4]  # the limit ended it
    second = run(2**30)
    assert second[0] == ("ras", 9 - first[0][1], first[0][1], False, False)
    assert second[1] == ("broken", 0, 0, True, False)
    assert second[2] == ("thick", 9, 0, False, False)
    assert [done[1] for done in run(2**30)] == [0, 0, 0]


def test_the_command_says_what_is_missing(tmp_path: Path) -> None:
    from monailabel_app.precompute import precompute

    (tmp_path / "studies").mkdir()
    options = ["--studies", str(tmp_path / "studies"), "--state", str(tmp_path)]
    told = CliRunner().invoke(precompute, [*options, "--case", "nobody"])
    assert told.exit_code == 2
    assert "no image 'nobody'" in told.output
