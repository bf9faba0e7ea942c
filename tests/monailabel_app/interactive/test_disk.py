"""Features on disk: whole or absent, whatever happens to the process."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from monailabel_app.inference.embeddings.disk import DiskStore

ROOT = Path(__file__).resolve().parents[3]
IMAGE = "ab" * 32


def digest(number: int) -> str:
    return f"{number:064x}"


@pytest.mark.parametrize("kind", [torch.float16, torch.float32, torch.bfloat16])
@pytest.mark.parametrize("shape", [(5,), (1, 4, 3, 2)])
def test_features_come_back_to_the_bit(tmp_path: Path, kind: torch.dtype, shape: tuple[int, ...]) -> None:
    features = torch.randn(shape, generator=torch.Generator().manual_seed(1)).to(kind)
    DiskStore(tmp_path).put(IMAGE, digest(1), features)
    again = DiskStore(tmp_path).get(IMAGE, digest(1))
    assert again is not None
    assert again.dtype == kind
    assert torch.equal(again, features)


def test_what_was_used_longest_ago_goes_first(tmp_path: Path) -> None:
    store = DiskStore(tmp_path, limit=3 * 464)
    for number in range(3):
        store.put(IMAGE, digest(number), torch.zeros(100))
    assert store.get(IMAGE, digest(0)) is not None  # now the newest
    store.put(IMAGE, digest(3), torch.zeros(100))
    assert [store.has(IMAGE, digest(number)) for number in range(4)] == [True, False, True, True]
    assert sum(file.stat().st_size for file in tmp_path.rglob("*.emb")) <= 3 * 464


def test_the_limit_holds_when_the_folder_is_opened(tmp_path: Path) -> None:
    store = DiskStore(tmp_path)
    for number in range(5):
        store.put(IMAGE, digest(number), torch.zeros(100))
        os.utime(tmp_path / IMAGE[:32] / f"{digest(number)}.emb", (number, number))
    assert len(DiskStore(tmp_path, limit=2 * 464)) == 2
    assert DiskStore(tmp_path).get(IMAGE, digest(4)) is not None
    assert DiskStore(tmp_path).get(IMAGE, digest(0)) is None


@pytest.mark.parametrize("damage", ["short", "flipped", "empty", "foreign", "long"])
def test_a_damaged_file_counts_as_missing_and_is_deleted(tmp_path: Path, damage: str) -> None:
    store = DiskStore(tmp_path)
    store.put(IMAGE, digest(1), torch.arange(50.0))
    file = next(tmp_path.rglob("*.emb"))
    data = bytearray(file.read_bytes())
    if damage == "flipped":
        data[100] ^= 1
    content = {"short": data[:90], "empty": b"", "foreign": b"x" * len(data), "long": data + b"1"}.get(damage, data)
    file.write_bytes(bytes(content))
    assert store.get(IMAGE, digest(1)) is None
    assert not file.exists()
    store.put(IMAGE, digest(1), torch.arange(50.0))
    assert store.get(IMAGE, digest(1)) is not None


def test_features_of_a_deleted_image_can_be_forgotten(tmp_path: Path) -> None:
    store = DiskStore(tmp_path)
    store.put(IMAGE, digest(1), torch.zeros(4))
    store.put("cd" * 32, digest(2), torch.zeros(4))
    store.forget(IMAGE)
    assert store.get(IMAGE, digest(1)) is None
    assert store.get("cd" * 32, digest(2)) is not None
    assert store.nbytes == 64 + 16


def test_another_process_may_evict_what_this_one_knows(tmp_path: Path) -> None:
    store = DiskStore(tmp_path)
    store.put(IMAGE, digest(1), torch.zeros(4))
    DiskStore(tmp_path).forget(IMAGE)
    assert store.get(IMAGE, digest(1)) is None
    assert store.nbytes == 0


def test_mapped_features_outlive_their_file(tmp_path: Path) -> None:
    store = DiskStore(tmp_path)
    store.put(IMAGE, digest(1), torch.arange(1000.0))
    features = store.get(IMAGE, digest(1))
    store.forget(IMAGE)
    assert features is not None
    assert torch.equal(features, torch.arange(1000.0))


WRITER = """
import sys, torch
from pathlib import Path
from monailabel_app.inference.embeddings.disk import DiskStore
store = DiskStore(Path(sys.argv[1]), limit=60 * (64 + 4 * 20000))
print("ready", flush=True)
number = 0
while True:
    store.put("ab" * 32, f"{number % 90:064x}", torch.full((20000,), float(number % 90)))
    number += 1
"""


@pytest.mark.slow
def test_kill_9_leaves_whole_features_only(tmp_path: Path) -> None:
    torn = 0
    for _ in range(4):
        child = subprocess.Popen(
            [sys.executable, "-c", WRITER, str(tmp_path)],
            stdout=subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
        )
        assert child.stdout is not None
        child.stdout.readline()
        while len(list(tmp_path.rglob("*.emb"))) < 20:
            assert child.poll() is None
        os.kill(child.pid, signal.SIGKILL)
        child.wait()
        child.stdout.close()
        store = DiskStore(tmp_path)
        for file in list(tmp_path.rglob("*.emb")):
            number = int(file.stem, 16)
            features = store.get(IMAGE, file.stem)
            torn += features is None or not torch.equal(features, torch.full((20000,), float(number)))
    assert torn == 0
    assert len(list(tmp_path.rglob("*.emb"))) <= 61
