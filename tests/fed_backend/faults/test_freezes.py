"""SIGSTOP for half a minute in the middle of a round: nothing answers, no connection closes."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest
from lasting import LastingFederation, check_rounds, states
from running import until

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

FROZEN_S = 30.0
SITES = ["north", "south", "west"]


@pytest.fixture(scope="module")
def federation(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LastingFederation]:
    running = LastingFederation(tmp_path_factory.mktemp("frozen"), SITES, quorum=2, round_deadline_s=180)
    try:
        running.start_all()
        yield running
    finally:
        running.stop_all()


def frozen_in_a_round(federation: LastingFederation, *names: str) -> list[dict[str, str]]:
    """Two rounds, in the first of which these stand still while west trains; what became of the updates."""
    federation.configure("west", seconds=5)
    run, verdict = federation.ask("south", rounds=2)
    assert verdict["status"] == 202, verdict
    until("west trains", lambda: federation.state("west")["training"])
    federation.configure("west", seconds=0)
    for name in names:
        federation.freeze(name)
    time.sleep(FROZEN_S)
    for name in names:
        federation.thaw(name)
    record = federation.concluded(run)
    assert record["state"] == "finished", record
    return states(record)


def all_take_part(federation: LastingFederation) -> None:
    """Once all are in the hub's job again, every update is part of the aggregate."""
    federation.wait_ready(*SITES)
    until("all are heard", lambda: set(SITES) <= set(federation.heard()), 120)
    assert states(federation.ask_and_wait("south")) == [dict.fromkeys(SITES, "aggregated")]
    check_rounds(federation)


def test_a_site_and_a_courier_that_stand_still(federation: LastingFederation) -> None:
    """The round waits for the site, whose courier speaks for it; without the courier it goes on."""
    first, _ = frozen_in_a_round(federation, "peer-south", "courier-west")
    assert (first["north"], first["south"]) == ("aggregated", "aggregated")
    all_take_part(federation)


def test_a_hub_that_stands_still(federation: LastingFederation) -> None:
    """No site is blamed for what the hub did not hear."""
    first, _ = frozen_in_a_round(federation, "hub")
    assert list(first.values()).count("aggregated") >= 2
    all_take_part(federation)
