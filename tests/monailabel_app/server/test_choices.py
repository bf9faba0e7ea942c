"""Active learning through MONAI Label's own endpoint."""

from __future__ import annotations

from typing import Any

import pytest
import requests

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("strategy", ["first", "random", "uncertainty", "disagreement", "diversity"])
def test_every_strategy_offers_an_open_case_and_says_why(site: Any, strategy: str) -> None:
    assert strategy in site.get("/info/").json()["strategies"]
    reply = requests.post(f"{site.url}/activelearning/{strategy}", json={}, timeout=60)
    assert reply.status_code == 200, reply.text
    offered = reply.json()
    assert offered["id"] in site.get("/datastore/?output=all").json()["objects"]
    assert offered["reason"]
    assert "path" not in offered
