"""Reading a method's settings from the plan, so that a misspelt or impossible one never passes silently."""

from __future__ import annotations

import math

from fed_backend.errors import PlanError
from fed_backend.plan import Plan

__all__ = ["Settings"]


class Settings:
    """The settings of a plan's method.

    Args:
        plan: the plan.
        known: names that the method understands.

    Raises:
        PlanError: the plan names another setting.
    """

    def __init__(self, plan: Plan, *known: str) -> None:
        self._method = plan.method.name
        self._values = plan.method.settings
        if unknown := sorted(self._values.keys() - set(known)):
            raise PlanError(
                f"method {self._method!r} has no setting {unknown[0]!r}", f"it takes: {', '.join(sorted(known))}"
            )

    def number(self, name: str, default: float, *, low: float = -math.inf, high: float = math.inf) -> float:
        """A number in low..high, both included."""
        value = self._values.get(name, default)
        if isinstance(value, bool) or not isinstance(value, int | float) or not low <= value <= high:
            raise PlanError(f"{name} is {value!r}", f"choose a number from {low:g} to {high:g}")
        return float(value)

    def count(self, name: str, default: int, *, low: int = 0) -> int:
        """A whole number, at least ``low``."""
        value = self._values.get(name, default)
        if isinstance(value, bool) or not isinstance(value, int) or value < low:
            raise PlanError(f"{name} is {value!r}", f"choose a whole number from {low}")
        return value

    def choice(self, name: str, default: str, options: tuple[str, ...]) -> str:
        """One of ``options``."""
        value = self._values.get(name, default)
        if not isinstance(value, str) or value not in options:
            raise PlanError(f"{name} is {value!r}", f"choose {' or '.join(map(repr, options))}")
        return value

    def flag(self, name: str, default: bool) -> bool:
        """True or false."""
        value = self._values.get(name, default)
        if not isinstance(value, bool):
            raise PlanError(f"{name} is {value!r}", "choose true or false")
        return value

    def words(self, name: str, default: str) -> tuple[str, ...]:
        """A comma-separated list, without blanks around its parts."""
        value = self._values.get(name, default)
        if not isinstance(value, str):
            raise PlanError(f"{name} is {value!r}", "write names with commas between them")
        return tuple(part.strip() for part in value.split(",") if part.strip())

    def products(self) -> bool:
        """``lora_average``: whether LoRA pairs are averaged as products (default) or factor by factor."""
        return self.choice("lora_average", "products", ("products", "factors")) == "products"
