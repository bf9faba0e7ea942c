"""What an administrator's monitoring sees of a real site, and that its logs name nobody."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import requests

pytestmark = pytest.mark.slow


def test_a_site_tells_its_figures_and_its_health(site: Any) -> None:
    assert site.get("/health").json() == {"status": "ok"}
    told = site.get("/metrics")
    assert told.headers["content-type"].startswith("text/plain")
    assert "fedseg_learner_up " in told.text
    assert 'fedseg_versions{model="unet"}' in told.text
    assert "process_resident_memory_bytes" in told.text
    assert not [name for name in ("lps", "oblique", "thick") if name in told.text]


def test_where_there_are_users_figures_need_a_token(guarded: Any) -> None:
    assert guarded.get("/health").status_code == 200
    assert guarded.get("/metrics").status_code == 401
    token = (guarded.state / "metrics.token").read_text()
    assert guarded.get("/metrics", headers={"Authorization": f"Bearer {token}"}).status_code == 200
    assert guarded.get("/metrics", headers={"Authorization": "Bearer wrong"}).status_code == 401
    assert guarded.get("/versions", headers={"Authorization": f"Bearer {token}"}).status_code == 401
    assert (guarded.state / "metrics.token").stat().st_mode & 0o077 == 0


PATIENT = "MUSTERMANN_ERIKA_19700401"
AUTHOR = "dr.planted"
PASSWORD = "a planted secret"


def test_logs_name_no_patient_no_person_and_no_secret(
    named_site: Any, truth: Callable[[str, Path, Path], Path], until: Callable[..., Any], tmp_path: Path
) -> None:
    """A day's work under planted names, errors included; then every log is searched."""
    site = named_site
    login = {"username": AUTHOR, "password": PASSWORD, "grant_type": "password"}
    token = requests.post(f"{site.url}/auth/token", data=login, timeout=30).json()["access_token"]
    requests.post(f"{site.url}/auth/token", data={**login, "password": f"{PASSWORD} misspelt"}, timeout=30)
    session = requests.Session()
    session.headers["Authorization"] = f"Bearer {token}"

    def call(method: str, path: str, **options: Any) -> requests.Response:
        return session.request(method, site.url + path, timeout=120, **options)

    for case in (PATIENT, f"{PATIENT}-2"):
        assert call("POST", f"/infer/unet?image={case}&output=image").status_code == 200
        mask = truth(case, site.studies, tmp_path)
        params = json.dumps({"author": AUTHOR, "seconds": 3})
        with mask.open("rb") as file:
            sent = {"label": (mask.name, file)}
            saved = call("PUT", f"/datastore/label?image={case}&tag=final", data={"params": params}, files=sent)
        assert saved.status_code == 200, saved.text
    assert call("POST", "/activelearning/first").status_code == 200
    assert call("POST", f"/infer/unet?image={PATIENT}-of-nobody&output=image").status_code == 404
    broken = {"label": (f"{PATIENT}.nii.gz", b"no mask")}
    assert call("PUT", f"/datastore/label?image={PATIENT}&tag=final", files=broken).status_code >= 400
    assert call("POST", "/learning", json={"steps": 2}).status_code == 202
    until(lambda: call("GET", "/learning").json()["state"] in ("done", "failed"))
    for path in ("/corrections", "/versions", "/statistics", "/cases", "/info/", "/metrics"):
        call("GET", path)
    (site.studies / f"{PATIENT}-2.nii.gz").unlink()  # by hand; its label stays
    assert call("GET", "/datastore/").json()["total"] == 1
    assert call("DELETE", f"/datastore/image?id={PATIENT}").status_code == 200
    secrets = [(site.state / name).read_text().strip() for name in ("courier.token", "metrics.token")]
    logs = [site.log, *site.state.rglob("*.log"), *site.state.rglob("*log*.txt")]
    assert any(log.stat().st_size for log in logs)
    for log in logs:
        text = log.read_text(errors="replace")
        for word in (PATIENT, "MUSTERMANN", AUTHOR, PASSWORD, token, *secrets):
            lines = [line for line in text.splitlines() if word in line]
            assert not lines, f"{log.name} holds {word!r}: {lines[:2]}"
