"""MONAI Label's active-learning strategies over the running site; each says why it chose a case."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Any

from monailabel.interfaces.tasks.strategy import Strategy

from monailabel_app.learning.choice import choose_disputed, choose_diverse, choose_uncertain

if TYPE_CHECKING:
    from monailabel_app.app_context import Site

__all__ = ["STRATEGIES"]


class FirstCase(Strategy):  # type: ignore[misc]
    """The first open case by name."""

    def __init__(self, site: Site) -> None:
        super().__init__("First case without a correction, by name")
        self._site = site

    def __call__(self, request: dict[str, Any], datastore: Any) -> dict[str, Any] | None:
        cases = self._site.open_cases()
        return {"id": cases[0], "reason": "first by name"} if cases else None


class RandomCase(Strategy):  # type: ignore[misc]
    """An open case at random; ``seed`` in the request makes it repeatable."""

    def __init__(self, site: Site) -> None:
        super().__init__("Random case without a correction")
        self._site = site

    def __call__(self, request: dict[str, Any], datastore: Any) -> dict[str, Any] | None:
        cases = self._site.open_cases()
        chooser = random.Random(request["seed"]) if isinstance(request.get("seed"), int) else random.Random()  # noqa: S311 - no secret
        return {"id": chooser.choice(cases), "reason": "drawn at random"} if cases else None


class UncertainCase(Strategy):  # type: ignore[misc]
    """The open case on which the champion contradicts itself most."""

    def __init__(self, site: Site) -> None:
        super().__init__("Case on which the model is least sure")
        self._site = site

    def __call__(self, request: dict[str, Any], datastore: Any) -> dict[str, Any] | None:
        context = self._site.context
        return choose_uncertain(context.state, context.default_model, self._site.open_cases())


class DisputedCase(Strategy):  # type: ignore[misc]
    """The open case on which the champion and what a federation offered differ most."""

    def __init__(self, site: Site) -> None:
        super().__init__("Case on which the model in use and the federation's disagree")
        self._site = site

    def __call__(self, request: dict[str, Any], datastore: Any) -> dict[str, Any] | None:
        context = self._site.context
        return choose_disputed(context.state, context.default_model, self._site.open_cases())


class DiverseCase(Strategy):  # type: ignore[misc]
    """The open case that looks least like those corrected so far."""

    def __init__(self, site: Site) -> None:
        super().__init__("Case that looks least like those corrected so far")
        self._site = site

    def __call__(self, request: dict[str, Any], datastore: Any) -> dict[str, Any] | None:
        return choose_diverse(self._site.context.state, self._site.open_cases())


STRATEGIES = {
    "first": FirstCase,
    "random": RandomCase,
    "uncertainty": UncertainCase,
    "disagreement": DisputedCase,
    "diversity": DiverseCase,
}
"""Name that a client asks for -> strategy."""
