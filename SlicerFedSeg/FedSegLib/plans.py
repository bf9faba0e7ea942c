"""The plan of a federation as a person reads it before agreeing: ``GET /federation/plan``.

Only what decides about leaving the site is parsed; the rest of the plan stays in the file that sites exchange.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from .fields import Fields, parse_object
from .language import tr as _

_BYTES = {"float32": (4, 4), "float16": (2, 2), "int8": (1, 2)}
"""Bytes of a number by encoding: on the way to the hub, and back."""


@dataclass(frozen=True)
class PlanDetails:
    """What a plan asks of a site.

    Attributes:
        sha256: hash of exactly this plan; what is agreed to.
        methods: what rounds may be started with, the plan's own first.
        labels: structures of all sites.
        tensors, numbers: what travels: named arrays, and how many numbers in all.
        bytes_up, bytes_down: size of it per round.
        steps: gradient steps of a site in one round.
        starters: sites that may start rounds; empty for every one.
        robust: the rule by which the hub bears hostile updates; "" for none.
    """

    sha256: str
    methods: tuple[str, ...]
    labels: tuple[str, ...] = ()
    tensors: int = 0
    numbers: int = 0
    bytes_up: int = 0
    bytes_down: int = 0
    steps: int = 0
    quorum: int = 1
    starters: tuple[str, ...] = ()
    robust: str = ""


def plan_details(body: bytes) -> PlanDetails:
    """Parse ``GET /federation/plan``."""
    fields = Fields(parse_object(body, _("the plan")), _("the plan"))
    allowed = [fields.child("method"), *fields.children("alternatives")]
    tensors = fields.child("adapter")
    numbers = sum(_size(tensors, name) for name in tensors.keys())  # noqa: SIM118  not a dict
    up, down = _BYTES.get(fields.text("encoding", "float32"), (4, 4))
    return PlanDetails(
        sha256=fields.text("sha256", ""),
        methods=tuple(name for method in allowed if (name := method.text("name", ""))),
        labels=tuple(fields.child("labels").keys()),
        tensors=len(tensors.keys()),
        numbers=numbers,
        bytes_up=up * numbers,
        bytes_down=down * numbers,
        steps=fields.child("training").whole("steps", 0),
        quorum=fields.whole("quorum", 1),
        starters=tuple(str(name) for name in fields.items("starters")),
        robust=fields.child("robust").text("rule", ""),
    )


def _size(tensors: Fields, name: str) -> int:
    return math.prod(size for size in tensors.items(name) if isinstance(size, int))
