"""Payloads that lie on a disk are read like those in memory, and averaged in parts like whole ones."""

from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from builders import header, plan

from fed_backend.errors import PayloadError
from fed_backend.methods.base import Update
from fed_backend.methods.fedavg import Averaging
from fed_backend.methods.mixing import parts_of
from fed_backend.payload import decode, encode, metadata_of, read_header, write
from fed_backend.tensor_file import digest, front, joined, retitled, size

PLAN = plan()


def raw(entries: dict[str, Any], values: bytes) -> bytes:
    """A safetensors file by hand."""
    told = {"__metadata__": {"fedseg": json.dumps(header(PLAN).as_json())}, **entries}
    text = json.dumps(told).encode()
    text += b" " * (-len(text) % 8)
    return struct.pack("<Q", len(text)) + text + values


HALF = {"dtype": "F16", "shape": [2, 1], "data_offsets": [0, 4]}
GOOD = {
    "float32": encode(header(PLAN), {"b": np.arange(6.0).reshape(2, 3), "a": np.ones(3)}),
    "float16": encode(header(PLAN), {"b": np.arange(6.0).reshape(2, 3), "a": np.ones(3)}, half=True, exact=("a",)),
    "by hand": raw({"w": HALF}, b"\x00\x3c\x00\x40"),
    "nothing": encode(header(PLAN), {}),
}


@pytest.mark.parametrize("name", GOOD)
def test_a_file_reads_like_its_bytes(tmp_path: Path, name: str) -> None:
    path = tmp_path / "payload"
    path.write_bytes(GOOD[name])
    assert (size(path), digest(path)) == (len(GOOD[name]), digest(GOOD[name]))
    assert read_header(path) == read_header(GOOD[name])
    told, tensors = decode(path)
    expected = decode(GOOD[name])[1]
    assert told == read_header(path)
    assert tensors.keys() == expected.keys()
    for key, tensor in tensors.items():
        assert tensor.dtype == np.float32
        np.testing.assert_array_equal(tensor, expected[key])
    assert list(decode(path, names=["a"])[1]) == [key for key in expected if key == "a"]


def test_tensors_get_another_header_as_if_they_had_been_written_under_it(tmp_path: Path) -> None:
    tensors = {"größe": np.arange(6.0).reshape(2, 3), "a": np.ones(3), "b": np.zeros(0)}
    other = header(PLAN, kind="aggregate", site="hub", examples=12345)
    for half in (False, True):
        path, result = tmp_path / "one", tmp_path / "other"
        path.write_bytes(encode(header(PLAN), tensors, half=half, exact=("a",)))
        expected = encode(other, tensors, half=half, exact=("a",))
        assert retitled(path, metadata_of(other)) == front(expected)
        assert joined(retitled(path, metadata_of(other)), path, result) == digest(expected)
        assert result.read_bytes() == expected


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\x08",
        struct.pack("<Q", 2**62) + b"{}",
        GOOD["float32"][:-1],
        GOOD["float32"] + b"x",
        raw({"w": {**HALF, "data_offsets": [0, 400]}}, b"\x00\x3c\x00\x40"),
        raw({"w": {**HALF, "dtype": "BF16"}}, b"\x80\x3f\x00\x40"),
        raw({"w": {"dtype": "F64", "shape": [1], "data_offsets": [0, 8]}}, b"\0" * 8),
        raw({"w": {"dtype": "I64", "shape": [1], "data_offsets": [0, 8]}}, b"\0" * 8),
    ],
)
def test_what_is_refused_in_memory_is_refused_on_disk(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "payload"
    path.write_bytes(data)
    with pytest.raises(PayloadError) as in_memory:
        decode(data)
    with pytest.raises(PayloadError) as on_disk:
        decode(path)
    assert str(on_disk.value).split(":")[0] == str(in_memory.value).split(":")[0]


def test_written_is_what_is_encoded(tmp_path: Path) -> None:
    tensors = {"b": np.arange(6.0).reshape(2, 3), "a": np.ones(3)}
    write(tmp_path / "payload", header(PLAN), tensors, half=True, exact=("a",))
    assert (tmp_path / "payload").read_bytes() == GOOD["float16"]


def test_a_folder_that_is_gone_is_an_error_of_the_disk(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="No such file"):
        write(tmp_path / "gone" / "payload", header(PLAN), {"a": np.ones(3)})


@pytest.mark.parametrize("products", [True, False])
@pytest.mark.parametrize("values", [1, 20, 10**6])
def test_a_mean_in_parts_is_the_mean_bit_by_bit(products: bool, values: int) -> None:
    shapes = {"x.lora_A": (2, 7), "x.lora_B": (5, 2), "conv": (3, 3), "bias": (3,), "lone.lora_B": (4, 2)}
    rng = np.random.default_rng(4)
    updates = [
        Update(site, {n: rng.standard_normal(s).astype(np.float32) for n, s in shapes.items()}, examples)
        for site, examples in (("a", 1), ("b", 5), ("c", 2))
    ]
    examples = {update.site: update.examples for update in updates}
    parts = list(parts_of(shapes, products=products, values=values))
    assert sorted(name for part in parts for name in part) == sorted(shapes)
    assert len(parts) == {1: 4 if products else 5, 20: 2, 10**6: 1}[values]
    found = {}
    for part in parts:
        cut = [Update(u.site, {n: u.tensors[n] for n in part}, u.examples) for u in updates]
        found |= Averaging(part, products=products).mean(examples, cut)
    for name, tensor in Averaging(shapes, products=products).mean(examples, updates).items():
        assert found[name].tobytes() == tensor.tobytes()
