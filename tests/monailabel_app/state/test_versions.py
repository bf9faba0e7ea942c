"""The version store: what is listed is whole, what serves was chosen, and there is a way back."""

from __future__ import annotations

import errno
import os
import random
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import numpy as np
import pytest

from monailabel_app.errors import Conflict, NotFound, StateError
from monailabel_app.state.versions import DataId, NewVersion, VersionStore

BASE = "b" * 64


def tensors(value: float) -> dict[str, np.ndarray]:
    return {"layer.weight": np.full((3, 4), value, np.float32), "layer.bias": np.arange(4, dtype=np.float32)}


def record(parent: str | None = None) -> NewVersion:
    data = (DataId(correction="c1", image_sha256="1" * 64, mask_sha256="2" * 64),)
    return NewVersion(
        origin="learning", parent=parent, base_sha256=BASE, seed=7, settings={"steps": 3}, data=data, code_version="9"
    )


@pytest.fixture
def store(tmp_path: Path) -> VersionStore:
    store = VersionStore(tmp_path / "unet", "unet")
    store.ensure_base(tensors(0), BASE)
    return store


def test_a_version_comes_back_with_its_tensors_and_everything_to_make_it_again(store: VersionStore) -> None:
    made = store.create(tensors(1.5), record(store.champion()))
    assert made == store.get(made.id) == store.list()[-1]
    assert made.id.startswith("unet-0001-")
    assert (made.seed, made.settings, made.data[0].correction, made.code_version) == (7, {"steps": 3}, "c1", "9")
    loaded = store.load(made.id)
    assert loaded.keys() == tensors(0).keys()
    np.testing.assert_array_equal(loaded["layer.weight"], tensors(1.5)["layer.weight"])


def test_the_initial_adapter_is_made_once_and_serves(store: VersionStore) -> None:
    assert store.ensure_base(tensors(0), BASE) == "unet-0000-" + store.get(store.champion()).sha256[:6]
    assert [v.origin for v in store.list()] == ["base"]
    assert store.state_of(store.base())[0] == "champion"


def test_another_base_than_the_versions_adapt_is_refused(store: VersionStore) -> None:
    with pytest.raises(Conflict, match="adapt base bbbbbbbbbbbb…, but the site was started with base cccc") as caught:
        store.ensure_base(tensors(0), "c" * 64)
    assert "another state folder" in caught.value.hint


def test_a_promotion_is_seen_by_another_reader_at_once_and_can_be_rolled_back(
    store: VersionStore, tmp_path: Path
) -> None:
    reader = VersionStore(tmp_path / "unet", "unet")
    first = store.champion()
    made = store.create(tensors(1), record(first))
    assert reader.champion() == first
    assert store.promote(made.id, "better") == first
    assert reader.champion() == made.id
    assert reader.state_of(made.id) == ("champion", "better")
    assert store.rollback("looked wrong", made.id) == first
    assert reader.champion() == first
    assert [e["version"] for e in reader.history()] == [first, made.id, first]
    with pytest.raises(Conflict, match="initial adapter"):
        store.rollback("once more")


def test_a_rollback_passes_over_parents_that_never_served(store: VersionStore) -> None:
    first = store.champion()
    served = store.create(tensors(1), record(first))
    store.promote(served.id, "better")
    refused = store.create(tensors(2), record(served.id))
    store.record_verdict(refused.id, {"promoted": False, "reason": "Refused: worse"})
    made = store.create(tensors(3), record(store.create(tensors(4), record(refused.id)).id))
    store.promote(made.id, "better still")
    assert store.rollback("looked wrong") == served.id == store.champion()
    assert store.rollback("this one too") == first == store.champion()


def test_only_the_champion_can_be_rolled_back(store: VersionStore) -> None:
    made = store.create(tensors(1), record(store.champion()))
    with pytest.raises(Conflict, match="does not serve"):
        store.rollback("no", made.id)


