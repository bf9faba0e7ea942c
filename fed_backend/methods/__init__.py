"""Federated methods by name: a dictionary of builders, one file per method."""

from __future__ import annotations

from collections.abc import Callable

from fed_backend.errors import PlanError
from fed_backend.methods.base import Method, Update
from fed_backend.methods.fedavg import FedAvg
from fed_backend.plan import Plan

__all__ = ["METHODS", "Method", "Update", "build_method"]

METHODS: dict[str, Callable[[Plan], Method]] = {"fedavg": FedAvg}


def build_method(plan: Plan) -> Method:
    """The plan's method.

    Raises:
        PlanError: no method of that name is installed.
    """
    try:
        return METHODS[plan.method.name](plan)
    except KeyError:
        raise PlanError(
            f"no federated method is called {plan.method.name!r}", f"choose one of: {', '.join(sorted(METHODS))}"
        ) from None
