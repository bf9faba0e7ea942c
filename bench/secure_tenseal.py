"""Homomorphic encryption of so many numbers with TenSEAL, as NVIDIA FLARE's filters do it; run by bench/secure.py.

    PYTHON bench/secure_tenseal.py 402761      with a Python that has TenSEAL and numpy; prints JSON

CKKS with 8192 coefficients and a scale of 2^40, NVFLARE's defaults. All sites share one secret key.
"""

from __future__ import annotations

import importlib.metadata
import json
import sys
import time

import numpy as np
import tenseal

DEGREE, BITS, SCALE, SITES = 8192, [60, 40, 40], 2**40, 3


def main() -> None:
    context = tenseal.context(tenseal.SCHEME_TYPE.CKKS, DEGREE, coeff_mod_bit_sizes=BITS)
    context.global_scale = SCALE
    values = np.random.default_rng(0).standard_normal(int(sys.argv[1]), np.float32)
    chunks = [values[at : at + DEGREE // 2] for at in range(0, len(values), DEGREE // 2)]

    began = time.process_time()
    sent = [tenseal.ckks_vector(context, chunk.tolist()).serialize() for chunk in chunks]
    encrypted = time.process_time()
    sums = []
    for data in sent:
        total = tenseal.ckks_vector_from(context, data)
        for _ in range(SITES - 1):
            total += tenseal.ckks_vector_from(context, data)
        sums.append(total)
    added = time.process_time()
    mean = np.concatenate([np.array(total.decrypt()) for total in sums]) / SITES
    json.dump(
        {
            "version": importlib.metadata.version("tenseal"),
            "degree": DEGREE,
            "sites": SITES,
            "encrypt_seconds": round(encrypted - began, 2),
            "add_seconds": round(added - encrypted, 2),
            "decrypt_seconds": round(time.process_time() - added, 2),
            "bytes": sum(map(len, sent)),
            "largest_error": float(np.abs(mean - values).max()),
        },
        sys.stdout,
    )


if __name__ == "__main__":
    main()
