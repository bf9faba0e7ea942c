"""Methods that remember, and rounds of several methods under one plan."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from in_process import LEVELS, NAMES, Federation, Site, small_plan, start_payload

from fed_backend.errors import FederationError, PlanError
from fed_backend.payload import decode, read_header

Make = Callable[..., Federation]

REMEMBERS = small_plan(method={"name": "fedsca"}, adapter=LEVELS)
SEVERAL = small_plan(
    adapter=LEVELS,
    alternatives=[{"name": "fedsca", "settings": {"share": 0.25}}, {"name": "fedprox", "settings": {"mu": 0.01}}],
)


def offered(federation: Federation, run: str) -> list[bytes]:
    return [data for data in federation.sites["north"].offers if read_header(data).federation_round == run]


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Federation:
    sites = [Site(n, REMEMBERS, examples=i + 1) for i, n in enumerate(NAMES)]
    federation = Federation(tmp_path_factory.mktemp("undisturbed"), sites, REMEMBERS, start_payload(REMEMBERS))
    federation.run(rounds=3)
    return federation


@pytest.mark.parametrize("steps", range(1, 17))
def test_a_hub_killed_at_any_moment_remembers(make: Make, undisturbed: Federation, steps: int) -> None:
    federation = make(plan=REMEMBERS, start=start_payload(REMEMBERS))
    federation.step()
    federation.ask("north", rounds=3)
    for _ in range(steps):
        federation.step()
    federation.start()
    status = federation.coordinator.status()
    if status and status["state"] in {"requested", "running"}:
        status = federation.finish()
    assert status is not None
    assert status["state"] == "finished"
    for name in NAMES:
        seen = list(dict.fromkeys(federation.sites[name].offers))  # an offer may be repeated, byte for byte
        assert seen == undisturbed.sites[name].offers


def test_a_hub_killed_between_aggregate_and_record_gives_the_same_bytes(make: Make, undisturbed: Federation) -> None:
    federation = make(plan=REMEMBERS, start=start_payload(REMEMBERS))
    federation.step()
    federation.ask("north", rounds=3)
    save, died = federation.coordinator._ledger.store.save, []

    def dies_once(checkpoint: object) -> None:  # all files are written, the record that names them is not
        if checkpoint.phase == "offer" and checkpoint.run.round == 1 and not died:  # type: ignore[attr-defined]
            died.append(1)
            raise KeyboardInterrupt
        save(checkpoint)  # type: ignore[arg-type]

    federation.coordinator._ledger.store.save = dies_once  # type: ignore[method-assign]
    with pytest.raises(KeyboardInterrupt):
        federation.finish()
    federation.start()
    assert federation.finish()["state"] == "finished"
    for name in NAMES:
        seen = list(dict.fromkeys(federation.sites[name].offers))  # an offer may be repeated, byte for byte
        assert seen == undisturbed.sites[name].offers


def test_an_aggregate_that_the_disk_refuses_leaves_what_was(
    make: Make, tmp_path: Path, undisturbed: Federation
) -> None:
    federation = make(plan=REMEMBERS, start=start_payload(REMEMBERS))
    obstacle = tmp_path / "hub" / "lineage" / "lineage.json"
    obstacle.mkdir(parents=True)
    (obstacle / "x").touch()  # the file cannot be put in its place
    west = federation.sites["west"]
    as_sent, west.spoil = west.spoil, lambda tensors: {name: -tensor for name, tensor in tensors.items()}
    assert "the hub cannot go on: its disk" in federation.run(run="refused")["reason"]
    west.spoil = as_sent
    (obstacle / "x").unlink()
    obstacle.rmdir()
    for site in federation.sites.values():
        site.offers.clear()
    assert federation.run(rounds=3)["state"] == "finished"
    for name in NAMES:
        assert federation.sites[name].offers == undisturbed.sites[name].offers


def test_what_is_remembered_counts(make: Make, undisturbed: Federation) -> None:
    forgetful = small_plan(method={"name": "fedsca", "settings": {"keep": 0}}, adapter=LEVELS)
    federation = make(plan=forgetful, start=start_payload(forgetful))
    federation.run(rounds=3)
    first, *_, last = federation.sites["north"].offers
    known, *_, remembered = undisturbed.sites["north"].offers
    for name, tensor in decode(first)[1].items():
        np.testing.assert_array_equal(tensor, decode(known)[1][name])
    assert any(not np.array_equal(t, decode(remembered)[1][n]) for n, t in decode(last)[1].items())


def test_every_method_of_the_plan_goes_on_where_it_was_left(make: Make) -> None:
    federation = make(plan=SEVERAL, start=start_payload(SEVERAL))
    federation.step()
    for run, method in (("a", None), ("b", "fedsca"), ("c", "fedavg"), ("d", "fedsca"), ("e", "fedprox")):
        assert federation.ask("north", run=run, method=method, rounds=1)["status"] == 202
        assert federation.finish()["method"] == (method or "fedavg")
        federation.start()  # the hub starts anew between runs
        federation.step()
    begun = {read_header(federation.begun[run]).method: decode(federation.begun[run])[1] for run in "abe"}
    assert begun == {"fedavg": {}, "fedsca": {}, "fedprox": {}}, "each begins at the initial adapter"
    for earlier, later in (("a", "c"), ("b", "d")):
        last, then = decode(offered(federation, earlier)[0])[1], decode(federation.begun[later])[1]
        assert last.keys() == then.keys()
        for name in last:
            np.testing.assert_array_equal(last[name], then[name])
    assert len(decode(offered(federation, "b")[0])[1]) == 1, "a quarter of four levels"
    hashes = {read_header(data).method: read_header(data).plan_sha256 for data in federation.begun.values()}
    assert len(set(hashes.values())) == 3, "a payload of one method is never taken for another's"


def test_a_method_that_was_not_agreed_on_is_refused(make: Make) -> None:
    federation = make(plan=SEVERAL, start=start_payload(SEVERAL))
    federation.step()
    verdict = federation.ask("north", method="fedbn")
    assert verdict["status"] == 409
    assert "fedavg, fedsca, fedprox" in verdict["detail"]


@pytest.mark.parametrize("start", [None, start_payload(small_plan(adapter=LEVELS, name="other"))])
def test_a_hub_without_the_start_that_a_method_needs_says_so(make: Make, start: bytes | None) -> None:
    with pytest.raises(FederationError, match="the start"):
        make(plan=REMEMBERS, start=start)


def test_alternatives_are_checked_when_the_hub_starts(tmp_path: Path) -> None:
    plan = small_plan(adapter=LEVELS, alternatives=[{"name": "fedbn"}])
    with pytest.raises(PlanError, match="would keep no tensor local"):
        Federation(tmp_path, [Site("north", plan)], plan)
