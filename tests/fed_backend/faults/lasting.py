"""A federation whose sites remember what they did across kill -9, and its rounds computed again without faults."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from running import RunningFederation, read_json, until

from fed_backend.flare.aggregator import Aggregator
from fed_backend.plan import Plan
from fed_backend.tensor_file import whole

HERE = Path(__file__).parent
_ENDED = ("finished", "failed", "stopped")


class LastingFederation(RunningFederation):
    """Sites that remember across kill -9; ``noise`` makes their trainings differ."""

    program = HERE / "lasting_peer.py"

    def __init__(self, folder: Path, sites: list[str], **options: Any) -> None:
        super().__init__(folder, sites, **options)
        self.runs: list[dict[str, Any]] = []

    def _settle(self, site: str, number: int) -> None:
        super()._settle(site, number)
        self.configure(site, add=0.0, noise=0.01)

    def run_record(self) -> dict[str, Any]:
        """The newest run, as the hub has written it down."""
        return dict(self.checkpoint().get("run") or {})

    def concluded(self, run: str, timeout_s: float = 120) -> dict[str, Any]:
        """The record of a run once it has ended."""

        def over() -> dict[str, Any] | None:
            record = self.run_record()
            return record if record.get("id") == run and record["state"] in _ENDED else None

        self.runs.append(until(f"end of run {run}", over, timeout_s))
        return self.runs[-1]

    def kept(self, site: str, what: str, run: str, round_: int) -> bytes | None:
        """``update`` or ``offer`` of one round at a site, as it remembers it."""
        path = self.peer(site) / f"{what}-{run}-{round_}.safetensors"
        return path.read_bytes() if path.exists() else None

    def ask_and_wait(self, site: str = "north", rounds: int = 1, timeout_s: float = 120) -> dict[str, Any]:
        """Ask for rounds; the record of the run once it has ended."""
        run, verdict = self.ask(site, rounds=rounds)
        assert verdict["status"] == 202, verdict
        return self.concluded(run, timeout_s)

    def heard(self) -> list[str]:
        """Members whom the hub's job hears."""
        return list((read_json(self.kits / "hub" / "run" / "job.json") or {}).get("living", []))

    def ledger(self, site: str) -> list[dict[str, Any]]:
        """What a site did, in order."""
        path = self.peer(site) / "ledger.jsonl"
        return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


Updates = Mapping[tuple[str, int, str], bytes]


def aggregates(plan: Plan, runs: list[dict[str, Any]], updates: Updates) -> Iterator[tuple[str, int, bytes, bytes]]:
    """Every round again, without faults, from the updates that the sites sent.

    Yields:
        Run, round, what training started from, and the aggregate.

    Raises:
        FedSegError: an update did not start from there, or is not what its round asked for.
    """
    aggregator, last = Aggregator(plan, plan.method.name), None
    for run in runs:
        for record in run["history"]:
            round_ = record["round"]
            begun = aggregator.begin(run["id"], round_, last)
            came = {s: updates[run["id"], round_, s] for s, r in record["sites"].items() if r["state"] == "aggregated"}
            for site, data in came.items():
                aggregator.check(data, site, run["id"], round_, begun)
            combined = aggregator.combine(run["id"], round_, came, dict.fromkeys(came, begun))
            assert combined.for_all is not None
            last = whole(combined.for_all)
            yield run["id"], round_, begun, last


def states(record: dict[str, Any]) -> list[dict[str, str]]:
    """Round by round, site -> what became of its update."""
    return [{site: entry["state"] for site, entry in round_["sites"].items()} for round_ in record["history"]]


def check_rounds(federation: LastingFederation) -> None:
    """All rounds so far have the bytes that they have without faults, and nothing counted twice anywhere."""
    runs = federation.runs
    updates = {
        (run["id"], round_["round"], site): data
        for run in runs
        for round_ in run["history"]
        for site in federation.sites
        if (data := federation.kept(site, "update", run["id"], round_["round"])) is not None
    }
    checked = 0
    for run, round_, _, expected in aggregates(federation.plan, runs, updates):
        offers = [o for s in federation.sites if (o := federation.kept(s, "offer", run, round_)) is not None]
        assert offers, (run, round_)
        assert all(offer == expected for offer in offers), (run, round_)
        checked += 1
    assert checked == sum(len(run["history"]) for run in runs)
    for site in federation.sites:
        times = Counter((entry["what"], entry["run"], entry["round"]) for entry in federation.ledger(site))
        assert times.most_common(1)[0][1] == 1, times.most_common(3)
