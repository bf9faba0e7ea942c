"""Who takes part in a secure sum: keys of the sites, signed with their federation's certificates.

The hub carries these between the sites. It cannot put keys of its own in their place: the
federation's authority signs sites only, and its root key is not needed, and should not be, where
the hub runs. A hub's and an administrator's certificate are of the same authority and are refused.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Annotated

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.x509.oid import NameOID
from pydantic import BaseModel, ConfigDict, Field

from fed_backend.errors import PayloadError, ProvisionError
from fed_backend.flare.certificates import CERTIFICATE, KEY, ROOT, fits
from fed_backend.flare.kit import Kit
from fed_backend.flare.provisioning import check_site_name, organisation

__all__ = ["Advert", "Context", "Identity", "Roster", "Signature", "root_of", "threshold"]

_PSS = padding.PSS(mgf=padding.MGF1(hashes.SHA256()), salt_length=32)
_HEX_KEY = r"^[0-9a-f]{64}$"

Signature = Annotated[str, Field(pattern=r"^[0-9a-f]{2,2048}$")]
"""Hex."""


class Context(BaseModel):
    """Which sum this is about.

    Attributes:
        plan_sha256: of the plan as it reads for the round's method.
        run: identifier of the run.
        round: from 0.
        attempt: how often the hub has begun the round; keys are made anew for each.
        start_sha256: of the payload that all sites started from.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    plan_sha256: str = Field(pattern=_HEX_KEY)
    run: str = Field(max_length=64)
    round: int = Field(ge=0)
    attempt: int = Field(ge=0)
    start_sha256: str = Field(pattern=_HEX_KEY)

    def to_bytes(self) -> bytes:
        """Equal contexts give equal bytes."""
        return json.dumps(self.model_dump(), sort_keys=True).encode()


class Advert(BaseModel):
    """The keys of one site for one sum, hex; ``signature`` is by the key of ``certificate`` (PEM)."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    context: Context
    site: str = Field(max_length=64)
    mask_key: str = Field(pattern=_HEX_KEY)
    seal_key: str = Field(pattern=_HEX_KEY)
    certificate: str = Field(max_length=2**16)
    signature: Signature

    def signed(self) -> bytes:
        """What the signature is over."""
        return json.dumps(
            ["fedseg secure keys 1", self.context.model_dump(), self.site, self.mask_key, self.seal_key],
            sort_keys=True,
        ).encode()

    def check(self, root: x509.Certificate, context: Context) -> None:
        """Do nothing for keys that a site of this federation made for this sum.

        Raises:
            PayloadError: saying what is wrong with them.
        """
        who = f"the keys of {self.site[:64]!r}"
        if self.context != context:
            raise PayloadError(f"{who} are for another round", "the hub must ask for keys in every round")
        hint = "ask the federation's administrator who that is"
        try:
            certificate = x509.load_pem_x509_certificate(self.certificate.encode())
            check_site_name(self.site)
        except (ValueError, ProvisionError):
            raise PayloadError(f"{who} come with no site's certificate", hint) from None
        if wrong := fits(certificate, root, self.site):
            raise PayloadError(f"{who} come with a certificate that {wrong}", hint)
        if not _is_a_sites(certificate, self.site):
            raise PayloadError(f"{who} come with a certificate that is not a site's", hint)
        if not self.wrote(self.signature, self.signed()):
            raise PayloadError(f"{who} are not signed by the site", hint)

    def wrote(self, signature: str, text: bytes) -> bool:
        """Whether ``signature`` of ``text`` is by the key of the certificate."""
        key = x509.load_pem_x509_certificate(self.certificate.encode()).public_key()
        try:
            if not isinstance(key, rsa.RSAPublicKey):
                return False
            key.verify(bytes.fromhex(signature), text, _PSS, hashes.SHA256())
        except (InvalidSignature, ValueError):
            return False
        return True


def _is_a_sites(certificate: x509.Certificate, site: str) -> bool:
    """Told by its organisation, and by the absence of a role; the hub's says ``hub``."""
    subject = certificate.subject
    organisations = [str(part.value) for part in subject.get_attributes_for_oid(NameOID.ORGANIZATION_NAME)]
    roles = subject.get_attributes_for_oid(NameOID.UNSTRUCTURED_NAME)
    return organisations == [organisation(site)] and not roles


