"""The hub's supervisor where its server cannot do its work."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from builders import plan
from running import RunningFederation, until

from fed_backend.flare.controller import report
from fed_backend.flare.kit import JOB_STATE, load_kit
from fed_backend.flare.provisioning import provision


@pytest.fixture
def federation(tmp_path: Path) -> Iterator[RunningFederation]:
    running = RunningFederation(tmp_path, ["north", "south"])
    yield running
    running.stop_all()


def test_a_port_in_use_is_told(tmp_path: Path, federation: RunningFederation) -> None:
    port = json.loads((federation.kits / "hub/federation.json").read_text())["port"]
    with socket.create_server(("", port)):
        federation.start_hub()
        assert federation.processes["hub"].wait(30) == 2
    error, hint = (tmp_path / "hub.log").read_text().splitlines()[-2:]
    assert error == f"error: port {port} is in use"
    assert hint.startswith("hint: ")


@pytest.mark.slow
def test_a_hub_that_cannot_log_in_says_so_and_still_stops(tmp_path: Path, federation: RunningFederation) -> None:
    """Its supervisor holds a certificate of another federation."""
    other = provision(plan(), ["north"], tmp_path / "other")
    for name in ("client.crt", "client.key", "rootCA.pem"):
        file = Path("hub/supervisor/startup") / name
        (federation.kits / file).write_bytes((other / file).read_bytes())
    federation.start_hub()
    until("the complaint", lambda: "cannot log in" in (tmp_path / "hub.log").read_text(), 60)
    assert federation.terminate("hub") == 0


def test_a_hub_that_cannot_write_says_so_and_goes_on(tmp_path: Path, federation: RunningFederation) -> None:
    obstacle = federation.kits / "hub/run/server.log"
    obstacle.mkdir(parents=True)
    federation.start_hub()
    until("the complaint", lambda: "cannot go on yet" in (tmp_path / "hub.log").read_text(), 30)
    obstacle.rmdir()
    until("the server", obstacle.is_file, 30)
    assert federation.terminate("hub") == 0


def test_a_job_whose_state_cannot_be_written_goes_on(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    kit = load_kit(provision(plan(), ["north"], tmp_path / "kits") / "hub", "hub")
    (kit.run / JOB_STATE / "x").mkdir(parents=True)
    report(kit, {"job": "a"})
    assert "the state of the job cannot be written" in caplog.text
