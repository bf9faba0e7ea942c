"""The example of docs/how-to/add-a-method.md: a robust mean, from the class to a federation that runs it."""

from __future__ import annotations

import inspect
import runpy
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from federations import SITES, method_plan

from fed_backend.errors import PlanError
from fed_backend.methods import METHODS, Update
from fed_backend.methods.mixing import checked
from fed_backend.methods.settings import Settings
from fed_backend.payload import Tensors, decode
from fed_backend.plan import Plan
from fed_backend.simulation import simulate

sys.path.insert(0, str(Path(__file__).parents[1] / "flare"))

from in_process import Site, small_plan


# [example]
class TrimmedMean:
    """Coordinate by coordinate the mean of what the sites sent, without the ``trim`` lowest and highest values.

    Yin et al. 2018 (arXiv 1803.01498). LoRA factors are treated like any tensor.

    Settings:
        trim: values left out at either end, 1; fewer where too few sites answered.
    """

    name = "trimmed"

    def __init__(self, plan: Plan) -> None:
        self._trim = Settings(plan, "trim").count("trim", 1)
        self._shapes = dict(plan.adapter)

    def shared_keys(self) -> frozenset[str]:
        return frozenset(self._shapes)

    def aggregate(self, updates: Sequence[Update]) -> Mapping[str, Tensors]:
        updates = checked(updates, self._shapes)
        trim = min(self._trim, (len(updates) - 1) // 2)
        mean: Tensors = {}
        for name in self._shapes:
            values = np.sort(np.stack([update.tensors[name].astype(np.float64) for update in updates]), axis=0)
            mean[name] = values[trim : len(updates) - trim].mean(axis=0).astype(np.float32)
        return {update.site: mean for update in updates}


# [example]


@pytest.fixture(autouse=True)
def registered(monkeypatch: pytest.MonkeyPatch) -> None:
    """In the project this is one line in ``fed_backend/methods/__init__.py``."""
    monkeypatch.setitem(METHODS, "trimmed", TrimmedMean)


CONFORMANCE = [
    check
    for name, check in runpy.run_path(str(Path(__file__).with_name("test_conformance.py"))).items()
    if name.startswith("test_") and list(inspect.signature(check).parameters) == ["name", "base"]
]


@pytest.mark.parametrize("base", ["sam", "unet"])
@pytest.mark.parametrize("check", CONFORMANCE, ids=lambda check: check.__name__.removeprefix("test_"))
def test_it_conforms(check: Callable[[str, str], None], base: str) -> None:
    check("trimmed", base)


def test_one_site_that_sends_nonsense_does_not_spoil_the_mean() -> None:
    plan = method_plan("trimmed", "unet")
    sent = [Update(s, {n: np.full(shape, k, np.float32) for n, shape in plan.adapter.items()}, 1)
            for s, k in zip(SITES, (1.0, 2.0, 3.0, 1e6), strict=True)]  # fmt: skip
    offered = TrimmedMean(plan).aggregate(sent)["east"]
    assert all((tensor == 2.5).all() for tensor in offered.values())


def test_its_settings_are_checked() -> None:
    with pytest.raises(PlanError, match="trim is -1"):
        TrimmedMean(method_plan("trimmed", "unet", trim=-1))


def test_a_federation_runs_it() -> None:
    plan = small_plan(method={"name": "trimmed"})
    sites = [_Member(Site(name, plan)) for name in SITES]
    list(simulate(plan, sites, 2))
    assert len({site.last for site in sites}) == 1
    assert decode(sites[0].last)[0].method == "trimmed"


class _Member:
    def __init__(self, site: Site) -> None:
        self.name, self._site, self.last = site.name, site, b""

    def train(self, data: bytes) -> bytes:
        return self._site.update(data)

    def offer(self, data: bytes) -> Mapping[str, Any]:
        self.last = data
        return {}


def test_the_guide_shows_this_very_class() -> None:
    guide = (Path(__file__).parents[3] / "docs" / "how-to" / "add-a-method.md").read_text(encoding="utf-8")
    example = Path(__file__).read_text(encoding="utf-8").split("# [example]")[1].strip()
    assert example in guide
