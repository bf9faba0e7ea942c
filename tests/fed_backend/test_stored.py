"""What earlier versions wrote stays readable, and means the same."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
from builders import plan, tensors

from fed_backend.payload import check, decode, encode, read_header
from fed_backend.plan import load_plan

sys.path.insert(0, str(Path(__file__).parent / "flare"))

from in_process import NAMES, Federation, Site

STORED = Path(__file__).parent / "stored" / "v1"
PLAN = load_plan(STORED / "plan.json")


def test_a_plan_keeps_its_hash() -> None:
    assert PLAN.sha256 == "1ec5745247699f37de91908b5a049413a5d29139861c884c7acae2e1f2a78111"


@pytest.mark.parametrize("kind", ["update", "aggregate"])
def test_a_payload_stays_readable(kind: str) -> None:
    header, received = check((STORED / f"{kind}.safetensors").read_bytes(), PLAN, kind=kind)  # type: ignore[arg-type]
    assert (header.round, header.federation_round, header.examples) == (0, "run1", 4)
    for name, tensor in tensors(1, plan(name="stored", quorum=2)).items():
        np.testing.assert_array_equal(received[name], tensor)


@pytest.mark.parametrize("kind", ["update", "aggregate", "global"])
def test_what_needs_nothing_new_is_written_as_before(kind: str) -> None:
    """So that a site of the version before can read it."""
    data = (STORED / f"{kind}.safetensors").read_bytes()
    header, received = decode(data)
    assert encode(header, received) == data


def test_the_first_request_of_a_federation_stays_readable() -> None:
    assert read_header((STORED / "global.safetensors").read_bytes()).metrics == {"initial": 1.0}


def test_a_hub_goes_on_from_a_stored_checkpoint(tmp_path: Path) -> None:
    shutil.copytree(STORED / "hub", tmp_path / "hub")
    sites = [Site(n, PLAN, examples=i + 1) for i, n in enumerate(NAMES)]
    status = Federation(tmp_path / "hub", sites, PLAN).finish()
    assert status["state"] == "finished"
    assert [record["round"] for record in status["history"]] == [0, 1]
    assert {site.trainings for site in sites} == {1}, "the first round was not repeated"
