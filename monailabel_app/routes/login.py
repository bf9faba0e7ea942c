"""``/auth/``: MONAI Label's login flow over the site's own users; 404 where there are none."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Depends
from fastapi.security import OAuth2PasswordRequestForm

from monailabel_app.app_context import Site
from monailabel_app.errors import NotFound
from monailabel_app.routes.access import CurrentSite, Viewer

__all__ = ["router"]

router = APIRouter(prefix="/auth", tags=["Auth"])


def _enabled(site: Site) -> Site:
    if not site.authenticator.enabled:
        raise NotFound("this site has no users: it serves its own machine without login", "go on without a token")
    return site


@router.get("/", summary="Check If Auth is Enabled")
def auth_enabled(site: CurrentSite) -> dict[str, Any]:
    """200 where callers must log in, 404 where not."""
    _enabled(site)
    return {"enabled": True, "client_id": "fedseg", "realm": ""}


@router.post("/token", summary="Fetch new access code/token")
def access_token(site: CurrentSite, form: Annotated[OAuth2PasswordRequestForm, Depends()]) -> dict[str, Any]:
    """A token for a password.

    Raises:
        Unauthorised: user name or password is wrong.
    """
    authenticator = _enabled(site).authenticator
    token = authenticator.login(form.username, form.password)
    return {"access_token": token, "token_type": "bearer", "expires_in": int(authenticator.lifetime_s)}


@router.get("/token/valid", summary="Check If current token is Valid")
def valid_token(site: CurrentSite, user: Viewer) -> dict[str, Any]:
    """The caller, in MONAI Label's form."""
    _enabled(site)
    return {"username": user.name, "email": None, "name": user.name, "roles": [user.role]}
