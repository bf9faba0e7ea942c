"""Fields of messages on their way."""

from __future__ import annotations

import json
import zlib

import pytest

from fed_backend.flare.fields import packed, unpacked


def test_fields_come_back_as_they_were() -> None:
    for fields in ({}, {"task": "r/0/train", "deadline_s": 1.5}, {"round": {"sites": ["Zürich"] * 500}}):
        assert unpacked(packed(fields)) == fields


def test_the_status_of_a_long_run_takes_a_tenth() -> None:
    record = {"state": "aggregated", "reason": "", "bytes_up": 600_000, "seconds": 1.25, "promoted": True}
    status = {"round": {"history": [{"round": n, "sites": {f"site{s}": record for s in range(16)}} for n in range(10)]}}
    assert len(packed(status)) < len(json.dumps(status)) / 10


@pytest.mark.parametrize(
    "sent",
    [
        None,
        7,
        "[]",
        "{",
        b"{}",
        b"",
        zlib.compress(b"[1]"),
        zlib.compress(b"{}")[:-1],
        zlib.compress(b"{}") + b"x",
        zlib.compress(b'{"a": "' + b" " * 2**25 + b'"}'),
        b"\xff" * 40,
        "\ud800",
        '{"reason": "\\ud800"}',
    ],
)
def test_what_is_malformed_or_swells_is_refused(sent: object) -> None:
    with pytest.raises(ValueError):
        unpacked(sent)
