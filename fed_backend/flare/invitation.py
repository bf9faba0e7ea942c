"""An invitation: the one file from which a site makes its own kit.

It names the federation and nothing that runs: which classes a job may name and how FLARE is set up
is written at the site by the installed program.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Literal

from cryptography import x509
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from fed_backend import __version__
from fed_backend.errors import PlanError, ProvisionError
from fed_backend.flare.provisioning import check_host, check_site_name
from fed_backend.plan import Plan, parse_plan

__all__ = ["Invitation", "read_invitation"]

_LIMIT = 2**22  # the plan is nearly all of it


class Invitation(BaseModel):
    """What a site must know to join; none of it is secret.

    Attributes:
        format: of the file.
        site: name that the certificate will have.
        host: name under which the hub is reached.
        port: its TCP port.
        plan: the plan, as JSON values.
        plan_sha256: its hash.
        version: of the program at the hub; empty in invitations of the first version.
        root: certificate of the federation's authority, PEM.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    format: Literal["fedseg-invitation/1"] = "fedseg-invitation/1"
    site: str
    host: str
    port: int = Field(ge=1, le=65535)
    plan: dict[str, Any]
    plan_sha256: str
    version: str = ""
    root: str

    def to_bytes(self) -> bytes:
        """The file's content."""
        return (self.model_dump_json(indent=2) + "\n").encode()

    def parsed_plan(self) -> Plan:
        """The plan.

        Raises:
            PlanError: it is no valid plan.
        """
        return parse_plan(self.plan, "the invitation's plan")


def _works_with(version: str) -> bool:
    """Whether the hub's program and this one understand each other: major and minor version agree."""
    return not version or version.split(".")[:2] == __version__.split(".")[:2]


def read_invitation(path: Path) -> Invitation:
    """Read an invitation and check every value in it.

    Raises:
        ProvisionError: it is none, or was damaged.
    """
    hint = "ask the hub's administrator for the file that `fedseg federation invite` made"
    try:
        if path.stat().st_size > _LIMIT:
            raise ProvisionError(f"{path.name} is too large for an invitation", hint)
        invitation = Invitation.model_validate(json.loads(path.read_bytes()))
        x509.load_pem_x509_certificate(invitation.root.encode())
        plan = invitation.parsed_plan()
    except (OSError, ValidationError, ValueError, RecursionError, PlanError):
        raise ProvisionError(f"{path.name} is no invitation to a federation", hint) from None
    check_site_name(invitation.site)
    check_host(invitation.host)
    if not _works_with(invitation.version):
        wanted = ".".join(invitation.version.split(".")[:2])
        raise ProvisionError(
            f"the hub runs fedseg {invitation.version[:20]}, this site {__version__}",
            f"install version {wanted[:20]} here, or ask for an invitation once the hub is renewed",
        )
    if plan.sha256 != invitation.plan_sha256:
        raise ProvisionError(f"the plan in {path.name} was changed on its way", hint)
    return invitation
