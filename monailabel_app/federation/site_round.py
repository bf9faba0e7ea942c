"""One request of a hub at a site: opened, trained for, answered. The learner's jobs and simulated sites share this."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from fed_backend.methods import build_method, exact_of
from fed_backend.payload import PayloadHeader, Tensors, encode_update
from fed_backend.plan import Plan
from monailabel_app.federation.halves import SiteHalf, Work, half_of
from monailabel_app.federation.participant import Kind, open_request
from monailabel_app.learning.finetune import Finetuned
from monailabel_app.models.adapter import BESIDE
from monailabel_app.models.base import Cases, Progress, Segmenter, no_progress

__all__ = ["SiteRound", "Trained"]


def _plain(version: Tensors) -> Tensors:
    """The tensors of the model itself, without those that stand beside it in a version."""
    return {name: tensor for name, tensor in version.items() if not name.startswith(BESIDE)}


@dataclass(frozen=True)
class Trained:
    """A site's part of a round.

    Attributes:
        reply: payload of kind ``update``.
        local: what was trained and stays here.
        lost: what the encoding of the reply rounded away, to be added to the next one.
        metrics: figures of the training, as in the reply.
        figures: the same with all losses, without tensors.
    """

    reply: bytes
    local: Tensors
    lost: Tensors
    metrics: dict[str, float]
    figures: Finetuned


class SiteRound:
    """A request of the hub, checked against the plan.

    Args:
        data: the payload.
        agreed: the plan that this site holds.
        kinds: kinds that are welcome.
        site: this site's name.

    Attributes:
        plan: the plan as it reads for the payload's method.
        header: of the payload.
        shared: the tensors received; empty at the beginning of a federation.
        half: the site's half of the method.

    Raises:
        PayloadError: it is not exactly what the plan allows.
        PlanError: the method cannot run at this site.
    """

    def __init__(self, data: bytes, agreed: Plan, kinds: Sequence[Kind], site: str) -> None:
        self._data, self._site = data, site
        self.plan, self.header, self.shared = open_request(data, agreed, kinds)
        self.half: SiteHalf = half_of(self.plan, site)

    def start(self, base: Tensors, own: Tensors, local: Tensors) -> Tensors:
        """Where training starts.

        Args:
            base: the initial adapter, where everybody's first round starts.
            own: the version that serves at this site.
            local: what the site's last round of this plan left here.
        """
        shared = self.shared or self.half.beginning(_plain(base))
        return {**_plain(own), **local, **shared}

    def train(
        self,
        segmenter: Segmenter,
        cases: Cases,
        start: Tensors,
        residual: Tensors,
        seed: int,
        progress: Progress = no_progress,
        on_loss: Callable[[float], None] = lambda loss: None,
    ) -> Trained:
        """Train for the round and make the reply; equal arguments give equal tensors.

        Args:
            segmenter: its adapter is changed.
            cases: training cases.
            start: from :meth:`start`.
            residual: what this site's update of the round before lost to its encoding.
            seed: of this round at this site.
            progress: called after each step.
            on_loss: called with each loss.

        Raises:
            AdapterError: training diverged.
            Cancelled: from ``progress``.
        """
        work = Work(segmenter, cases, seed, self.half.steps, progress, on_loss)
        began = time.perf_counter()
        tensors = self.half.train(work, start)
        seconds = time.perf_counter() - began
        metrics = {"seconds": round(seconds, 3), "steps": float(len(work.losses))}
        if work.losses:
            metrics["loss"] = float(work.losses[-1])
        method = build_method(self.plan)
        shared = method.shared_keys()
        header = PayloadHeader(
            kind="update",
            plan_sha256=self.plan.sha256,
            base_sha256=self.plan.base_sha256,
            site=self._site,
            federation_round=self.header.federation_round,
            round=self.header.round,
            method=self.plan.method.name,
            examples=len(cases),
            parent_sha256=hashlib.sha256(self._data).hexdigest(),
            metrics=metrics,
        )
        sent = {name: tensors[name] for name in shared}
        reply, lost = encode_update(
            header, sent, self.plan, start=self.shared, residual=residual, exact=exact_of(method)
        )
        local = {name: tensor for name, tensor in tensors.items() if name not in shared}
        return Trained(reply, local, lost, metrics, Finetuned({}, work.losses, seconds, len(work.losses)))
