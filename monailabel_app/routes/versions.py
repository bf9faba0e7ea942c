"""``/versions``: what a site's models were and are, why, and the way back."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict, Field

from monailabel_app.errors import NotFound
from monailabel_app.routes.roles import Reviewer, Site, Viewer
from monailabel_app.state.retention import KEEP_LAST
from monailabel_app.state.versions import Version, VersionStore

__all__ = ["router"]

router = APIRouter(prefix="/versions", tags=["Versions"])


class Reason(BaseModel):
    """Why a person changes the version that serves."""

    model_config = ConfigDict(extra="forbid")

    reason: str = Field(default="", max_length=500)


class Retention(BaseModel):
    """What is kept: the newest so many, and always the champion and what it descends from."""

    model_config = ConfigDict(extra="forbid")

    keep_last: int = Field(ge=1, le=100_000)


@router.get("")
def list_versions(site: Site, user: Viewer, model: str | None = None) -> dict[str, Any]:
    """All versions, oldest first, and the champion of each model."""
    if model is not None and model not in site.state.models():
        raise NotFound(f"there is no model {model[:80]!r}", f"choose one of: {', '.join(site.state.models())}")
    models = [model] if model is not None else site.state.models()
    stores = [site.state.versions(name) for name in models]
    return {
        "champion": {store.model: store.champion() for store in stores},
        "versions": [_summary(store, version) for store in stores for version in store.list()],
    }


@router.get("/{version}/report")
def version_report(site: Site, user: Viewer, version: str) -> dict[str, Any]:
    """Lineage, data and settings of a version, and why the gate accepted or refused it."""
    store = site.state.store_of(version)
    record = store.get(version)
    served = [entry for entry in store.history() if entry["version"] == version]
    return {
        **_summary(store, record),
        "record": record.model_dump(mode="json"),
        "verdict": store.verdict(version),
        "served": served,
    }


@router.post("/{version}/promote")
def promote(site: Site, user: Reviewer, version: str, body: Reason | None = None) -> dict[str, Any]:
    """Let a version serve by hand, whatever the gate said; ``warning`` repeats its objection."""
    store = site.state.store_of(version)
    warning = _objection(store, version)
    given = body.reason if body is not None else ""
    previous = store.promote(version, f"by {user.name}: {given or 'no reason given'}")
    return {"champion": version, "previous": previous, "warning": warning}


@router.get("/retention")
def get_retention(site: Site, user: Viewer) -> dict[str, int]:
    """How many of the newest versions are kept for certain, whatever became of them."""
    return {"keep_last": site.state.settings.get("keep_last", KEEP_LAST)}


@router.put("/retention")
def put_retention(site: Site, user: Reviewer, retention: Retention) -> dict[str, int]:
    """Change it; older versions that lead nowhere are deleted after the next learning or offer."""
    site.state.settings.set("keep_last", retention.keep_last)
    return get_retention(site, user)


@router.post("/{version}/rollback")
def rollback(site: Site, user: Reviewer, version: str, body: Reason | None = None) -> dict[str, Any]:
    """Let the champion's nearest ancestor that served serve again; ``version`` must be the champion."""
    store = site.state.store_of(version)
    given = body.reason if body is not None else ""
    champion = store.rollback(f"rolled back by {user.name}: {given or 'no reason given'}", version)
    return {"champion": champion, "previous": version}


def _objection(store: VersionStore, version: str) -> str | None:
    """Why the gate would rather not have this version serve."""
    state, reason = store.state_of(version)
    if state == "candidate":
        return "The gate has not judged this version: nothing shows that it is not worse."
    return reason if state == "refused" else None


def _summary(store: VersionStore, version: Version) -> dict[str, Any]:
    state, reason = store.state_of(version.id)
    fields = version.model_dump(mode="json")
    keys = ("id", "model", "parent", "origin", "created", "sha256", "bytes", "metrics")
    return {**{key: fields[key] for key in keys}, "state": state, "reason": reason}
