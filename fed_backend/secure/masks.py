"""Keys that two sites agree on, and the masks and seals that are made from them.

X25519 (RFC 7748), HKDF with SHA-256 (RFC 5869), ChaCha20 as the stream of masks and ChaCha20-Poly1305
(RFC 8439) as the seal. Every key is bound to what it is for by HKDF's ``info``: the round, the roster and
the two sites, so that a key of one round or roster is of no use in another.
"""

from __future__ import annotations

import numpy as np
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from fed_backend.errors import PayloadError
from fed_backend.secure.fixed_point import Words

__all__ = ["KEY_BYTES", "opened", "pair_mask", "public_of", "sealed", "self_mask"]

KEY_BYTES = 32
_ONCE = bytes(12)  # a nonce of zeros: no key is used twice


def public_of(private: bytes) -> bytes:
    """The public key of a private one, 32 bytes each."""
    return X25519PrivateKey.from_private_bytes(private).public_key().public_bytes_raw()


def pair_mask(private: bytes, public: bytes, about: bytes, own: str, other: str, length: int) -> Words:
    """What site ``own`` adds for its pair with ``other``, who adds the negative of it.

    Args:
        private: of one of the two.
        public: of the other one.
        about: round and roster.
        own: whose update the mask is for.
        other: the other site.
        length: numbers of the mask.

    Raises:
        PayloadError: a public key that gives no secret.
    """
    low, high = sorted((own, other))
    mask = _stream(_agreed(private, public, b"mask", about, low, high), length)
    return mask if own == low else np.negative(mask)


def self_mask(seed: bytes, about: bytes, own: str, length: int) -> Words:
    """What a site adds beside its pairs: an update that comes too late stays hidden by it."""
    return _stream(_derived(seed, b"self", about, own), length)


def sealed(private: bytes, public: bytes, about: bytes, sender: str, receiver: str, text: bytes) -> bytes:
    """A message that only ``receiver`` can read, and that only ``sender`` can have written.

    Raises:
        PayloadError: a public key that gives no secret.
    """
    key = _agreed(private, public, b"seal", about, sender, receiver)
    return ChaCha20Poly1305(key).encrypt(_ONCE, text, about)


def opened(private: bytes, public: bytes, about: bytes, sender: str, receiver: str, data: bytes) -> bytes:
    """What :func:`sealed` sealed.

    Raises:
        PayloadError: it was changed, or is of another round, roster or sender.
    """
    key = _agreed(private, public, b"seal", about, sender, receiver)
    try:
        return ChaCha20Poly1305(key).decrypt(_ONCE, data, about)
    except InvalidTag:
        raise PayloadError(f"the sealed shares of {sender!r} were not made for this site and round") from None


def _stream(key: bytes, length: int) -> Words:
    cipher = Cipher(algorithms.ChaCha20(key, bytes(16)), mode=None)
    return np.frombuffer(cipher.encryptor().update(bytes(8 * length)), "<u8").astype(np.uint64, copy=False)


def _agreed(private: bytes, public: bytes, *info: bytes | str) -> bytes:
    try:
        shared = X25519PrivateKey.from_private_bytes(private).exchange(X25519PublicKey.from_public_bytes(public))
    except ValueError:  # a point of small order gives all zeros
        raise PayloadError("a site's public key gives no shared secret", "the site must make its keys anew") from None
    return _derived(shared, *info)


def _derived(secret: bytes, *info: bytes | str) -> bytes:
    parts = [part.encode() if isinstance(part, str) else part for part in info]
    said = b"".join(len(part).to_bytes(4, "big") + part for part in (b"fedseg secure sum 1", *parts))
    return HKDF(hashes.SHA256(), KEY_BYTES, salt=None, info=said).derive(secret)
