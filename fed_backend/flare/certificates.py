"""A member's certificate: whose it is, who signed it, and how long it is valid."""

from __future__ import annotations

import datetime
import hashlib
from collections.abc import Callable

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509.oid import NameOID

from fed_backend.errors import ProvisionError
from fed_backend.flare.kit import Kit

__all__ = ["CERTIFICATE", "KEY", "ROOT", "announce_expiry", "check_certificate", "common_name", "fits", "key_sha256"]

CERTIFICATE, KEY, ROOT = "startup/client.crt", "startup/client.key", "startup/rootCA.pem"
"""Files of a site's kit."""

SOON_DAYS = 30
"""A certificate that ends sooner is announced at every start."""


def common_name(subject: x509.Name) -> str:
    """The one common name of a subject; empty where there is none, or several."""
    names = [str(part.value) for part in subject.get_attributes_for_oid(NameOID.COMMON_NAME)]
    return names[0] if len(names) == 1 else ""


def key_sha256(holder: x509.Certificate | x509.CertificateSigningRequest | PrivateKeyTypes) -> str:
    """Hex SHA-256 of the public key (DER) in a certificate or request, or beside a private key."""
    public = holder.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return hashlib.sha256(public).hexdigest()


def fits(certificate: x509.Certificate, root: x509.Certificate, name: str) -> str:
    """Why a certificate is not a valid one of ``name`` in the federation of ``root``; empty where it is."""
    if (found := common_name(certificate.subject)) != name:
        return f"is that of {found!r}"
    try:
        certificate.verify_directly_issued_by(root)
    except (InvalidSignature, ValueError, TypeError):
        return "was not signed by this federation"
    now = datetime.datetime.now(datetime.UTC)
    if not certificate.not_valid_before_utc <= now <= certificate.not_valid_after_utc:
        return f"is valid until {certificate.not_valid_after_utc:%Y-%m-%d} only"
    return ""


def check_certificate(kit: Kit) -> datetime.datetime:
    """Check that a site's certificate is its own, signed by its federation, and valid today.

    Returns:
        When it ends.

    Raises:
        ProvisionError: saying what is wrong, or that there is none yet.
    """
    hint = "ask the hub's administrator for a new one"
    if not (kit.folder / CERTIFICATE).is_file():
        raise ProvisionError(
            f"the kit of {kit.name!r} holds no certificate yet",
            f"send {kit.name}.csr to the hub's administrator; then `fedseg site join KIT --certificate FILE`",
        )
    try:
        certificate = x509.load_pem_x509_certificate((kit.folder / CERTIFICATE).read_bytes())
        root = x509.load_pem_x509_certificate((kit.folder / ROOT).read_bytes())
    except (OSError, ValueError):
        raise ProvisionError(f"the certificates in kit {kit.folder.name} cannot be read", hint) from None
    if wrong := fits(certificate, root, kit.name):
        raise ProvisionError(f"the certificate in the kit of {kit.name!r} {wrong}", hint)
    return certificate.not_valid_after_utc


def announce_expiry(name: str, ends: datetime.datetime, say: Callable[[str], None]) -> None:
    """Say that a certificate ends soon, if it does."""
    days = (ends - datetime.datetime.now(datetime.UTC)).days
    if days < SOON_DAYS:
        say(
            f"the certificate of {name!r} ends in {days} days, on {ends:%Y-%m-%d}: `fedseg site join KIT` makes the"
            " request for the next one"
        )
