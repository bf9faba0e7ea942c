"""Undo, the wire format, and drawn masks."""

from __future__ import annotations

import base64
import struct
import zlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from monailabel_app.errors import SiteError
from monailabel_app.interactive.draft import Draft
from monailabel_app.interactive.history import Edit, History, Kept, changed_box, union
from monailabel_app.interactive.wire import decode_voxels, pack, read_runs, runs_of, unpack

SHAPES = npst.array_shapes(min_dims=3, max_dims=3, max_side=7)


@given(npst.arrays(np.uint8, SHAPES, elements=st.integers(0, 3)))
@settings(max_examples=40, deadline=None)
def test_a_reply_is_read_as_it_was_written(voxels: np.ndarray) -> None:
    high = [n - 1 for n in voxels.shape]
    header, again = unpack(pack({"box": [0, 0, 0, *high], "step": 3}, voxels))
    assert header["step"] == 3
    assert again is not None
    assert np.array_equal(again, voxels)


def test_the_bytes_are_the_documented_ones() -> None:
    voxels = np.arange(6, dtype=np.uint8).reshape(1, 2, 3)
    data = pack({"box": [4, 5, 6, 4, 6, 8]}, voxels)
    magic, length = struct.unpack_from("<4sI", data)
    assert magic == b"FSM1"
    assert data[8 : 8 + length] == b'{"box":[4,5,6,4,6,8]}'
    assert zlib.decompress(data[8 + length :]) == bytes(range(6))
    assert unpack(pack({"box": None}, None)) == ({"box": None}, None)


@pytest.mark.parametrize("data", [b"", b"FSM2\0\0\0\0", b"FSM1"])
def test_foreign_bytes_are_refused(data: bytes) -> None:
    with pytest.raises(SiteError, match="FSM1"):
        unpack(data)


@given(npst.arrays(np.bool_, SHAPES))
@settings(max_examples=40, deadline=None)
def test_runs_and_bits_mean_the_same_mask(mask: np.ndarray) -> None:
    box = (0, 0, 0, *(n - 1 for n in mask.shape))
    bits = base64.b64encode(np.packbits(mask).tobytes()).decode()
    assert np.array_equal(decode_voxels(box, bits, None, 10_000), mask)
    assert np.array_equal(decode_voxels(box, None, runs_of(mask), 10_000), mask)


@pytest.mark.parametrize("runs", [[1], [0, 0], [0, 9], [4, 2, 3, 1], [7, 2]])
def test_runs_that_do_not_fit_are_refused(runs: list[int]) -> None:
    with pytest.raises(SiteError, match="run"):
        read_runs(runs, (2, 2, 2))


@pytest.mark.parametrize(
    ("bits", "runs", "words"),
    [(None, None, "either"), ("AA==", [0, 1], "either"), ("?", None, "base64"), ("AAAA", None, "needs 1")],
)
def test_drawn_masks_that_do_not_fit_are_refused(bits: str | None, runs: list[int] | None, words: str) -> None:
    with pytest.raises(SiteError, match=words):
        decode_voxels((0, 0, 0, 1, 1, 1), bits, runs, 100)


def test_the_changed_box_is_the_smallest() -> None:
    before = np.zeros((5, 6, 7), dtype=np.uint8)
    after = before.copy()
    after[1, 2, 3] = after[3, 2, 5] = 1
    assert changed_box(before, after) == (1, 2, 3, 3, 2, 5)
    assert changed_box(before, after, (10, 0, 0)) == (11, 2, 3, 13, 2, 5)
    assert changed_box(before, before) is None
    assert union((1, 2, 3, 3, 2, 5), (0, 4, 4, 0, 4, 4)) == (0, 2, 3, 3, 4, 5)
    assert union(None, (0, 0, 0, 1, 1, 1)) == (0, 0, 0, 1, 1, 1)


EDITS = st.lists(
    st.lists(st.tuples(st.integers(0, 2), st.integers(0, 4), st.integers(1, 3)), min_size=1, max_size=3), max_size=8
)


@given(EDITS, st.lists(st.booleans(), max_size=20))
@settings(max_examples=60, deadline=None)
def test_undo_and_redo_are_exact_inverses(edits: list[list[tuple[int, int, int]]], way: list[bool]) -> None:
    labels = np.zeros((5, 5, 5), dtype=np.uint8)
    states, history = [labels.copy()], History()
    for number, slices in enumerate(edits, 1):
        draft = Draft(labels)
        for axis, index, value in slices:  # crossing slices of several axes in one step
            slab = draft.slab(axis, index)
            np.moveaxis(labels, axis, 0)[index, :3, 1:] = value
            draft.done(slab)
        before, after = draft.voxels()
        history.push(Edit(number, "prompt", draft.box, before, after))
        states.append(labels.copy())
    at = len(edits)
    for back in way:
        moved = history.undo(labels) if back else history.redo(labels)
        at += 0 if moved is None else -1 if back else 1
        assert np.array_equal(labels, states[at])
    assert (history.can_undo, history.can_redo) == (at, len(edits) - at)


def test_a_new_step_ends_redo_and_the_oldest_is_forgotten() -> None:
    labels = np.zeros((2, 2, 2), dtype=np.uint8)
    history = History(limit=2)
    for number in range(3):
        history.push(Edit(number, "prompt", None, Kept(), Kept()))
    assert history.can_undo == 2
    history.undo(labels)
    history.push(Edit(9, "prompt", None, Kept(), Kept()))
    assert (history.can_undo, history.can_redo) == (2, 0)
    assert history.redo(labels) is None


def test_a_failed_step_can_be_put_back() -> None:
    labels = np.arange(27, dtype=np.uint8).reshape(3, 3, 3)
    untouched = labels.copy()
    draft = Draft(labels)
    draft.slab(0, 1)
    labels[1] = 0
    draft.slab(2, 1)
    labels[:, :, 1] = 9
    draft.revert()
    assert np.array_equal(labels, untouched)
