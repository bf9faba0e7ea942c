"""FedSM (Xu et al., CVPR 2022, arXiv 2203.10144): a global model, personal models, and a selector.

Three groups of tensors travel, told apart by prefix:

- ``global/<name>``: the global model; weighted mean.
- ``personal/<name>``: each site's own model; SoftPull (:mod:`fed_backend.methods.softpull`).
- ``selector/<name>`` with ``selector_m/<name>``, ``selector_v/<name>`` (Adam's moments) and
  ``selector_steps`` (Adam's step count, shape (1,)): the network that names the site an image looks
  like; plain mean. A site sees one class only, so without common moments the selector's
  optimiser forgets at every site what the others taught it.

The paper weights by local steps. For the global model these are proportional to the examples at one
epoch a round; here sites take equal numbers of steps, so examples are the default weight. The selector
takes equally many full-batch steps everywhere, so sites count equally: weighted by examples it took
every image for one of the large sites'.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from fed_backend.errors import PlanError
from fed_backend.methods.base import Update
from fed_backend.methods.mixing import checked, mix, select, weighted_mean, weights_of
from fed_backend.methods.settings import Settings
from fed_backend.methods.softpull import softpull_rows
from fed_backend.payload import Tensors
from fed_backend.plan import Plan

__all__ = [
    "FIRST_MOMENT",
    "GLOBAL",
    "HEAD_BIAS",
    "PERSONAL",
    "PREFIXES",
    "SECOND_MOMENT",
    "SELECTOR",
    "SELECTOR_STEPS",
    "FedSM",
    "FedSMSettings",
    "fedsm_layout",
    "segmentation_part",
    "sites_of",
]

GLOBAL = "global/"
PERSONAL = "personal/"
SELECTOR = "selector/"
FIRST_MOMENT = "selector_m/"
SECOND_MOMENT = "selector_v/"
SELECTOR_STEPS = "selector_steps"
PREFIXES = (GLOBAL, PERSONAL, SELECTOR, FIRST_MOMENT, SECOND_MOMENT, SELECTOR_STEPS)
"""Of every name in a payload of FedSM."""
HEAD_BIAS = "head.bias"
"""The selector's tensor with one value per site."""

Shapes = Mapping[str, tuple[int, ...]]


def fedsm_layout(adapter: Shapes, selector: Shapes) -> dict[str, tuple[int, ...]]:
    """The ``adapter`` table of a FedSM plan.

    Args:
        adapter: name -> shape of the segmentation adapter.
        selector: name -> shape of the selector's parameters.
    """
    layout = {prefix + name: tuple(shape) for prefix in (GLOBAL, PERSONAL) for name, shape in adapter.items()}
    for prefix in (SELECTOR, FIRST_MOMENT, SECOND_MOMENT):
        layout |= {prefix + name: tuple(shape) for name, shape in selector.items()}
    return {**layout, SELECTOR_STEPS: (1,)}


def sites_of(plan: Plan) -> tuple[str, ...]:
    """The selector's classes under a plan that lists FedSM among its methods; empty under another."""
    if FedSM.name not in plan.methods:
        return ()
    return FedSM(plan.under(FedSM.name)).settings.sites


def segmentation_part(adapter: Shapes) -> dict[str, tuple[int, ...]]:
    """The table of one segmentation model in a plan's ``adapter``, which is the table itself but for FedSM."""
    models = {n.removeprefix(GLOBAL): tuple(s) for n, s in adapter.items() if n.startswith(GLOBAL)}
    return models or {name: tuple(shape) for name, shape in adapter.items()}


@dataclass(frozen=True)
class FedSMSettings:
    """Settings of FedSM.

    Attributes:
        sites: the sites in the order of the selector's classes.
        own: lambda of SoftPull.
        gamma: share of a site above which its personal model answers instead of the global one.
        equal: weight sites equally in the global model, instead of by examples.
        selector_steps: full-batch steps of the selector in a round.
        selector_rate: learning rate of the selector's Adam.
    """

    sites: tuple[str, ...]
    own: float
    gamma: float
    equal: bool
    selector_steps: int
    selector_rate: float


