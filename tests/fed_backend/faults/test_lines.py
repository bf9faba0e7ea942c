"""Lines that break, lie or hang at a chosen byte, from hub to courier and between peers; a site that is too slow."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from faulty_line import Fault, FaultyLine
from lasting import LastingFederation, check_rounds, states
from line import Receiver, make_kits, visit_of
from running import until

from fed_backend.flare.kit import Kit
from fed_backend.gossip.exchange import carry

SITES = ["north", "south"]
DEADLINE_S = 45


class OverALine(LastingFederation):
    """South reaches the hub over a line that the test breaks."""

    def __init__(self, folder: Path, **changes: Any) -> None:
        super().__init__(folder, SITES, **changes)
        kit = self.kits / "sites" / "south"
        self.line = FaultyLine(json.loads((kit / "federation.json").read_text())["port"])
        for file in (kit / "federation.json", kit / "startup" / "fed_client.json"):
            text = file.read_text()
            file.write_text(text.replace(str(self.line._to), str(self.line.port)))


@pytest.fixture(scope="module")
def federation(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OverALine]:
    running = OverALine(tmp_path_factory.mktemp("lines"), quorum=1, round_deadline_s=DEADLINE_S)
    try:
        running.start_all()
        yield running
    finally:
        running.stop_all()
        running.line.stop()


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize(
    "fault",
    [
        Fault("cut", 100_000, up=False),
        Fault("cut", 200_000),
        Fault("corrupt", 50_000, up=False),
        Fault("corrupt", 300_000),
        Fault("hold", 100_000, seconds=8),
    ],
    ids=lambda fault: f"{fault.kind} {'up' if fault.up else 'down'}",
)
def test_a_round_over_a_line_with_faults(federation: OverALine, fault: Fault) -> None:
    """A round moves 0.4 MB each way: the fault strikes the payload. Wrong bytes never count."""
    federation.wait_ready(*SITES)
    federation.line.arm(fault)
    record = federation.ask_and_wait("north", timeout_s=200)
    assert federation.line.struck.is_set()
    assert states(record) == [dict.fromkeys(SITES, "aggregated")], record
    check_rounds(federation)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_slow_site_is_waited_for_until_the_deadline_and_not_after(federation: OverALine) -> None:
    """Within the plan's deadline its update counts; a later one is dropped, and it takes part in the next round."""
    federation.wait_ready(*SITES)
    federation.configure("south", seconds=10)
    assert states(federation.ask_and_wait("north")) == [dict.fromkeys(SITES, "aggregated")]
    federation.configure("south", seconds=DEADLINE_S + 8)
    run, _ = federation.ask("north", rounds=2)
    until("south trains", lambda: federation.state("south")["training"])
    federation.configure("south", seconds=0)
    record = federation.concluded(run, DEADLINE_S + 100)
    assert states(record) == [{"north": "aggregated", "south": "failed"}, dict.fromkeys(SITES, "aggregated")]
    reason = record["history"][0]["sites"]["south"]["reason"]
    assert reason == f"no answer within the round's deadline of {DEADLINE_S} s"
    late = until("the late update", lambda: federation.kept("south", "update", run, 0), 60)
    assert late
    check_rounds(federation)


# --- between peers -------------------------------------------------------------------------


@pytest.fixture(scope="module")
def kits(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Kit]:
    return make_kits(tmp_path_factory.mktemp("kits") / "ours", "north", "south")


@pytest.mark.parametrize("after", [0, 700, 2500, 6000, 9000])
@pytest.mark.parametrize("kind", ["cut", "corrupt", "hold"])
@pytest.mark.parametrize("up", [True, False], ids=["up", "down"])
def test_a_visit_over_a_line_with_faults(kits: dict[str, Kit], tmp_path: Path, kind: Any, up: bool, after: int) -> None:
    """Handshake, headers, body or answer: the same bytes arrive in the end, and count once."""
    if not up:
        after //= 5  # answers are short
    south = Receiver(kits["south"], tmp_path / "inbox", {"north"})
    line = FaultyLine(south.gateway.port)
    line.arm(Fault(kind, after, up, seconds=0.5))
    try:
        with south.client(kits["north"], port=line.port) as client:
            outcome = carry(client, 0, visit_of("north", 0), 30, stopped=lambda s: bool(time.sleep(s / 10)))
        assert line.struck.is_set()
        assert outcome.arrived, outcome
        assert len(south.delivered) == 1
        assert south.left == []
    finally:
        line.stop()
        south.stop()
