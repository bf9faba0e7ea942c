"""What a site trains of SAM: LoRA pairs on attention, default prompts, and part of the mask decoder.

Names are canonical and independent of peft: ``<module>.lora_A`` (r, in) and ``<module>.lora_B``
(out, r), ``default_prompt.<label>`` (tokens, dim), and the decoder's own names. Hu et al. 2021
(arXiv 2106.09685); B starts at zero, so A^0 leaves the base as it is.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

import numpy as np
import torch
from torch import Tensor, nn

from fed_backend.lora import LORA_A, LORA_B
from fed_backend.plan import ModelSpec
from monailabel_app.models.adapter import Adapter, normal_like

__all__ = ["PROMPT_TOKENS", "adapt"]

PROMPT_TOKENS = 2
SCALE = 2
"""lora_alpha / r: how strongly the product counts, whatever the rank."""
DECODER = (
    "mask_decoder.transformer.",
    "mask_decoder.output_upscaling.",
    "mask_decoder.output_hypernetworks_mlps.0.",
    "mask_decoder.mask_tokens.",
)
"""What all masks and the single one are made by; the heads of the three masks for ambiguous prompts and
of their quality stay the base's."""


def adapt(network: nn.Module, spec: ModelSpec, labels: Iterable[str]) -> tuple[Adapter, list[Tensor]]:
    """Freeze a SAM, insert the adapter, and name its tensors.

    Args:
        network: a SAM; changed in place.
        spec: rank, adapted blocks, decoder, and the seed of A^0.
        labels: one default prompt is made for each.

    Returns:
        The adapter, and the default prompt [tokens, dim] of each label.
    """
    network.requires_grad_(False)
    parameters = _insert_pairs(network, spec)
    no_point: Tensor = network.get_parameter("prompt_encoder.not_a_point_embed.weight").detach()
    prompts: list[Tensor] = []
    for label in labels:
        name = f"default_prompt.{label}"
        # starts as SAM's own "no point here", so prompts work as in the base until it is trained
        start = no_point.expand(PROMPT_TOKENS, -1)
        noise = normal_like(start, 0.02, _generator(spec.seed, name))
        parameters[name] = (start + noise).requires_grad_(True)
        prompts.append(parameters[name])
    if spec.decoder:
        for name, parameter in network.named_parameters():
            if name.startswith(DECODER):
                parameters[name] = parameter.requires_grad_(True)
    return Adapter(parameters, [name for name in parameters if name.startswith(DECODER)]), prompts


def _insert_pairs(network: nn.Module, spec: ModelSpec) -> dict[str, Tensor]:
    from peft import LoraConfig, inject_adapter_in_model  # imports transformers: seconds

    depth = len(network.image_encoder.blocks)  # type: ignore[union-attr, arg-type]
    first = max(0, depth - spec.lora_blocks) if spec.lora_blocks else 0
    targets = [f"image_encoder.blocks.{b}.attn.{part}" for b in range(first, depth) for part in ("qkv", "proj")]
    config = LoraConfig(r=spec.lora_rank, lora_alpha=SCALE * spec.lora_rank, target_modules=targets)
    inject_adapter_in_model(config, network)
    parameters: dict[str, Tensor] = {}
    for target in targets:
        module = network.get_submodule(target)
        down, up = module.lora_A["default"].weight, module.lora_B["default"].weight  # type: ignore[index, union-attr]
        with torch.no_grad():
            down.copy_(normal_like(down, 1 / np.sqrt(down.shape[1]), _generator(spec.seed, target + LORA_A)))
            up.zero_()
        parameters[target + LORA_A], parameters[target + LORA_B] = down, up
    return parameters


def _generator(seed: int, name: str) -> np.random.Generator:
    key = int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "little")
    return np.random.default_rng((seed, key))
