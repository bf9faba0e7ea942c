"""Which model a site goes on with among peers (GCML): what its last visit left, whether or not that serves.

What serves is the gate's to decide. A gate with few cases refuses many a small step, and a model that began anew from
the champion at every visit would learn the same step again and again; hub and sites of a central federation do not
begin anew either. Once the champion is changed otherwise (the site learned, somebody promoted or rolled back), the
champion is what the site goes on with.
"""

from __future__ import annotations

from fed_backend.plan import Plan
from monailabel_app.errors import NotFound
from monailabel_app.state.site import SiteState

__all__ = ["own_model", "remember_own_model"]


def own_model(state: SiteState, plan: Plan) -> str:
    """Id of the version that this site lends, and trains when visited."""
    store = state.versions(plan.model.name)
    champion = store.champion()
    known = state.settings.get(_key(plan), {})
    if known.get("champion") != champion:
        return champion
    try:
        return store.get(known["version"]).id
    except NotFound:  # deleted to save space
        return champion


def remember_own_model(state: SiteState, plan: Plan, version: str) -> None:
    """Go on with a version for as long as what serves now serves."""
    champion = state.versions(plan.model.name).champion()
    state.settings.set(_key(plan), {"version": version, "champion": champion})


def _key(plan: Plan) -> str:
    return f"own_model:{plan.sha256}"
