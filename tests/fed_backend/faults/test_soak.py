"""A few rounds of ``make soak``, and a full disk at the real site of that federation."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from lasting import states
from soak import Soak

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]

DISK_MB = 24


@pytest.fixture(scope="module")
def disk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path | None]:
    """A small disk of its own; ``None`` where this machine mounts none."""
    folder = tmp_path_factory.mktemp("disk")
    command = ["mount", "-t", "tmpfs", "-o", f"size={DISK_MB}m,mode=700", "fedseg-test", str(folder)]
    mounted = subprocess.run(command, capture_output=True).returncode == 0
    yield folder / "state" if mounted else None
    if mounted:
        subprocess.run(["umount", str(folder)], check=True)


@pytest.fixture(scope="module")
def soak(tmp_path_factory: pytest.TempPathFactory, disk: Path | None) -> Iterator[Soak]:
    with Soak(tmp_path_factory.mktemp("soak"), rounds=4, seed=3, every=1, state=disk) as running:
        yield running


def test_nothing_comes_of_kills(soak: Soak) -> None:
    (found,) = soak.run()
    assert found["counts"]["rounds"] >= 4
    assert found["kills"]
    assert all(found["proved"].values()), found


def test_a_full_disk_at_a_site_harms_no_round_and_loses_nothing(soak: Soak, disk: Path | None) -> None:
    if disk is None:
        pytest.skip("this machine mounts no tmpfs for the test: root is needed")
    federation = soak.federation
    before = held(federation)
    filler = disk.parent / "filler"
    fill(filler)
    record = federation.ask_and_wait("north", rounds=1, timeout_s=200)
    assert states(record) == [{"north": "aggregated", "south": "aggregated", "clinic": "failed"}], record
    assert "disk" in record["history"][0]["sites"]["clinic"]["reason"]
    reply = federation.correct(federation.spare[0])
    assert reply.status_code == 507
    assert "disk" in reply.json()["detail"] + reply.json()["hint"]
    filler.unlink()
    assert held(federation) == before
    record = federation.ask_and_wait("north", rounds=1, timeout_s=200)
    assert states(record) == [dict.fromkeys(federation.sites, "aggregated")], record
    after = held(federation)
    assert (after["corrections"], len(after["versions"])) == (before["corrections"], len(before["versions"]) + 1)


def fill(file: Path) -> None:
    """Write until the disk is full."""
    with file.open("wb", buffering=0) as handle, suppress(OSError):
        while handle.write(b"x" * 4096):
            pass


def held(federation: Any) -> dict[str, Any]:
    """What the real site has, every version read."""
    with federation.clinic() as state:
        store = state.versions("unet")
        versions = [version.id for version in store.list()]
        assert all(store.load(identifier) for identifier in versions)
        return {"versions": versions, "champion": store.champion(), "corrections": state.corrections.count()}
