"""Figures and health of hub and courier, without their processes."""

from __future__ import annotations

import json
import os
import urllib.error
import urllib.request
from pathlib import Path

import pytest
from builders import plan
from in_process import Federation, Site, small_plan

from fed_backend.errors import FederationError
from fed_backend.flare.kit import COURIER_READY, JOB_STATE, Kit, load_kit
from fed_backend.flare.metrics import courier_figures, courier_trouble, hub_figures, hub_trouble
from fed_backend.flare.provisioning import provision
from fed_backend.monitoring import Monitor, exposition
from fed_backend.payload import Tensors


@pytest.fixture(scope="module")
def kits(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return provision(plan(quorum=1), ["north", "south"], tmp_path_factory.mktemp("metrics") / "federation")


@pytest.fixture
def hub(kits: Path) -> Kit:
    return load_kit(kits / "hub", "hub")


def figures(kit: Kit) -> str:
    return exposition(lambda: hub_figures(kit)).decode()


def test_a_hub_that_has_not_begun_is_unhealthy_and_says_why(hub: Kit) -> None:
    (hub.run / JOB_STATE).unlink(missing_ok=True)
    assert hub_trouble(hub) == "no federation job runs yet"
    assert "fedseg_job_up 0.0" in figures(hub)
    assert 'fedseg_member_connected{site="north"} 0.0' in figures(hub)


def test_a_job_that_fell_silent_is_noticed(hub: Kit) -> None:
    path = hub.run / JOB_STATE
    path.write_text(json.dumps({"job": "j", "pid": os.getpid(), "living": ["north", "stranger"]}))
    assert hub_trouble(hub) == ""
    told = figures(hub)
    assert 'fedseg_member_connected{site="north"} 1.0' in told
    assert "stranger" not in told
    memory = next(line for line in told.splitlines() if line.startswith("fedseg_resident_bytes"))
    assert float(memory.split()[1]) > 1e6
    os.utime(path, (1, 1))
    assert "silent for" in hub_trouble(hub)


def test_the_last_run_is_told(hub: Kit) -> None:
    of = small_plan(robust={"rule": "median", "hostile": 1}, quorum=3)

    def spoil(update: Tensors) -> Tensors:
        return {name: 50 * tensor for name, tensor in update.items()}

    sites = [Site(name, of) for name in ("north", "south", "west")] + [Site("x", of, spoil=spoil)]
    Federation(hub.folder / "state", sites, of).run(rounds=2)
    told = figures(hub)
    assert 'fedseg_run_state{state="finished"} 1.0' in told
    assert "fedseg_run_rounds_finished 2.0" in told
    assert 'fedseg_run_site_failures{site="south"} 0.0' in told
    assert "fedseg_round_updates_treated 1.0" in told
    assert 'fedseg_round_bytes{way="up"}' in told


def test_certificates_that_end_can_be_watched(hub: Kit, kits: Path) -> None:
    site = load_kit(kits / "sites" / "north", "site")
    assert courier_trouble(site)
    (site.run / COURIER_READY).write_text("{}")
    assert not courier_trouble(site)
    for told in (figures(hub), exposition(lambda: courier_figures(site)).decode()):
        line = next(line for line in told.splitlines() if line.startswith("fedseg_certificate_expiry_seconds"))
        assert float(line.split()[1]) > 1.7e9


def test_health_turns_with_the_trouble_and_a_taken_port_is_said() -> None:
    wrong = [""]
    monitor = Monitor("127.0.0.1", 0, list, lambda: wrong[0])
    assert urllib.request.urlopen(monitor.url + "/health", timeout=10).status == 200
    wrong[0] = "the disk is full"
    with pytest.raises(urllib.error.HTTPError, match="503"):
        urllib.request.urlopen(monitor.url + "/health", timeout=10)
    with pytest.raises(FederationError, match="metrics cannot be served on port"):
        Monitor("127.0.0.1", int(monitor.url.rsplit(":", 1)[1]), list, lambda: "")
