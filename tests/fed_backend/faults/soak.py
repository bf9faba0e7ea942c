"""Rounds of a federation while its processes are killed at random; what must hold afterwards is in ``proof.py``.

Three sites, one of them a real one that learns. Hub, hub job, couriers and sites are killed with SIGKILL, in an order
and at moments drawn from a seed, and started again at once, as a service manager does. An annotator goes on correcting
cases at the real site.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import requests
from chaos import Chaos
from proof import Proof
from real_site import WithRealSite
from record import Recorder
from running import until

_CALM_S = 600.0


class Soak:
    """One federation under fire.

    Args:
        folder: of everything.
        rounds: finished rounds to reach.
        seed: of the kills.
        every: rounds between two kills at most.
        part: finished rounds between two proofs.
        say: told what happens.
        state: where the real site keeps its state.
    """

    def __init__(
        self,
        folder: Path,
        rounds: int,
        seed: int,
        every: int,
        part: int = 1_000_000,
        say: Callable[[str], None] = print,
        state: Path | None = None,
    ) -> None:
        self.rounds, self.seed, self._every, self._part, self._say = rounds, seed, every, part, say
        self.federation = WithRealSite(folder, state, spare=max(2, rounds // 10), rounds=rounds)
        self.chaos = Chaos(self.federation, seed)
        self.acknowledged: list[str] = []
        self._recorder = Recorder(self.federation)

    def __enter__(self) -> Soak:
        try:
            self.federation.start_all()
        except BaseException:
            self.federation.stop_all()
            raise
        self._recorder.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Whatever happened: nobody writes into the folder afterwards."""
        self._recorder.stop()
        self.federation.stop_all()

    def run(self) -> Iterator[dict[str, Any]]:
        """What was done and what was proved so far, after every part and at the end; each part ends with a calm."""
        under_fire = 0.0
        while (done := self._recorder.rounds()) < self.rounds:
            began = time.monotonic()
            self._fire(min(self.rounds, done + self._part))
            under_fire += time.monotonic() - began
            last = self._calm()
            yield {
                "sites": self.federation.sites,
                "seed": self.seed,
                "rounds_wanted": self.rounds,
                "seconds_under_fire": round(under_fire, 1),
                "kills": self.chaos.as_json(),
                **Proof(self.federation, self._recorder, self.acknowledged, last).facts(),
            }

    def _fire(self, rounds: int) -> None:
        """Rounds with kills among them until so many are finished."""
        while self._recorder.rounds() < rounds:
            self._keep_running(rounds)
            self._wait_for_a_moment()
            if self._recorder.rounds() < rounds:
                kill = self.chaos.strike()
                done = self._recorder.rounds()
                self._say(f"{kill.seconds:7.1f} s  round {done:3}  {kill.phase:5}  {kill.target}")
                self._correct()

    def _running(self) -> bool:
        return self.federation.run_record().get("state") in ("requested", "running")

    def _keep_running(self, rounds: int) -> None:
        """Ask for the rounds that are left, as an annotator would whose run has ended before its time."""

        def running() -> bool:
            if self._running():
                return True
            self._recorder.look()  # the hub keeps the record of its newest run only
            try:
                _, verdict = self.federation.ask("north", rounds=max(1, rounds - self._recorder.rounds()))
            except (AssertionError, OSError):  # its courier or the hub is just being started again
                return False
            if verdict["status"] == 202:
                until("the run", self._running, 60)
            return False

        until("rounds are accepted", running, _CALM_S)

    def _wait_for_a_moment(self) -> None:
        """Some rounds further, and somewhere within a round."""
        target = self._recorder.rounds() + int(self.chaos.moment(self._every + 1))
        until("rounds go on", lambda: self._recorder.rounds() >= target or not self._running(), _CALM_S)
        time.sleep(self.chaos.moment(1.5))  # the moment itself is what is drawn

    def _correct(self) -> None:
        """Submit one more case; what the site did not acknowledge is submitted again."""
        done = len(self.acknowledged)
        wanted = len(self.federation.spare) * (self._recorder.rounds() + 1) // self.rounds
        for case in self.federation.spare[done:wanted]:

            def submitted(case: str = case) -> str | None:
                try:
                    reply = self.federation.correct(case)
                except requests.RequestException:
                    return None
                return str(reply.json()["correction"]) if reply.ok else None

            self.acknowledged.append(until(f"correction of {case}", submitted, _CALM_S))

    def _calm(self) -> dict[str, Any]:
        """Without kills everybody takes part again: the record of one more round."""
        until("the last run has ended", lambda: not self._running(), _CALM_S)
        self._recorder.look()
        until("all are back", self._all_back, _CALM_S)
        run, verdict = self.federation.ask("south", rounds=1)
        assert verdict["status"] == 202, verdict
        record = self.federation.concluded(run)
        self._recorder.look()
        return record

    def _all_back(self) -> bool:
        try:
            self.federation.wait_ready(*self.federation.sites)
        except AssertionError:
            return False
        return True
