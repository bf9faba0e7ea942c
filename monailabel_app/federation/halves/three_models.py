"""FedSM at a site: a global model, the site's personal model, and the selector that routes between them.

The paper's super model lets the personal model of *any* site answer. Here a site holds the global
model and its own personal one; the others' stay with their sites. An image that the selector does not
take for the site's own therefore gets the global model, whether it takes it for another's or nobody's.
"""

from __future__ import annotations

from collections.abc import Mapping

from fed_backend.errors import PlanError
from fed_backend.methods.fedsm import GLOBAL, PERSONAL, PREFIXES, SELECTOR, FedSM
from fed_backend.objectives.routing import calibrate_gamma
from fed_backend.objectives.selector import Selector, SelectorTraining
from fed_backend.payload import Tensors
from fed_backend.plan import Plan
from monailabel_app.federation.halves.base import Score, Work
from monailabel_app.federation.routed import routing_of, seen_by_selector, shares_of
from monailabel_app.imaging.volume import Volume

__all__ = ["ThreeModels"]


class ThreeModels:
    """See :class:`monailabel_app.federation.halves.base.SiteHalf`.

    Both models take the plan's steps in a round, each on its own optimiser; the selector takes its
    few full-batch steps beside them.

    Raises:
        PlanError: the selector has no class for this site.
    """

    def __init__(self, plan: Plan, method: FedSM, site: str) -> None:
        sites = method.settings.sites
        if site not in sites:
            raise PlanError(
                f"the selector of method 'fedsm' has no class for site {site!r}: {', '.join(sites)}",
                "agree on a new plan that lists every site in the setting 'sites'",
            )
        self.steps = 2 * plan.training.steps
        self._training = plan.training
        self._settings = method.settings
        self._own = sites.index(site)
        self._seed = plan.model.seed
        self._names = [name.removeprefix(GLOBAL) for name in plan.adapter if name.startswith(GLOBAL)]

    def beginning(self, base: Tensors) -> Tensors:
        selector = SelectorTraining(self._selector()).read()
        models = {prefix + name: base[name] for prefix in (GLOBAL, PERSONAL) for name in self._names}
        return {**models, **selector}

    def train(self, work: Work, start: Tensors) -> Tensors:
        rest = _rest(start)
        common = work.fit({**rest, **_part(start, GLOBAL)}, self._training)
        personal = work.fit({**rest, **_part(start, PERSONAL)}, self._training, seed=work.seed + 1)
        selector = self._selector()
        training = SelectorTraining(selector, learning_rate=self._settings.selector_rate)
        training.write(start)
        slices = seen_by_selector([case[0] for case in work.cases])
        for _ in range(self._settings.selector_steps):
            training.step(slices, self._own)
        return {
            **{name: personal[name] for name in personal if name not in self._names},
            **{GLOBAL + name: common[name] for name in self._names},
            **{PERSONAL + name: personal[name] for name in self._names},
            **training.read(),
        }

    def version(self, tensors: Tensors, cases: Mapping[str, Volume], score: Score) -> Tensors:
        """The personal model under the plain names, the rest beside it; gamma from the validation cases."""
        rest = _rest(tensors)
        common, personal = {**rest, **_part(tensors, GLOBAL)}, {**rest, **_part(tensors, PERSONAL)}
        selector = _part(tensors, SELECTOR)
        gamma = self._settings.gamma
        if cases:
            for_global, for_personal = score(common), score(personal)
            named = sorted(cases)
            shares = [float(shares_of(selector, cases[case])[self._own]) for case in named]
            gains = [for_personal[case] - for_global[case] for case in named]
            gamma = calibrate_gamma(shares, gains, len(self._settings.sites), default=gamma)
        return {**personal, **routing_of(_part(tensors, GLOBAL), selector, gamma, self._own)}

    def _selector(self) -> Selector:
        return Selector(len(self._settings.sites), seed=self._seed)


def _part(tensors: Tensors, prefix: str) -> Tensors:
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}


def _rest(tensors: Tensors) -> Tensors:
    """What the plan lets not travel: it stays at the site, under plain names."""
    return {name: tensor for name, tensor in tensors.items() if not name.startswith(PREFIXES)}
