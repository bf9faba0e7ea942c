"""Size, sender and identifiers, checked before any route runs."""

from __future__ import annotations

import asyncio
import importlib
import json
import pkgutil
import re
from pathlib import Path
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message

from monailabel_app.auth import Authenticator, write_user
from monailabel_app.errors import SiteError
from monailabel_app.middleware import Authentication, SafeIds, UploadLimit, check_id


async def _echo(request: Request) -> JSONResponse:
    user = request.state.user if hasattr(request.state, "user") else None
    return JSONResponse({"bytes": len(await request.body()), "user": user and [user.name, user.role]})


def application() -> Starlette:
    app = Starlette()
    app.add_route("/{path:path}", _echo, methods=["GET", "PUT"])
    return app


def call(
    app: ASGIApp,
    path: str = "/x",
    *,
    query: str = "",
    headers: dict[str, str] | None = None,
    chunks: tuple[bytes, ...] = (b"",),
) -> tuple[int, Any]:
    """One request straight into an ASGI app, its body in ``chunks``."""
    sent: list[Message] = []
    parts = [{"type": "http.request", "body": c, "more_body": i + 1 < len(chunks)} for i, c in enumerate(chunks)]

    async def receive() -> Message:
        return parts.pop(0) if parts else {"type": "http.disconnect"}

    async def send(message: Message) -> None:
        sent.append(message)

    scope = {
        "type": "http",
        "method": "PUT",
        "path": path,
        "raw_path": path.encode(),
        "query_string": query.encode(),
        "headers": [(k.lower().encode(), v.encode()) for k, v in {"host": "127.0.0.1:8000", **(headers or {})}.items()],
    }
    asyncio.run(app(scope, receive, send))  # type: ignore[arg-type]
    body = b"".join(m.get("body", b"") for m in sent)
    return sent[0]["status"], json.loads(body)


@pytest.mark.parametrize("value", ["case-1", "sub 01", "Größe", "a.b", "", "v0003-1a2b3c", "x" * 200])
def test_identifiers_pass(value: str) -> None:
    assert check_id(value, "image") == value


@pytest.mark.parametrize(
    "value", ["..", "../x", "a/b", "/etc/passwd", "a\\b", "C:\\x", "a..b", ".", "~root", "a\x00b", "a\nb", "x" * 201]
)
def test_everything_that_could_be_a_path_is_refused(value: str) -> None:
    with pytest.raises(SiteError, match="is not an identifier"):
        check_id(value, "image")


@pytest.mark.parametrize(
    "query", ["image=..%2Fx", "tag=%2Fetc", "id=a%5Cb", "label=a%00", "a=1&session_id=..", "version=../.."]
)
def test_paths_in_queries_are_answered_400(query: str) -> None:
    status, body = call(SafeIds(application()), query=query)
    assert status == 400
    assert set(body) == {"error", "detail", "hint"}
    assert body["hint"]


def test_other_queries_pass() -> None:
    assert call(SafeIds(application()), query="image=case-1&path=/anything")[0] == 200


def test_small_bodies_pass_whole() -> None:
    assert call(UploadLimit(application(), 10), chunks=(b"12345", b"67890")) == (200, {"bytes": 10, "user": None})


def test_an_announced_body_is_refused_before_it_is_read() -> None:
    status, body = call(UploadLimit(application(), 10), headers={"content-length": "11"}, chunks=(b"x" * 11,))
    assert status == 413
    assert body["error"] == "TooLarge"


def test_a_streamed_body_is_refused_where_it_gets_too_large() -> None:
    status, body = call(UploadLimit(application(), 10), chunks=(b"12345", b"67890", b"1"))
    assert (status, body["error"]) == (413, "TooLarge")


def test_without_users_the_caller_is_the_local_admin() -> None:
    assert call(Authentication(application(), Authenticator(None)))[1]["user"] == ["local", "admin"]


@pytest.mark.parametrize(
    "headers",
    [
        {"host": "evil.example:8000"},
        {"origin": "https://evil.example"},
        {"origin": "null"},
        {"host": "127.0.0.1.evil.example"},
    ],
)
def test_without_users_pages_of_other_origins_are_refused(headers: dict[str, str]) -> None:
    status, body = call(Authentication(application(), Authenticator(None)), headers=headers)
    assert (status, body["error"]) == (403, "Forbidden")


@pytest.mark.parametrize(
    "headers", [{"host": "localhost:80"}, {"host": "[::1]:80"}, {"origin": "http://127.0.0.1:3000"}]
)
def test_without_users_local_names_pass(headers: dict[str, str]) -> None:
    assert call(Authentication(application(), Authenticator(None)), headers=headers)[0] == 200


def test_with_users_a_token_is_needed(tmp_path: Path) -> None:
    users = tmp_path / "users.json"
    write_user(users, "ada", "admin", "correct horse")
    authenticator = Authenticator(users)
    app = Authentication(application(), authenticator)
    status, body = call(app)
    assert status == 401
    assert "/auth/token" in body["hint"]
    assert call(app, headers={"authorization": "Bearer nonsense"})[0] == 401
    token = authenticator.login("ada", "correct horse")
    for scheme in ("Bearer", "bearer"):
        assert call(app, headers={"authorization": f"{scheme} {token}"})[1]["user"] == ["ada", "admin"]
    assert call(app, "/auth/")[0] == 200
    assert call(app, "/auth/token")[0] == 200


def test_the_couriers_addresses_check_the_couriers_own_token(tmp_path: Path) -> None:
    users = tmp_path / "users.json"
    write_user(users, "ada", "admin", "correct horse")
    app = Authentication(application(), Authenticator(users))
    for path in ("/federation/courier/requests", "/federation/train", "/federation/offer"):
        assert call(app, path)[1]["user"] == ["courier", "viewer"]
    for path in ("/federation", "/federation/rounds", "/federation/courierx", "/federation/trainer"):
        assert call(app, path)[0] == 401


def courier_addresses() -> list[str]:
    """Of every route that asks for the courier's token."""
    from fastapi.dependencies.models import Dependant

    from monailabel_app import routes
    from monailabel_app.routes.roles import courier_only

    def asks(dependant: Dependant) -> bool:
        return dependant.call is courier_only or any(asks(one) for one in dependant.dependencies)

    modules = [
        importlib.import_module(f"{routes.__name__}.{info.name}") for info in pkgutil.iter_modules(routes.__path__)
    ]
    served = [route for module in modules if hasattr(module, "router") for route in module.router.routes]
    return [re.sub(r"{\w+}", "x", route.path) for route in served if asks(route.dependant)]


@pytest.mark.slow  # imports MONAI Label
def test_where_there_are_users_the_courier_reaches_every_address_of_its_own(tmp_path: Path) -> None:
    users = tmp_path / "users.json"
    write_user(users, "ada", "admin", "correct horse")
    app = Authentication(application(), Authenticator(users))
    addresses = courier_addresses()
    assert "/federation/train" in addresses
    stopped = [path for path in addresses if call(app, path, headers={"authorization": "Bearer its own"})[0] != 200]
    assert stopped == []