def test_a_decision_against_an_older_champion_does_not_promote(store: VersionStore) -> None:
    first = store.champion()
    one, two = (store.create(tensors(value), record(first)) for value in (1, 2))
    store.promote(one.id, "by hand")
    with pytest.raises(Conflict, match="serves by now"):
        store.promote(two.id, "gate", expected=first)
    assert store.champion() == one.id


def test_what_the_gate_said_becomes_the_state(store: VersionStore) -> None:
    made = store.create(tensors(1), record(store.champion()))
    assert store.state_of(made.id) == ("candidate", "")
    store.record_verdict(made.id, {"promoted": False, "reason": "Refused: worse"})
    assert store.state_of(made.id) == ("refused", "Refused: worse")


def test_a_damaged_adapter_is_named_never_loaded_and_never_promoted(store: VersionStore, tmp_path: Path) -> None:
    first = store.champion()
    made = store.create(tensors(1), record(first))
    store.promote(made.id, "better")
    file = tmp_path / "unet" / made.id / "adapter.safetensors"
    data = bytearray(file.read_bytes())
    data[-1] ^= 1
    file.write_bytes(data)
    with pytest.raises(StateError, match=f"{made.id} is damaged") as caught:
        store.load(made.id)
    assert "roll back" in caught.value.hint
    assert str(tmp_path) not in str(caught.value)
    assert store.rollback("damaged") == first
    store.load(first)
    with pytest.raises(StateError):
        store.promote(made.id, "again")
    assert store.champion() == first


def test_a_damaged_pointer_says_so_and_a_promotion_repairs_it(store: VersionStore, tmp_path: Path) -> None:
    first = store.champion()
    (tmp_path / "unet" / "champion").write_text('{"version": "../../etc"}')
    with pytest.raises(StateError, match="champion pointer of 'unet' is damaged"):
        store.champion()
    store.promote(first, "repair")
    assert store.champion() == first


def test_a_history_with_a_torn_line_is_read_around_and_repaired(store: VersionStore, tmp_path: Path) -> None:
    first = store.champion()
    one, two = (store.create(tensors(value), record(first)) for value in (1, 2))
    store.promote(one.id, "better")
    file = tmp_path / "unet" / "history.jsonl"
    file.write_bytes(file.read_bytes() + b'{"version": "unet-00')
    assert [e["version"] for e in store.history()] == [first, one.id]
    store.promote(two.id, "better still")
    assert [e["version"] for e in store.history()] == [first, one.id, two.id]
    assert len(file.read_bytes().splitlines()) == 2, "the torn line is gone"


