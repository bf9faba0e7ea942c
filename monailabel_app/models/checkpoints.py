"""Checkpoints of the large bases: known addresses, and their one conversion to safetensors.

``.pth`` files are pickles. They are opened once, by torch's restricted loader
(``weights_only=True``: tensors only, no code), checked against the network by name and shape, and
written as safetensors; nothing but that file is read from then on.
"""

from __future__ import annotations

import json
import os
import pickle
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from monailabel_app.errors import StateError, Unavailable
from monailabel_app.models.download import Received, download

__all__ = ["KNOWN", "Known", "as_safetensors", "fetch", "read_tensors"]

_KEY = "fedseg"


@dataclass(frozen=True)
class Known:
    """A published checkpoint.

    Attributes:
        url: where its makers publish it.
        digest: ``sha256:`` or ``md5:`` and the hex digest.
        licence: of the weights.
    """

    url: str
    digest: str
    licence: str


KNOWN = {
    "sam_vit_b": Known(
        "https://dl.fbaipublicfiles.com/segment_anything/sam_vit_b_01ec64.pth",
        "sha256:ec2df62732614e57411cdcf32a23ffdf28910380d03139ee0f4fcbe91eb8c912",
        "Apache-2.0",
    ),
    # Zenodo publishes MD5 only; whoever knows the SHA-256 can ask for it (--sha256)
    "medsam": Known(
        "https://zenodo.org/records/10689643/files/medsam_vit_b.pth",
        "md5:3bb6db55bd0c9ca30b61248bca72f8d6",
        "see https://zenodo.org/records/10689643",
    ),
}


def fetch(
    base: str,
    folder: Path,
    *,
    url: str | None = None,
    sha256: str | None = None,
    received: Received = lambda here, total: None,
    attempts: int = 5,
) -> Path:
    """Download a base and convert it; both only where it is not there yet.

    Args:
        base: a name in :data:`KNOWN`.
        folder: where ``<base>.pth`` and ``<base>.safetensors`` are put.
        url: another address, for instance a hospital's mirror.
        sha256: expected digest instead of the known one.
        received: (bytes here, bytes in all or ``None``) as they come.
        attempts: in a row that bring nothing before giving up.

    Returns:
        The safetensors file.

    Raises:
        Unavailable: the download failed, or the file is not this base.
        StateError: a file cannot be written.
        Conflict: another process is fetching it.
    """
    known = KNOWN[base]
    source = folder / f"{base}.pth"
    digest = f"sha256:{sha256}" if sha256 else known.digest
    download(url or known.url, source, digest=digest, received=received, attempts=attempts)
    return as_safetensors(source)


def as_safetensors(source: Path) -> Path:
    """The safetensors file of a checkpoint, made beside it where it is not there or out of date.

    Raises:
        Unavailable: the checkpoint cannot be read, or holds something else than tensors.
        StateError: the file cannot be written.
    """
    if source.suffix == ".safetensors":
        return source
    target = source.with_suffix(".safetensors")
    stamp = {"source": source.name, "bytes": source.stat().st_size, "changed": source.stat().st_mtime_ns}
    if target.is_file() and _stamp(target) == stamp:
        return target
    tensors = _unpickled(source)
    temporary = target.with_name(f".{target.name}.{os.getpid()}.tmp")  # server and learner may both convert
    try:
        save_file(
            {n: t.contiguous().clone() for n, t in tensors.items()}, temporary, metadata={_KEY: json.dumps(stamp)}
        )
        temporary.replace(target)
    except (OSError, SafetensorError) as error:
        temporary.unlink(missing_ok=True)
        raise StateError(
            f"{target.name} cannot be written beside {source.name}: {type(error).__name__}",
            "put the checkpoint into a folder with room that can be written to, and name it there",
        ) from None
    return target


def read_tensors(path: Path) -> Mapping[str, Tensor]:
    """Tensors of a safetensors file, mapped into memory.

    Raises:
        Unavailable: the file is damaged.
    """
    try:
        with safe_open(path, "pt") as file:
            return {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError, ValueError) as error:
        raise Unavailable(
            f"the checkpoint {path.name} cannot be read: {type(error).__name__}", "fetch or convert it again"
        ) from None


def _stamp(path: Path) -> Any:
    try:
        with safe_open(path, "pt") as file:
            return json.loads((file.metadata() or {}).get(_KEY, "null"))
    except (SafetensorError, OSError, ValueError):
        return None


def _unpickled(path: Path) -> Mapping[str, Tensor]:
    hint = "give the .pth of SAM ViT-B or MedSAM as its makers publish it, or a .safetensors file"
    try:
        loaded: Any = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    except (OSError, RuntimeError, ValueError, EOFError, pickle.UnpicklingError) as error:
        raise Unavailable(f"the checkpoint {path.name} cannot be read: {type(error).__name__}", hint) from None
    if isinstance(loaded, dict) and isinstance(loaded.get("model"), dict):
        loaded = loaded["model"]
    if not isinstance(loaded, dict) or not all(isinstance(v, Tensor) for v in loaded.values()):
        raise Unavailable(f"the checkpoint {path.name} holds no plain table of tensors", hint)
    return {str(name).removeprefix("module."): value for name, value in loaded.items()}
