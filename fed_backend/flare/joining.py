"""A site's half of joining a federation: its private key is made here and never leaves.

::

    invitation (one file)  ->  kit with a new key, and a certificate request
    request    (one file)  ->  to the hub's administrator, who signs it
    certificate (one file) ->  completes the kit; `fedseg courier start` can use it

None of the three files is secret: who copies one cannot speak for the site.
"""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes
from cryptography.x509.oid import NameOID

from fed_backend.errors import ProvisionError
from fed_backend.flare.certificates import CERTIFICATE, KEY, ROOT, fits, key_sha256
from fed_backend.flare.invitation import read_invitation
from fed_backend.flare.kit import Kit, load_kit
from fed_backend.flare.provisioning import build

__all__ = ["accept", "complete", "request_file", "write_request"]


def accept(invitation: Path, out: Path) -> Kit:
    """Make a kit from an invitation, with a private key of its own and the request for a certificate.

    Args:
        invitation: the file that the hub's administrator made.
        out: folder to create.

    Raises:
        ProvisionError: no invitation, a damaged one, or ``out`` exists; nothing is left behind.
    """
    out = out.resolve()
    if out.exists():
        raise ProvisionError(f"{out.name} already exists", "choose another --out; a kit is never overwritten")
    asked = read_invitation(invitation)
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{out.name}.", dir=out.parent) as scratch:
        # FLARE's builders make a whole federation; only this site's part of it, with its key, is kept.
        kits = build(asked.parsed_plan(), [asked.site], asked.host, asked.port, Path(scratch))
        folder = kits / "sites" / asked.site
        (folder / ROOT).write_text(asked.root)
        (folder / CERTIFICATE).unlink()
        write_request(load_kit(folder, "site"))
        os.replace(folder, out)
    return load_kit(out, "site")


def write_request(kit: Kit) -> Path:
    """Write the request for a certificate over the kit's own key; again for the next certificate.

    Raises:
        ProvisionError: the kit's key cannot be read.
    """
    name = x509.Name(
        [x509.NameAttribute(NameOID.COMMON_NAME, kit.name), x509.NameAttribute(NameOID.ORGANIZATION_NAME, kit.org)]
    )
    key = _load_key(kit)
    if not isinstance(key, rsa.RSAPrivateKey):
        raise ProvisionError(f"the key of {kit.name!r} is no RSA key", "join again from the invitation")
    request = x509.CertificateSigningRequestBuilder().subject_name(name).sign(key, hashes.SHA256())
    path = request_file(kit)
    path.write_bytes(request.public_bytes(serialization.Encoding.PEM))
    return path


def request_file(kit: Kit) -> Path:
    """Where a kit's request lies."""
    return kit.folder / f"{kit.name}.csr"


def complete(kit: Kit, certificate: Path) -> None:
    """Put the signed certificate into the kit; the one before is replaced only by a good one.

    Raises:
        ProvisionError: unreadable, or not for this site, this key, or this federation.
    """
    try:
        data = certificate.read_bytes()
        signed = x509.load_pem_x509_certificate(data)
        root = x509.load_pem_x509_certificate((kit.folder / ROOT).read_bytes())
    except (OSError, ValueError):
        raise ProvisionError(
            f"{certificate.name} is no certificate", "give the file that the administrator sent back"
        ) from None
    if wrong := fits(signed, root, kit.name):
        raise ProvisionError(f"the certificate {certificate.name} {wrong}", f"it must be signed for {kit.name!r}")
    if key_sha256(signed) != key_sha256(_load_key(kit)):
        raise ProvisionError(
            f"the certificate {certificate.name} is for another key than this kit's", f"send {kit.name}.csr again"
        )
    target = kit.folder / CERTIFICATE
    temporary = target.with_name(f".{target.name}.tmp")
    temporary.write_bytes(data)
    os.replace(temporary, target)


def _load_key(kit: Kit) -> PrivateKeyTypes:
    try:
        return serialization.load_pem_private_key((kit.folder / KEY).read_bytes(), password=None)
    except (OSError, ValueError, TypeError):
        raise ProvisionError(
            f"the private key of {kit.name!r} cannot be read", "join again from the invitation, into a new folder"
        ) from None
