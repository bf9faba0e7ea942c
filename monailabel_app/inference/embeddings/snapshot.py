"""A network as one version made it, never changed again, so that threads share it without locks.

Frozen parameters are shared with the site's other networks of the same base; adapted ones are
copies with LoRA merged into the weights (``W + s B A``, Hu et al. 2021), which saves two products
per layer. A new champion becomes a new snapshot beside the old one: requests under way end on the
network they began with.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from monailabel_app.inference.embeddings.key import adapter_digest
from monailabel_app.models.encoder import first_adapted_block
from monailabel_app.models.fused import plain_encoder
from monailabel_app.models.sam import SamSegmenter

__all__ = ["Snapshot", "take_snapshot"]

_PROCESSOR = torch.device("cpu")


@dataclass(frozen=True, eq=False)
class Snapshot:
    """What answers prompts.

    Attributes:
        version: id of the version.
        network: the SAM, in evaluation mode, without gradients.
        defaults: label -> default prompt [tokens, dim].
        base: sha256 of the frozen base.
        image_size: side of the input square in pixels.
        first_adapted: lowest encoder block that the adapter touches; features below it belong to
            the base and stay valid for every version.
        encoder_digest: digest of all adapter tensors of the encoder.
        numeric: number type of the encoder: ``float32``, ``bfloat16``, or ``autocast`` (products in
            bfloat16, all else in float32).
        device: where it is computed.
        position: SAM's position encoding of the grid [1, dim, h, w].
    """

    version: str
    network: Any  # a Sam: nn.Module types its parts as Tensor or Module
    defaults: Mapping[str, Tensor]
    base: str
    image_size: int
    first_adapted: int
    encoder_digest: str
    numeric: str = "float32"
    device: torch.device = _PROCESSOR
    position: Tensor = field(init=False)

    def __post_init__(self) -> None:
        with torch.inference_mode():
            position: Tensor = self.network.prompt_encoder.get_dense_pe()
        object.__setattr__(self, "position", position)

    def computing(self) -> AbstractContextManager[object]:
        """What the encoder runs under."""
        return torch.autocast(self.device.type, dtype=torch.bfloat16, enabled=self.numeric == "autocast")

    @property
    def grid(self) -> tuple[int, int]:
        """Rows and columns of the features; low-resolution masks have four times as many."""
        rows, columns = self.position.shape[-2:]
        return int(rows), int(columns)


def take_snapshot(
    segmenter: SamSegmenter,
    version: str,
    tensors: Mapping[str, npt.NDArray[Any]],
    *,
    numeric: str = "float32",
    device: str = "cpu",
) -> Snapshot:
    """A network with the adapter of one version.

    Args:
        segmenter: gives the base; not changed, and may serve meanwhile.
        version: id of the version.
        tensors: all adapter tensors of the version.
        numeric: ``float32``; for the encoder only, ``bfloat16`` or ``autocast``.
        device: ``cpu``, or ``cuda``, where nothing is shared with the segmenter.

    Raises:
        AdapterError: the tensors do not fit the model.
    """
    original = segmenter.network
    kept = _shared(original, converted=numeric == "bfloat16") if device == "cpu" else {}
    network: Any
    network, adapter, defaults = copy.deepcopy((original, segmenter.trainable, segmenter.defaults), kept)
    adapter.write(tensors)
    _merge_pairs(network)
    network.requires_grad_(False).eval()
    if numeric == "bfloat16":
        plain_encoder(network)
        network.image_encoder.to(torch.bfloat16)
    network.to(device)
    depth = len(network.image_encoder.blocks)
    names = {name: np.asarray(value) for name, value in tensors.items()}
    return Snapshot(
        version=version,
        network=network,
        defaults={label: tokens.detach().to(device) for label, tokens in defaults.items()},
        base=segmenter.base_sha256,
        image_size=segmenter.spec.image_size,
        first_adapted=first_adapted_block(adapter.parameters, depth),
        encoder_digest=adapter_digest(names),
        numeric=numeric,
        device=torch.device(device),
    )


def _pairs(network: nn.Module) -> list[tuple[str, Any]]:
    return [(name, module) for name, module in network.named_modules() if hasattr(module, "lora_A")]


def _shared(network: nn.Module, *, converted: bool) -> dict[int, Any]:
    """Tensors that a copy may share: those that training, merging and converting leave alone."""
    changed = {id(p) for _, module in _pairs(network) for p in module.parameters()}
    if converted:  # Module.to() changes parameters in place, and a shared one for everybody
        encoder: Any = network.image_encoder
        changed |= {id(t) for t in (*encoder.parameters(), *encoder.buffers())}
    tensors = [*network.parameters(), *network.buffers()]
    return {id(t): t for t in tensors if not t.requires_grad and id(t) not in changed}


def _merge_pairs(network: nn.Module) -> None:
    for name, module in _pairs(network):
        module.merge(safe_merge=False)
        parent, _, child = name.rpartition(".")
        setattr(network.get_submodule(parent), child, module.base_layer)
