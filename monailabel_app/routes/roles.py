"""Who may call: users by role, the courier by its token.

Authentication puts the caller into ``request.state.user``; where it put none, the caller is the
local administrator of a site without users.
"""

from __future__ import annotations

import hmac
from collections.abc import Awaitable, Callable
from typing import Annotated

from fastapi import Depends, Request

from monailabel_app.auth import LOCAL_ADMIN, Role, User, role_at_least
from monailabel_app.errors import Forbidden, Unauthorised
from monailabel_app.state.context import SiteContext, get_context

__all__ = ["Admin", "Annotator", "Courier", "Reviewer", "Site", "Viewer", "require"]


def require(role: Role) -> Callable[[Request], Awaitable[User]]:
    """A dependency that yields the caller, who has at least ``role``.

    Raises (when called):
        Forbidden: the caller's role is weaker.
    """

    async def check(request: Request) -> User:  # async: a plain function would cost a thread change
        user: User = getattr(request.state, "user", None) or LOCAL_ADMIN
        if not role_at_least(user.role, role):
            raise Forbidden(f"{user.name!r} is {user.role}; this needs {role}", "ask an administrator of the site")
        return user

    return check


async def _context() -> SiteContext:
    return get_context()


Site = Annotated[SiteContext, Depends(_context)]
Viewer = Annotated[User, Depends(require("viewer"))]
Annotator = Annotated[User, Depends(require("annotator"))]
Reviewer = Annotated[User, Depends(require("reviewer"))]
Admin = Annotated[User, Depends(require("admin"))]


def courier_only(request: Request, site: Site) -> None:
    """Let the courier in: ``Authorization: Bearer <token of courier.token>``.

    Raises:
        Unauthorised: another token, or none.
    """
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    expected = site.state.courier_token()
    if scheme.lower() != "bearer" or not hmac.compare_digest(token.strip().encode(), expected.encode()):
        raise Unauthorised(
            "this address is for the site's courier, which shows the site's courier token",
            "start the courier with --token-file, the file courier.token of the site's state folder",
        )


Courier = Annotated[None, Depends(courier_only)]
