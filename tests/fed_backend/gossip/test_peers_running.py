"""Couriers of three sites as real processes over real TLS, without a hub."""

from __future__ import annotations

import pytest
from running_peers import RunningPeers

pytestmark = pytest.mark.slow


def test_a_click_starts_exchanges_that_arrive(peers: RunningPeers) -> None:
    run, verdict = peers.ask("north", rounds=2)
    assert verdict["status"] == 202, verdict
    status = peers.ended("north", run)
    assert status["state"] == "finished", status
    assert len(status["history"]) == 2
