"""What must hold after any faults: aggregates, updates, versions, corrections, audit log."""

from __future__ import annotations

import hashlib
from collections import Counter
from typing import Any

import numpy as np
from lasting import Updates, aggregates
from real_site import WithRealSite
from record import Recorder
from site_peer import Peer

from fed_backend.payload import decode
from monailabel_app.errors import AuditError, StateError
from monailabel_app.state.audit import verify


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


class Proof:
    """Compares what the sites hold with the same rounds computed without faults.

    Args:
        federation: it may still run.
        recorder: what was seen while it ran.
        acknowledged: corrections that the real site said it had stored.
        last: the record of a run in which nothing was killed.
    """

    def __init__(
        self, federation: WithRealSite, recorder: Recorder, acknowledged: list[str], last: dict[str, Any]
    ) -> None:
        self._federation, self._recorder, self._acknowledged, self._last = federation, recorder, acknowledged, last
        self._runs = list(recorder.runs.values())
        self._rounds = list(aggregates(federation.plan, self._runs, self._updates()))
        self._expected = {(run, round_): data for run, round_, _, data in self._rounds}

    def facts(self) -> dict[str, Any]:
        """Figures, and whether each thing that must hold does."""
        proved = {
            "every aggregate has the bytes that the same updates give without faults": self._same_aggregates(),
            "light sites sent what an undisturbed twin sends": self._same_updates(),
            "the aggregate is the weighted mean of one update of each site": self._weighted_means(),
            "no training and no aggregate counted twice at a site": self._once_each(),
            "the real site made no two versions of one aggregate": self._one_version_each(),
            "no version that the gate had judged is lost, and all can be read": self._versions_whole(),
            "no correction that was acknowledged is lost": self._corrections_there(),
            "the audit log is unbroken and names the aggregates": self._audited(),
            "afterwards all sites take part again": self._all_in_the_last(),
        }
        return {"counts": self._counts(), "proved": proved}

    def _updates(self) -> Updates:
        found = {(h.federation_round, h.round, h.site): d for h, d in self._recorder.payloads() if h.kind == "update"}
        for site in self._light():
            for run in self._runs:
                for record in run["history"]:
                    if data := self._federation.kept(site, "update", run["id"], record["round"]):
                        found[run["id"], record["round"], site] = data
        return found

    def _light(self) -> list[str]:
        return [site for site in self._federation.sites if site != "clinic"]

    def _same_aggregates(self) -> bool:
        """At the light sites and at the real one, which may each have missed an offer while they were away."""
        held = {
            (run, round_, site): data
            for run, round_ in self._expected
            for site in self._light()
            if (data := self._federation.kept(site, "offer", run, round_)) is not None
        }
        came = {(h.federation_round, h.round): d for h, d in self._recorder.payloads() if h.kind == "aggregate"}
        there = {key: data for key, data in came.items() if key in self._expected}
        return (
            bool(held)
            and bool(there)
            and all(self._expected[run, round_] == data for (run, round_, _), data in held.items())
            and all(self._expected[key] == data for key, data in there.items())
        )

    def _same_updates(self) -> bool:
        updates = self._updates()
        for site in self._light():
            twin = Peer(self._federation.peer(site))
            for run, round_, begun, _ in self._rounds:
                if (sent := updates.get((run, round_, site))) is not None and twin.train(begun) != sent:
                    return False
        return True

    def _weighted_means(self) -> bool:
        updates = self._updates()
        for run in self._runs:
            for record in run["history"]:
                came = [
                    decode(updates[run["id"], record["round"], site])
                    for site, entry in record["sites"].items()
                    if entry["state"] == "aggregated"
                ]
                total = sum(header.examples for header, _ in came)
                _, mean = decode(self._expected[run["id"], record["round"]])
                for name, tensor in mean.items():
                    exact = sum(header.examples * tensors[name].astype(np.float64) for header, tensors in came) / total
                    if not np.allclose(tensor, exact, rtol=1e-6, atol=1e-6):
                        return False
        return True

    def _once_each(self) -> bool:
        entries = Counter(
            (site, entry["what"], entry["run"], entry["round"])
            for site in self._light()
            for entry in self._federation.ledger(site)
        )
        with self._federation.clinic() as state:
            rows = state.database.rows(
                "SELECT COUNT(*) AS times FROM jobs WHERE kind = 'federated_train' AND state = 'done' GROUP BY params"
            )
        return max(entries.values()) == 1 and max(row["times"] for row in rows) == 1

    def _one_version_each(self) -> bool:
        with self._federation.clinic() as state:
            made = Counter(
                (version.settings["federation_round"], version.settings["round"])
                for version in state.versions("unet").list()
                if version.origin == "federation"
            )
        return max(made.values()) == 1 and len(made) > 0

    def _versions_whole(self) -> bool:
        with self._federation.clinic() as state:
            store = state.versions("unet")
            versions = [version.id for version in store.list()]
            try:
                for identifier in versions:
                    store.load(identifier)
            except StateError:
                return False
            return self._recorder.versions <= set(versions) and store.champion() in versions

    def _corrections_there(self) -> bool:
        with self._federation.clinic() as state:
            stored = [correction.id for correction in state.corrections.list()]
            usable = state.corrections.usable(state.corrections.newest("train"))
            cases = {correction.case for correction in usable}
        return set(self._acknowledged) <= set(stored) and len(cases) == len(self._acknowledged) + 2

    def _audited(self) -> bool:
        with self._federation.clinic() as state:
            entries = state.audit.list(limit=1_000_000)
            try:
                whole = verify(entries).entries == len(entries)
            except AuditError:
                return False
        named = {entry.sha256 for entry in entries if entry.event == "received" and entry.note == "offer"}
        return whole and named <= {_sha256(data) for data in self._expected.values()} and bool(named)

    def _all_in_the_last(self) -> bool:
        states = [entry["state"] for record in self._last["history"] for entry in record["sites"].values()]
        return states == ["aggregated"] * len(self._federation.sites)

    def _counts(self) -> dict[str, int]:
        entries = [entry for run in self._runs for record in run["history"] for entry in record["sites"].values()]
        with self._federation.clinic() as state:
            versions, corrections = len(state.versions("unet").list()), state.corrections.count()
            audited = state.audit.head().entries
            made = sum(version.origin == "federation" for version in state.versions("unet").list())
        return {
            "rounds": self._recorder.rounds(),
            "runs": len(self._runs),
            "updates_aggregated": sum(entry["state"] == "aggregated" for entry in entries),
            "updates_missed": sum(entry["state"] != "aggregated" for entry in entries),
            "aggregates_that_became_versions_at_the_real_site": made,
            "versions_of_the_real_site": versions,
            "corrections_of_the_real_site": corrections,
            "entries_of_its_audit_log": audited,
        }