class FedSM:
    """Averages the global model and the selector, pulls the personal models.

    Settings:
        sites: names with commas between them, in the order of the selector's classes. Required.
        lambda: of SoftPull, 0.7 (paper).
        gamma: of the routing, 0.9 (paper); sites calibrate it on their validation cases.
        weights: ``examples`` (default) or ``equal``; of the global model.
        selector_steps: full-batch steps of the selector in a round, 1 (paper's code).
        selector_rate: learning rate of its Adam, 1e-3 (paper).
        lora_average: as in FedAvg. With ``products`` the pulled product is the best rank-r fit;
            only ``factors`` keeps the mean of the factors exactly.

    Raises:
        PlanError: the plan's adapter is not a :func:`fedsm_layout`, or the selector's classes are
            not the sites.
    """

    name = "fedsm"
    bears_noise = False
    """Noise makes Adam's second moments negative."""
    exact = (FIRST_MOMENT, SECOND_MOMENT, SELECTOR_STEPS)
    """Squared gradients are below what float16 can hold, and Adam divides by their roots."""

    def __init__(self, plan: Plan) -> None:
        names = ("sites", "lambda", "gamma", "weights", "selector_steps", "selector_rate", "lora_average")
        settings = Settings(plan, *names)
        self.settings = FedSMSettings(
            sites=settings.words("sites", ""),
            own=settings.number("lambda", 0.7, low=0, high=1),
            gamma=settings.number("gamma", 0.9, low=0, high=1),
            equal=settings.choice("weights", "examples", ("examples", "equal")) == "equal",
            selector_steps=settings.count("selector_steps", 1, low=1),
            selector_rate=settings.number("selector_rate", 1e-3, low=1e-6, high=1),
        )
        self._products = settings.products()
        self._shapes = dict(plan.adapter)
        _check_layout(self._shapes)
        classes = self._shapes[SELECTOR + HEAD_BIAS]
        sites = self.settings.sites
        if len(set(sites)) != len(sites) or classes != (len(sites),):
            raise PlanError(
                f"the selector has {classes} classes for the sites {', '.join(sites) or '(none)'}",
                "list every site once in the setting 'sites'",
            )

    def shared_keys(self) -> frozenset[str]:
        return frozenset(self._shapes)

    def aggregate(self, updates: Sequence[Update]) -> Mapping[str, Tensors]:
        updates = checked(updates, self._shapes)
        for update in updates:
            self.check(update)
        even = [1 / len(updates)] * len(updates)
        weights = even if self.settings.equal else weights_of([update.examples for update in updates])
        common = weighted_mean(select(updates, GLOBAL), weights, products=self._products)
        for prefix in (SELECTOR, FIRST_MOMENT, SECOND_MOMENT, SELECTOR_STEPS):
            common |= weighted_mean(select(updates, prefix), even)
        rows = softpull_rows(len(updates), self.settings.own)
        pulled = mix(select(updates, PERSONAL), rows, products=self._products)
        return {site: {**common, **personal} for site, personal in pulled.items()}

    def check(self, update: Update) -> None:
        """Refuse a site that the selector does not know, and moments that Adam cannot have."""
        if update.site not in self.settings.sites:
            raise ValueError(f"the selector has no class for {update.site!r}: {', '.join(self.settings.sites)}")
        for name, tensor in update.tensors.items():
            if name.startswith((SECOND_MOMENT, SELECTOR_STEPS)) and (tensor < 0).any():
                raise ValueError(f"the update of {update.site!r} holds negative values in tensor {name!r}")


def _check_layout(shapes: Shapes) -> None:
    def part(prefix: str) -> dict[str, tuple[int, ...]]:
        return {n.removeprefix(prefix): s for n, s in shapes.items() if n.startswith(prefix)}

    adapter, selector = part(GLOBAL), part(SELECTOR)
    if not adapter or HEAD_BIAS not in selector or shapes != fedsm_layout(adapter, selector):
        raise PlanError(
            "the plan's adapter does not list a global model, personal models of the same tensors, "
            "a selector, and its moments",
            "make the adapter table with fed_backend.methods.fedsm.fedsm_layout",
        )
