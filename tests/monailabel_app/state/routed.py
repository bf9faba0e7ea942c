"""A site behind its routes, without a server, for the tests of both."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from fastapi import FastAPI, Request
from fastapi.testclient import TestClient

from fed_backend.plan import ModelSpec, Plan
from monailabel_app.auth import User
from monailabel_app.federation.rounds import RoundDesk
from monailabel_app.learning.learner import Learner
from monailabel_app.learning.setup import LearnerSetup
from monailabel_app.routes import corrections, federation, learning, peers, statistics, versions
from monailabel_app.routes.errors import add_error_handlers
from monailabel_app.state.context import SiteContext, set_context
from monailabel_app.state.site import SiteState

LABELS = {"tumour": 1}
PLAN = Plan(base_sha256="b" * 64, adapter={"w": (2, 3)}, labels=LABELS, max_payload_bytes=5000)


def tensors(value: float) -> dict[str, np.ndarray]:
    return {"w": np.full((2, 3), value, np.float32)}


@pytest.fixture
def site(state: SiteState) -> Iterator[SiteContext]:
    specs = {"unet": ModelSpec()}
    setup = LearnerSetup(site_name="A", studies=state.studies, specs=specs, labels=LABELS, plan=PLAN)
    context = SiteContext(
        site_name="A",
        state=state,
        studies=state.studies,
        plan=PLAN,
        specs=specs,
        labels=LABELS,
        learner=Learner(state, setup),
        desk=RoundDesk(state, PLAN, "A", patience_s=5),
    )
    state.versions("unet").ensure_base(tensors(0), PLAN.base_sha256)
    set_context(context)
    yield context
    set_context(None)


@pytest.fixture
def client(site: SiteContext) -> TestClient:
    app = FastAPI()

    @app.middleware("http")
    async def who(request: Request, call_next: Any) -> Any:
        role = request.headers.get("x-role")
        if role is not None:
            request.state.user = User(role, role)  # type: ignore[arg-type]
        return await call_next(request)

    for module in (learning, versions, corrections, federation, peers, statistics):
        app.include_router(module.router)
    add_error_handlers(app)
    return TestClient(app)


@pytest.fixture
def courier(site: SiteContext) -> dict[str, str]:
    return {"Authorization": f"Bearer {site.state.courier_token()}"}


@pytest.fixture
def approved(client: TestClient) -> None:
    """The site's administrator has approved the plan."""
    assert client.post("/federation/plan", json={"sha256": PLAN.sha256}).status_code == 200


def refused(reply: Any, status: int, error: str, words: str) -> None:
    assert reply.status_code == status, reply.text
    body = reply.json()
    assert body["error"] == error
    assert words in body["detail"]
    assert body["hint"]