def test_on_a_full_disk_the_store_is_as_it_was(
    store: VersionStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = store.create(tensors(1), record(store.champion()))
    before = sorted(p.name for p in (tmp_path / "unet").rglob("*"))

    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("os.fsync", full)
        for write in (lambda: store.create(tensors(2), record()), lambda: store.promote(made.id, "better")):
            with pytest.raises(StateError, match="No space left on device") as caught:
                write()
            assert "free disk space" in caught.value.hint
    assert sorted(p.name for p in (tmp_path / "unet").rglob("*")) == before
    assert store.champion() == store.base()
    assert [e["version"] for e in store.history()] == [store.base()]
    store.promote(made.id, "there is space again")


def test_tensors_that_are_not_numbers_are_not_stored(store: VersionStore) -> None:
    with pytest.raises(StateError, match=r"layer\.weight.*NaN"):
        store.create(tensors(float("nan")), record())
    assert len(store.list()) == 1


@pytest.mark.parametrize(
    "name",
    [
        "",
        "..",
        "../unet",
        "/etc/passwd",
        "unet-0000-zzzzzz",
        "sam-0000-123456",
        "unet-0009-123456",
        "a\x00b",
        "u" * 5000,
    ],
)
def test_a_name_that_is_no_version_is_not_found(store: VersionStore, name: str) -> None:
    for call in (store.get, store.load, lambda n: store.promote(n, "x")):
        with pytest.raises(NotFound):
            call(name)


WRITER = """
import sys, numpy as np
from pathlib import Path
from monailabel_app.state.versions import NewVersion, VersionStore
store = VersionStore(Path(sys.argv[1]), "unet")
for n in range(10_000):
    record = NewVersion(origin="learning", parent=store.champion(), base_sha256="b" * 64)
    made = store.create({"w": np.full((256, 256), n, np.float32)}, record)
    store.promote(made.id, f"number {n}")
    print(made.id, flush=True)
"""


@pytest.mark.slow
def test_killed_at_any_moment_the_store_stays_whole(tmp_path: Path) -> None:
    """SIGKILL at random moments; a reader without locks always finds a whole champion."""
    folder = tmp_path / "unet"
    reader = VersionStore(folder, "unet")
    reader.ensure_base({"w": np.zeros((256, 256), np.float32)}, BASE)
    chance = random.Random(3)
    for _ in range(6):
        writer = subprocess.Popen(
            [sys.executable, "-c", textwrap.dedent(WRITER), str(folder)], stdout=subprocess.PIPE, text=True
        )
        assert writer.stdout is not None
        promised = writer.stdout.readline().strip()
        assert promised, "the writer works"
        end = time.monotonic() + chance.uniform(0.02, 0.5)
        while time.monotonic() < end:
            reader.load(reader.champion())
        writer.kill()
        acknowledged = [promised, *writer.stdout.read().split()]
        writer.wait()
        listed = {v.id for v in reader.list()}
        reader.load(reader.champion())
        assert set(acknowledged) <= listed, "an acknowledged version is never lost"
        assert reader.champion() >= acknowledged[-1] or len(reader.champion()) > len(acknowledged[-1])
    again = VersionStore(folder, "unet")
    assert not [f for f in folder.iterdir() if f.name.startswith(".tmp-")], "leftovers are removed at opening"
    for version in (f.name for f in folder.iterdir() if f.is_dir()):
        again.load(version)
    assert len(again.list()) > 6


EVERY_LINE = """
import os, shutil, signal, sys
from pathlib import Path
import numpy as np
from monailabel_app.state.versions import NewVersion, VersionStore

origin = Path(sys.argv[1])
VersionStore(origin, "unet").ensure_base({"w": np.zeros((8, 8), np.float32)}, "b" * 64)


def change(folder, lines):
    left = [lines]

    def trace(frame, event, argument):
        name = frame.f_code.co_filename
        if "monailabel_app/state" not in name and "shutil" not in name:
            return None
        if event == "line":
            left[0] -= 1
            if left[0] == 0:
                os.kill(os.getpid(), signal.SIGKILL)
        return trace

    writer = VersionStore(folder, "unet")
    record = NewVersion(origin="learning", parent=writer.champion(), base_sha256="b" * 64)
    sys.settrace(trace)
    made = writer.create({"w": np.full((8, 8), lines, np.float32)}, record)
    writer.promote(made.id, "better")
    os._exit(0)


for lines in range(1, 2000):
    folder = origin.with_name(f"killed-{lines}")
    shutil.copytree(origin, folder)
    child = os.fork()
    if child == 0:
        change(folder, lines)
    killed = os.WIFSIGNALED(os.waitpid(child, 0)[1])
    reader = VersionStore(folder, "unet")
    reader.load(reader.champion())
    for version in folder.glob("unet-*"):
        reader.load(version.name)
    assert not list(folder.glob(".tmp-*"))
    if not killed:
        break
print(lines, reader.champion())
"""


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_killed_before_any_line_of_storing_and_promoting_nothing_is_half(tmp_path: Path) -> None:
    ran = subprocess.run([sys.executable, "-c", EVERY_LINE, str(tmp_path / "unet")], capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr
    lines, champion = ran.stdout.split()
    assert int(lines) > 50, "the trace reached the store"
    assert champion.startswith("unet-")
