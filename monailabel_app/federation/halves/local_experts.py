"""pFedSAM at a site: first the global part without experts, then the experts with the global part as teacher."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from fed_backend.methods.pfedsam import PFedSAM
from fed_backend.objectives.distillation import distillation
from fed_backend.objectives.experts import load_balance, without_experts
from fed_backend.payload import Tensors
from fed_backend.plan import Plan
from monailabel_app.federation.halves.base import Score, Work
from monailabel_app.imaging.volume import Volume
from monailabel_app.models.adapter import Adapter
from monailabel_app.models.experts import attach_experts, experts_of
from monailabel_app.models.steps import descend

__all__ = ["WithLocalExperts"]


class WithLocalExperts:
    """See :class:`monailabel_app.federation.halves.base.SiteHalf`.

    The plan's steps train everything but the experts (the shared LoRA pairs, and what the plan keeps
    at the site), so that the shared part gets as many as under other methods. Then the experts take
    ``stage_b`` times as many. With ``stage_b = 0`` this is FedAvg on the shared part.
    """

    def __init__(self, plan: Plan, method: PFedSAM) -> None:
        self._training = plan.training
        self._settings = method.settings
        self._shared = method.shared_keys()
        self._seed = plan.model.seed
        self._experts_steps = round(plan.training.steps * method.settings.stage_b)
        self.steps = plan.training.steps + self._experts_steps

    def beginning(self, base: Tensors) -> Tensors:
        return {name: base[name] for name in self._shared}

    def train(self, work: Work, start: Tensors) -> Tensors:
        adapter: Adapter = work.segmenter.trainable
        if self._experts_steps:
            attach_experts(work.segmenter, self._settings.experts, self._settings.width, self._seed)
        work.segmenter.load_adapter(start)
        plain = {name: tensor for name, tensor in start.items() if name not in adapter.private}
        with adapter.without_private(), without_experts(experts_of(work.segmenter)):
            work.fit(plain, self._training)
        if self._experts_steps:
            before = work.segmenter.adapter()
            try:
                self._train_experts(work, adapter)
            except BaseException:
                work.segmenter.load_adapter(before)
                raise
        trained = work.segmenter.adapter()
        work.segmenter.load_adapter(trained)  # features computed meanwhile are of no use any more
        return trained

    def _train_experts(self, work: Work, adapter: Adapter) -> None:
        segmenter, settings, modules = work.segmenter, self._settings, experts_of(work.segmenter)
        objective = segmenter.objective(work.cases, batch_size=self._training.batch_size, seed=work.seed + 1)

        def loss() -> Tensor:
            batch = objective.draw()
            with torch.no_grad(), without_experts(modules):
                teacher = objective.classes(objective.logits(batch))
            logits = objective.logits(batch)
            taught = distillation(
                objective.classes(logits), teacher, temperature=settings.temperature, direction=settings.direction
            )
            gates = torch.stack([load_balance(m.gates) for m in modules if m.gates is not None])
            total: Tensor = objective.loss(logits, batch) + settings.mu * taught + settings.balance * gates.mean()
            return total

        stepping = descend(
            segmenter.network,
            Adapter({name: adapter.parameters[name] for name in adapter.private}),
            loss,
            steps=self._experts_steps,
            learning_rate=self._training.learning_rate,
            weight_decay=self._training.weight_decay,
            proximal=0.0,
        )
        try:
            work.follow(stepping)
        finally:
            stepping.close()  # type: ignore[attr-defined]  # now: the network leaves training mode

    def version(self, tensors: Tensors, cases: Mapping[str, Volume], score: Score) -> Tensors:
        return tensors
