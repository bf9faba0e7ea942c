"""A secure round in which a real site learns: hub, couriers and site servers are processes, with mutual TLS."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from lasting import states
from real_site import WithRealSite
from record import Recorder

from fed_backend.payload import decode
from fed_backend.secure.fixed_point import STEP
from fed_backend.secure.wire import STEPS

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]


@pytest.fixture
def recorder(tmp_path: Path) -> Iterator[Recorder]:
    """Of a federation that runs."""
    federation = WithRealSite(tmp_path, rounds=1, quorum=3, secure={"fewest": 3})
    made = Recorder(federation)
    try:
        federation.start_all()
        made.start()
        yield made
    finally:
        made.stop()
        federation.stop_all()


def test_the_sum_is_the_plain_mean_and_becomes_a_version_that_the_gate_judged(recorder: Recorder) -> None:
    """The light sites keep what they sent and got; the real one's update is recorded before its courier masks it."""
    federation = recorder.federation
    record = federation.ask_and_wait("north", rounds=1, timeout_s=600)
    assert states(record) == [dict.fromkeys(federation.sites, "aggregated")], record
    run = record["id"]
    offers = [federation.kept(site, "offer", run, 0) for site in ("north", "south")]
    assert offers[0] is not None
    assert offers[0] == offers[1]
    own = [data for header, data in recorder.payloads() if header.kind == "update"]
    light = [federation.kept(site, "update", run, 0) for site in ("north", "south")]
    updates = [decode(data) for data in (*own, *light) if data is not None]
    assert sorted(header.site for header, _ in updates) == sorted(federation.sites)
    weights = [header.examples for header, _ in updates]
    header, mean = decode(offers[0])
    assert header.examples == sum(weights)
    for name, tensor in mean.items():
        plain = np.average([tensors[name].astype(float) for _, tensors in updates], axis=0, weights=weights)
        np.testing.assert_allclose(tensor, plain, rtol=2.0**-23, atol=STEP, err_msg=name)
    with federation.clinic() as state:
        (version,) = [found for found in state.versions("unet").list() if found.origin == "federation"]
        assert version.settings["federation_round"] == run
        store = state.versions("unet")
        for name, tensor in store.load(version.id).items():
            np.testing.assert_array_equal(tensor, mean[name], err_msg=name)
        assert (federation.state_folder / "versions" / "unet" / version.id / "verdict.json").exists()
        noted = [entry.note for entry in state.audit.list(limit=1000)]
    assert set(STEPS) <= {word for note in noted for word in note.split()}, noted
