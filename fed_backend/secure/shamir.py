"""Shamir's secret sharing (1979, doi 10.1145/359168.359176) over the integers modulo 2^521 - 1.

Any ``threshold`` of the shares give the secret back; fewer say nothing about it.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Mapping

__all__ = ["SECRET_BYTES", "SHARE_BYTES", "joined", "split"]

SECRET_BYTES = 32
SHARE_BYTES = 66
_PRIME = 2**521 - 1


def split(
    secret: bytes, shares: int, threshold: int, draw: Callable[[int], int] = secrets.randbelow
) -> dict[int, bytes]:
    """Share a secret.

    Args:
        secret: :data:`SECRET_BYTES` bytes.
        shares: n >= threshold.
        threshold: how many of them give the secret back, >= 1.
        draw: a uniform number below its argument.

    Returns:
        1..n -> share, :data:`SHARE_BYTES` bytes each.

    Raises:
        ValueError: sizes that do not fit.
    """
    if len(secret) != SECRET_BYTES or not 1 <= threshold <= shares:
        raise ValueError(f"a secret of {len(secret)} bytes in {shares} shares, of which {threshold} are enough")
    coefficients = [int.from_bytes(secret, "big"), *(draw(_PRIME) for _ in range(threshold - 1))]
    result = {}
    for at in range(1, shares + 1):
        value = 0
        for coefficient in reversed(coefficients):
            value = (value * at + coefficient) % _PRIME
        result[at] = value.to_bytes(SHARE_BYTES, "big")
    return result


def joined(shares: Mapping[int, bytes]) -> bytes:
    """The secret behind ``threshold`` or more shares, by number.

    Raises:
        ValueError: the shares do not belong together.
    """
    total = 0
    for at, share in shares.items():
        above = below = 1
        for other in shares:
            if other != at:
                above = above * other % _PRIME
                below = below * (other - at) % _PRIME
        total += int.from_bytes(share, "big") * above * pow(below, -1, _PRIME)
    secret = total % _PRIME
    if secret >> (8 * SECRET_BYTES):
        raise ValueError("shares that do not belong together")
    return secret.to_bytes(SECRET_BYTES, "big")
