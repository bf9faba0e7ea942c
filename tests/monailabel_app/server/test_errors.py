"""What a client is told when the site itself fails."""

from __future__ import annotations

import errno
import logging

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient

from monailabel_app.routes.errors import add_error_handlers


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT])
def test_a_full_disk_is_named_and_no_path_is(code: int, caplog: pytest.LogCaptureFixture) -> None:
    app = FastAPI()
    add_error_handlers(app)

    @app.put("/store")
    def store() -> None:
        raise OSError(code, "no room", "/state/patient-7.nii.gz")

    with caplog.at_level(logging.ERROR):
        reply = TestClient(app, raise_server_exceptions=False).put("/store")
    assert reply.status_code == 507
    assert "disk of the site is full" in reply.json()["detail"]
    assert "free disk space" in reply.json()["hint"]
    assert "the disk is full" in caplog.text
    assert "patient-7" not in reply.text
