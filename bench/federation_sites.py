"""The sites of the federation benchmark, and the plan that they hold."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import fmean

from bench.federation_data import LABELS, Part
from bench.federation_rows import Setting
from bench.precision import compute_in
from fed_backend.plan import Plan
from monailabel_app.federation.simulated import Case, ModelSite
from monailabel_app.learning.finetune import finetune
from monailabel_app.learning.tasks.workbench import mix_seed
from monailabel_app.models.base import Segmenter
from monailabel_app.models.registry import build_segmenter
from monailabel_app.planning import build_plan

__all__ = ["ENCODINGS", "VARIANTS", "LoneSite", "common_site", "mean", "plan_of", "segmenter_of", "sites_of"]

VARIANTS = {
    "fedprox": "fedprox:mu=0.01",
    "gcml-alone": "gcml:weight=0",
    "gcml-beta0": "gcml:beta=0",
    "fedsca-none": "fedsca:share=0.0",
    "fedsca-quarter": "fedsca:share=0.25",
    "fedsca-most": "fedsca:share=0.75",
    "fedsca-all": "fedsca:share=1.0",
    "pfedsam-reverse": "pfedsam:direction=reverse",
    "pfedsam-mu0": "pfedsam:mu=0",
}
"""Rows that are a method with settings: ablations, and FedProx's mu."""
LEARNING_RATE = {"unet": 2e-3, "sam": 1e-3}
"""A U-Net begins with random weights, SAM's adapter on a trained base."""
ENCODINGS = {"fedavg-float16": "float16", "fedavg-int8": "int8"}
"""Rows that are FedAvg with another encoding of what travels."""


class LoneSite(ModelSite):
    """A site that can also learn alone, as it would without a federation, and as peers do between visits."""

    def learn(self) -> None:
        """One round's steps on the site's own model; the result is offered to the site's gate."""
        self._segmenter.load_adapter(self.own)
        seed = mix_seed(self._plan.training.seed, self.name, "alone", self.steps)
        cases = [(volume, mask) for _, volume, mask in self._train]
        done = finetune(self._segmenter, cases, self._plan.training, seed=seed)
        self.steps += done.steps
        self.own = done.tensors
        self._judge(done.tensors)

    def validated(self) -> dict[str, float]:
        """Validation case -> Dice of what serves."""
        return self._score(self.served)


def plan_of(row: str, members: Sequence[str], setting: Setting) -> Plan:
    """The plan of a row of the table."""
    methods = {**VARIANTS, "fedsm": f"fedsm:sites={','.join(members)};selector_steps=5;selector_rate=0.003"}
    method = "fedavg" if row in ENCODINGS else methods.get(row, row)
    return build_plan(
        model=setting.model,
        labels=LABELS[setting.dataset],
        name="benchmark",
        method=method,
        rounds=setting.rounds,
        quorum=len(members),
        round_deadline=3600.0,
        starters=(),
        gate_margin=0.0,
        checkpoint=None,
        seed=setting.seed,
        steps=setting.steps,
        learning_rate=LEARNING_RATE[setting.model],
        encoding=ENCODINGS.get(row, "float32"),
    )


def segmenter_of(plan: Plan, setting: Setting) -> Segmenter:
    """A model of its own."""
    segmenter = build_segmenter(plan.model, plan.labels)
    compute_in(segmenter.network, setting.precision)
    return segmenter


def sites_of(plan: Plan, members: Mapping[str, Part], setting: Setting) -> dict[str, LoneSite]:
    """Site by name, each with a model of its own."""
    return {
        name: LoneSite(name, plan, segmenter_of(plan, setting), parts["train"], parts["val"])
        for name, parts in members.items()
    }


def mean(scores: Mapping[str, float]) -> float:
    """Mean over cases."""
    return fmean(scores.values())


def common_site(plan: Plan, members: Mapping[str, Part], setting: Setting) -> LoneSite:
    """All hospitals' cases in one place."""

    def all_of(part: str) -> list[Case]:
        return [case for parts in members.values() for case in parts[part]]

    return LoneSite("pooled", plan, segmenter_of(plan, setting), all_of("train"), all_of("val"))
