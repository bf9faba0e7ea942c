"""The Gaussian mechanism on an update (Dwork and Roth 2014, appendix A; McMahan et al. 2018, arXiv 1710.06963).

The noise comes from a ChaCha20 stream under a key that is used once: who sees many noisy tensors
cannot predict it, as with the generators that seeds of trainings go into. It is drawn in float64 and
rounded to float32 with the tensors; attacks on the last bits of floating-point noise (Mironov 2012) are
not covered.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms

from fed_backend.defences import PrivacySpec
from fed_backend.methods.robust import clipped
from fed_backend.payload import Tensors

__all__ = ["KEY_BYTES", "gaussian", "released"]

KEY_BYTES = 32


def gaussian(count: int, key: bytes) -> npt.NDArray[np.float64]:
    """``count`` independent standard normal numbers (Box-Muller over a ChaCha20 stream).

    Args:
        count: >= 0.
        key: :data:`KEY_BYTES` bytes; the same key gives the same numbers.
    """
    pairs = (count + 1) // 2
    stream = Cipher(algorithms.ChaCha20(key, bytes(16)), mode=None).encryptor().update(bytes(16 * pairs))
    uniform = ((np.frombuffer(stream, "<u8") >> 11) + 0.5) * 2.0**-53  # never 0
    radius, angle = np.sqrt(-2 * np.log(uniform[:pairs])), 2 * np.pi * uniform[pairs:]
    normal: npt.NDArray[np.float64] = np.concatenate([radius * np.cos(angle), radius * np.sin(angle)])[:count]
    return normal


def released(tensors: Tensors, start: Tensors, spec: PrivacySpec, key: bytes) -> Tensors:
    """What may leave the site: ``start + clipped(tensors - start) + noise``.

    Args:
        tensors: after training.
        start: of the same names, before.
        spec: clip and noise.
        key: of the noise; never used twice.
    """
    held, _ = clipped(tensors, start, spec.clip)
    noise = spec.deviation * gaussian(sum(tensor.size for tensor in held.values()), key)
    result, at = {}, 0
    for name in sorted(held):
        tensor = held[name]
        part = noise[at : at + tensor.size].reshape(tensor.shape)
        result[name] = (tensor.astype(np.float64) + part).astype(np.float32)
        at += tensor.size
    return result