class Identity:
    """A site, with the key that its certificate is for.

    Args:
        site: its name.
        certificate: PEM.
        key: private key, PEM.
        root: certificate of the federation's authority, PEM.

    Raises:
        ProvisionError: they cannot be read.
    """

    def __init__(self, site: str, certificate: bytes, key: bytes, root: bytes) -> None:
        try:
            loaded = serialization.load_pem_private_key(key, password=None)
            self.root = x509.load_pem_x509_certificate(root)
            x509.load_pem_x509_certificate(certificate)
        except (ValueError, TypeError):
            loaded = None
        if not isinstance(loaded, rsa.RSAPrivateKey):
            raise ProvisionError(f"certificate and key of {site!r} cannot be read", "join again from the invitation")
        self.site, self._key, self._certificate = site, loaded, certificate.decode()

    @classmethod
    def of(cls, kit: Kit) -> Identity:
        """That of a site's kit.

        Raises:
            ProvisionError: it cannot be read.
        """
        try:
            parts = [(kit.folder / name).read_bytes() for name in (CERTIFICATE, KEY, ROOT)]
        except OSError:
            raise ProvisionError(f"the kit of {kit.name!r} lacks its certificate or its key", "join again") from None
        return cls(kit.name, *parts)

    def advert(self, context: Context, mask_key: bytes, seal_key: bytes) -> Advert:
        """Sign this site's keys (raw public X25519) for one sum."""
        keys = {"mask_key": mask_key.hex(), "seal_key": seal_key.hex()}
        draft = Advert(context=context, site=self.site, certificate=self._certificate, signature="00", **keys)
        return draft.model_copy(update={"signature": self.sign(draft.signed())})

    def sign(self, text: bytes) -> str:
        """A signature of ``text``, hex."""
        return self._key.sign(text, _PSS, hashes.SHA256()).hex()


def root_of(kit: Kit) -> x509.Certificate:
    """The certificate of a kit's authority.

    Raises:
        ProvisionError: it cannot be read.
    """
    try:
        return x509.load_pem_x509_certificate((kit.folder / ROOT).read_bytes())
    except (OSError, ValueError):
        raise ProvisionError(f"{ROOT} of kit {kit.folder.name} cannot be read", "restore the kit") from None


def threshold(sites: int) -> int:
    """How many sites must sign and reveal, of a roster of ``sites`` >= 3: more than two thirds; 2 of 3.

    A site signs one view of the sum. Two views with more than two thirds each share more than a third of
    the sites, so while fewer are in league with the hub there is one sum, and of no site are both
    secrets revealed. Of three sites there is only one view, that of all three: a sum has at least three.
    """
    return 2 if sites == 3 else 2 * sites // 3 + 1


@dataclass(frozen=True)
class Roster:
    """The sites of a sum, each with keys that were checked.

    Attributes:
        context: of the sum.
        adverts: site -> its keys.
    """

    context: Context
    adverts: dict[str, Advert]

    @classmethod
    def checked(cls, adverts: Sequence[Advert], context: Context, root: x509.Certificate, fewest: int) -> Roster:
        """The roster of some keys.

        Raises:
            PayloadError: fewer than ``fewest`` sites, one twice, or keys that are not a site's.
        """
        named = {advert.site.lower(): advert for advert in adverts}
        if len(named) != len(adverts):
            raise PayloadError("a site is listed twice in a roster", "the hub must list each site once")
        if len(named) < fewest:
            raise PayloadError(
                f"a roster of {len(named)} sites is below the {fewest} that the plan wants in a sum",
                "wait until more sites are connected",
            )
        for advert in adverts:
            advert.check(root, context)
        return cls(context, {advert.site: advert for advert in sorted(adverts, key=lambda advert: advert.site)})

    @property
    def about(self) -> bytes:
        """What masks and seals are bound to: the round, and everybody's keys."""
        keys = [[site, advert.mask_key, advert.seal_key] for site, advert in self.adverts.items()]
        return hashlib.sha256(self.context.to_bytes() + json.dumps(keys).encode()).digest()

    def view(self, sharing: Iterable[str], survivors: Iterable[str]) -> bytes:
        """What the sites sign before they reveal: whose masks were in use, and whose updates are in the sum."""
        return json.dumps(["fedseg secure view 1", self.about.hex(), sorted(sharing), sorted(survivors)]).encode()

    @property
    def threshold(self) -> int:
        """Sites that must reveal, and must have signed before."""
        return threshold(len(self.adverts))

    def number(self, site: str) -> int:
        """Which share is a site's, from 1."""
        return list(self.adverts).index(site) + 1
