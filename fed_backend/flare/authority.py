"""The administrator's half of joining: inviting sites, signing their requests, letting members go.

Works on the folder that `fedseg federation create` made: the hub's kit says who is a member, and
``admin/authority/`` holds the root key and what was signed with it. Commands that change something wait
for each other, and begin with what the one before left.
"""

from __future__ import annotations

import datetime
import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from fed_backend import __version__
from fed_backend.errors import ProvisionError
from fed_backend.flare.certificates import CERTIFICATE, common_name, key_sha256
from fed_backend.flare.invitation import Invitation
from fed_backend.flare.kit import hold, load_kit, write_json_atomic
from fed_backend.flare.lineage import Lineage
from fed_backend.flare.provisioning import check_site_name, organisation
from fed_backend.methods.fedsm import sites_of

__all__ = ["Authority", "Member"]

VALID_DAYS = 360
_MIN_KEY_BITS = 2048
_WAIT_S = 10.0  # a command takes a second or two


@dataclass(frozen=True)
class Member:
    """A site of the federation; ``ends`` is when its certificate does, ``None`` before it has one."""

    name: str
    ends: datetime.datetime | None


class Authority:
    """The administration of one federation.

    Args:
        folder: what `fedseg federation create` (or `fedseg provision`) made.

    Raises:
        ProvisionError: it is no such folder, or its root key is not there.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder.resolve()
        self._hub = load_kit(self._folder / "hub", "hub")
        self._signed = self._folder / "admin" / "authority" / "signed.json"
        try:
            stored = json.loads((self._folder / "admin" / "authority" / "cert.json").read_text(encoding="utf-8"))
            key = serialization.load_pem_private_key(str(stored["root_pri_key"]).encode(), password=None)
            self._root = x509.load_pem_x509_certificate(str(stored["root_cert"]).encode())
        except (OSError, ValueError, KeyError, TypeError):
            raise ProvisionError(
                f"the root key of {folder.name} cannot be read",
                "work on the administrator's copy of the federation",
            ) from None
        if not isinstance(key, rsa.RSAPrivateKey):
            raise ProvisionError(f"the root key of {folder.name} is no RSA key", "make the federation anew")
        self._key = key

    def members(self) -> list[Member]:
        """All members, by name."""
        signed = self._read_signed()
        return [
            Member(site, datetime.datetime.fromisoformat(signed[site]["ends"]) if site in signed else None)
            for site in sorted(self._hub.sites)
        ]

    def invite(self, site: str) -> bytes:
        """Make a site a member, and the file that lets it join; a member that has not joined yet is invited again.

        A running hub takes the new member in within seconds, for the rounds that begin after.

        Raises:
            ProvisionError: the name cannot be used, the site has joined already, or FedSM's selector,
                which the plan fixes, has no class for it.
            FederationError: another such command is at work, and does not end.
        """
        with self._alone():
            if site in self._read_signed() and site in self._hub.sites:
                raise ProvisionError(f"site {site!r} has joined already", "revoke it first if it must join anew")
            others = [name for name in self._hub.sites if name != site]
            check_site_name(site, others)
            if (known := sites_of(self._hub.plan)) and site not in known:
                raise ProvisionError(f"the plan's selector knows the sites {', '.join(known)} only", "make a new plan")
            self._set_sites([*others, site])
        return self._invitation(site).to_bytes()

    def sign(self, request: Path) -> bytes:
        """Sign a member's request; returns the certificate as PEM.

        Only the name and the key are taken from the request. A second request with the same key
        renews the certificate; one with another key is refused until the site was revoked.

        Raises:
            ProvisionError: no request, a forged one, or not from an invited site.
            FederationError: another such command is at work, and does not end.
        """
        asked = _read_request(request)
        site, digest = common_name(asked.subject), key_sha256(asked)
        with self._alone():
            if site not in self._hub.sites:
                raise ProvisionError(f"{site!r} is no invited site", "invite it first: `fedseg federation invite`")
            signed = self._read_signed()
            if site in signed and signed[site]["key_sha256"] != digest:
                raise ProvisionError(
                    f"site {site!r} holds a certificate for another key",
                    "if the site lost its key: `fedseg federation revoke`, invite it again, and sign its new request",
                )
            certificate = self._issue(asked, site)
            signed[site] = {"key_sha256": digest, "ends": certificate.not_valid_after_utc.isoformat()}
            write_json_atomic(self._signed, signed)
        return certificate.public_bytes(serialization.Encoding.PEM)

    def revoke(self, site: str) -> None:
        """Take a site out: a running hub hears nothing of it any more, whatever certificate it holds.

        FLARE knows sites by their certified names. If the site's key may be in other hands, invite it under
        another name: a site that is invited again under the same name lets the old certificate in too.

        Raises:
            ProvisionError: it is no member.
            FederationError: another such command is at work, and does not end.
        """
        with self._alone():
            if site not in self._hub.sites:
                raise ProvisionError(f"{site!r} is no member", f"members are: {', '.join(sorted(self._hub.sites))}")
            self._take_out(site)

    def forget(self, site: str) -> Lineage:
        """Take a site out, and have the hub leave what descends from its updates out of all rounds to come.

        A running hub does so within a second, and stops a run that is at work; another one when it starts.

        Returns:
            What the hub's folder here knows of its aggregates, as it was before.

        Raises:
            ProvisionError: it is no member, and no aggregate that is known here has an update of it.
            FederationError: another such command is at work, and does not end.
        """
        with self._alone():
            lineage = Lineage(self._hub.folder / "state" / "lineage", self._hub.plan.sha256)
            if site in self._hub.sites:
                self._take_out(site)
            elif not lineage.after(site):
                raise ProvisionError(
                    f"{site!r} is no member, and no aggregate of this hub has an update of it",
                    f"members are: {', '.join(sorted(self._hub.sites))}",
                )
            now = datetime.datetime.now(datetime.UTC).isoformat(timespec="milliseconds")
            self._write(forget={**self._hub.forgetting(), site: now})
        return lineage

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """No other command changes the federation meanwhile; its members are those of now."""
        what, hint = "another command that changes this federation", "try again once it has ended"
        with hold(self._signed.with_name("lock"), what, wait_s=_WAIT_S, hint=hint):
            self._hub = load_kit(self._hub.folder, "hub")
            yield

    def _take_out(self, site: str) -> None:
        signed = self._read_signed()
        signed.pop(site, None)
        self._set_sites([name for name in self._hub.sites if name != site])
        write_json_atomic(self._signed, signed)

    def _invitation(self, site: str) -> Invitation:
        hub = self._hub
        root = self._root.public_bytes(serialization.Encoding.PEM).decode()
        return Invitation(
            site=site,
            host=hub.host,
            port=hub.port,
            plan=hub.plan.as_json(),
            plan_sha256=hub.plan.sha256,
            root=root,
            version=__version__,
        )

    def _issue(self, asked: x509.CertificateSigningRequest, site: str) -> x509.Certificate:
        from nvflare.lighter.utils import Identity, generate_cert

        now = datetime.datetime.now(datetime.UTC)
        ends = min(now + datetime.timedelta(days=VALID_DAYS), self._root.not_valid_after_utc)
        certificate = generate_cert(
            subject=Identity(site, organisation(site)),
            issuer=Identity(common_name(self._root.subject)),
            signing_pri_key=self._key,
            subject_pub_key=asked.public_key(),
            not_valid_before=now - datetime.timedelta(minutes=5),  # the site's clock may be behind
            not_valid_after=ends,
        )
        assert isinstance(certificate, x509.Certificate)
        return certificate

    def _set_sites(self, sites: Sequence[str]) -> None:
        self._write(sites=list(sites))

    def _write(self, **changes: Any) -> None:
        path = self._hub.folder / "federation.json"
        data: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        write_json_atomic(path, {**data, **changes}, mode=0o644)
        self._hub = load_kit(self._hub.folder, "hub")

    def _read_signed(self) -> dict[str, dict[str, str]]:
        if not self._signed.is_file():
            return self._provisioned()
        try:
            stored: dict[str, dict[str, str]] = json.loads(self._signed.read_text(encoding="utf-8"))
        except ValueError:
            raise ProvisionError(f"{self._signed.name} is damaged", "restore it from a copy of the admin kit") from None
        return stored

    def _provisioned(self) -> dict[str, dict[str, str]]:
        """Members whose kits were made here, key and all."""
        found = {}
        for path in sorted(self._folder.glob(f"sites/*/{CERTIFICATE}")):
            certificate = x509.load_pem_x509_certificate(path.read_bytes())
            ends = certificate.not_valid_after_utc.isoformat()
            found[common_name(certificate.subject)] = {"key_sha256": key_sha256(certificate), "ends": ends}
        return found


def _read_request(path: Path) -> x509.CertificateSigningRequest:
    hint = "give the .csr file that `fedseg site join` wrote at the site"
    try:
        request = x509.load_pem_x509_csr(path.read_bytes())
        genuine = request.is_signature_valid
    except (OSError, ValueError, InvalidSignature):
        raise ProvisionError(f"{path.name} is no certificate request", hint) from None
    key = request.public_key()
    if not genuine:
        raise ProvisionError(f"the request {path.name} is not signed with its own key", hint)
    if not isinstance(key, rsa.RSAPublicKey) or key.key_size < _MIN_KEY_BITS:
        raise ProvisionError(f"the request {path.name} has no RSA key of {_MIN_KEY_BITS} bits or more", hint)
    return request
