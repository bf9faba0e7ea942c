"""A site's half of joining a federation: its private key is made here and never leaves.

::

    invitation (one file)  ->  kit with a new key, and a certificate request
    request    (one file)  ->  to the hub's administrator, who signs it
    certificate (one file) ->  completes the kit; `fedseg courier start` can use it

None of the three files is secret: who copies one cannot speak for the site.
"""

from __future__ import annotations

import io
import os
import re
import tempfile
import zipfile
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes
from cryptography.x509.oid import NameOID

from fed_backend.errors import ProvisionError
from fed_backend.flare.certificates import CERTIFICATE, KEY, ROOT, fits
from fed_backend.flare.kit import Kit, load_kit

__all__ = ["complete", "request_file", "unpack", "write_request"]

_MEMBER = re.compile(r"^(federation\.json|plan\.json|(startup|local)/[A-Za-z0-9_.-]+)$")
_LIMIT = 2**24  # of all files together; an invitation has some 20 kB
_KEY_BITS = 3072


def unpack(invitation: Path, out: Path) -> Kit:
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
    files = _read(invitation)
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{out.name}.", dir=out.parent) as scratch:
        folder = Path(scratch) / "kit"
        for name, content in files.items():
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
        (folder / "run").mkdir(mode=0o700)
        _make_key(folder / KEY)
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
    if _public(signed) != _public(_load_key(kit)):
        raise ProvisionError(
            f"the certificate {certificate.name} is for another key than this kit's", f"send {kit.name}.csr again"
        )
    target = kit.folder / CERTIFICATE
    temporary = target.with_name(f".{target.name}.tmp")
    temporary.write_bytes(data)
    os.replace(temporary, target)


def _read(invitation: Path) -> dict[str, bytes]:
    hint = "ask the hub's administrator for the file that `fedseg federation invite` made"
    try:
        with zipfile.ZipFile(io.BytesIO(invitation.read_bytes())) as archive:
            entries = archive.infolist()
            if sum(entry.file_size for entry in entries) > _LIMIT:
                raise ProvisionError(f"{invitation.name} is too large for an invitation", hint)
            if odd := [entry.filename for entry in entries if not _MEMBER.match(entry.filename)]:
                raise ProvisionError(f"{invitation.name} holds {odd[0]!r}, which no invitation has", hint)
            files = {entry.filename: archive.read(entry) for entry in entries}
    except (OSError, zipfile.BadZipFile, RuntimeError, NotImplementedError):
        raise ProvisionError(f"{invitation.name} is no invitation to a federation", hint) from None
    if absent := sorted({"federation.json", "plan.json", ROOT} - files.keys()):
        raise ProvisionError(f"{invitation.name} lacks {absent[0]}", hint)
    return files


def _make_key(path: Path) -> None:
    key = rsa.generate_private_key(public_exponent=65537, key_size=_KEY_BITS)
    data = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.TraditionalOpenSSL, serialization.NoEncryption()
    )
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as handle:
        handle.write(data)


def _load_key(kit: Kit) -> PrivateKeyTypes:
    try:
        return serialization.load_pem_private_key((kit.folder / KEY).read_bytes(), password=None)
    except (OSError, ValueError, TypeError):
        raise ProvisionError(
            f"the private key of {kit.name!r} cannot be read", "join again from the invitation, into a new folder"
        ) from None


def _public(holder: x509.Certificate | PrivateKeyTypes) -> bytes:
    return holder.public_key().public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
