"""``/metrics`` for Prometheus and ``/health`` for whoever restarts what is down.

Where the site has users, ``/metrics`` is for them and for the bearer token in ``metrics.token`` of the
site's state folder; it counts and never names a case or a person. ``/health`` is open and says nothing else.
"""

from __future__ import annotations

import hmac
from collections import Counter
from collections.abc import Iterable

from fastapi import APIRouter, Request, Response
from fastapi.responses import JSONResponse
from prometheus_client.core import Metric

from fed_backend.monitoring import CONTENT_TYPE_LATEST, exposition, gauge
from monailabel_app import __version__
from monailabel_app.errors import SiteError, Unauthorised
from monailabel_app.federation.consent import Consent
from monailabel_app.federation.privacy import PrivacyLedger
from monailabel_app.routes.roles import Site
from monailabel_app.state.context import SiteContext

__all__ = ["router"]

router = APIRouter(tags=["Operations"])


@router.get("/metrics", response_class=Response)
def metrics(site: Site, request: Request) -> Response:
    """Figures of this site in Prometheus' text format."""
    if getattr(request.state, "user", None) is None:
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        right = hmac.compare_digest(token.strip().encode(), site.state.metrics_token().encode())
        if scheme.lower() != "bearer" or not right:
            raise Unauthorised("no valid token was sent", "send the token of metrics.token in the site's state folder")
    return Response(exposition(lambda: _figures(site)), media_type=CONTENT_TYPE_LATEST)


@router.get("/health")
def health(site: Site) -> JSONResponse:
    """200 while the site can work: it answers, and so do its records."""
    try:
        site.state.database.row("SELECT 1")
    except SiteError:
        return JSONResponse({"status": "unhealthy", "detail": "the site's records do not answer"}, 503)
    return JSONResponse({"status": "ok"})


def _figures(site: SiteContext) -> Iterable[Metric]:
    state = site.state
    yield gauge("info", "Version of the program.", {__version__: 1}, "version")
    yield gauge("corrections", "Corrections that annotators submitted.", len(state.corrections.list()))
    yield gauge("versions", "Versions of each model.", {m: len(state.versions(m).list()) for m in site.specs}, "model")
    yield gauge("jobs_active", "Jobs of the learner that wait or run.", len(state.jobs.active()))
    up = site.learner.pid is not None
    yield gauge("learner_up", "Whether the learner process runs; it starts with the first work.", up)
    yield gauge("audit_entries", "Entries of the audit log.", state.audit.head().entries)
    yield gauge("paused", "Whether the site takes no part in rounds for now.", state.settings.paused)
    yield gauge("courier_connected", "Whether the courier asks for work.", bool(site.desk.courier()["connected"]))
    runs = Counter[str](report.state for report in state.rounds.list())
    yield gauge("runs", "Runs of rounds that this site knows, by state.", runs, "state")
    if site.plan is not None:
        yield gauge(
            "plan_approved", "Whether the plan is approved here.", Consent(state.database).of(site.plan) is not None
        )
        if (spent := PrivacyLedger(state.database).summary(site.plan)) is not None:
            yield gauge("privacy_epsilon", "Epsilon spent under the plan.", spent["epsilon"])
            yield gauge("privacy_epsilon_site", "Epsilon spent by this site in all.", spent["site_epsilon"])
            yield gauge("privacy_updates", "Protected updates sent under the plan.", spent["updates"])
