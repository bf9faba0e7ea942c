"""Where the local experts of pFedSAM sit in a network: SAM's upper encoder blocks, the U-Net's bottleneck."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from fed_backend.methods.pfedsam import EXPERTS
from fed_backend.objectives.experts import LocalExperts
from monailabel_app.models.base import Segmenter

__all__ = ["attach_experts", "experts_of"]


class _ThenExperts:
    """Mixed into a block's own class: its experts see what it puts out."""

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.experts(super().forward(x))  # type: ignore[misc, attr-defined]
        return out


def attach_experts(segmenter: Segmenter, experts: int, width: int, seed: int) -> None:
    """Add an L-MoE to each place, and its tensors to the adapter as private ones.

    Untrained experts change nothing. A model that has them already is left as it is. The blocks keep
    their names and parts; copies of the network have experts of their own.

    Args:
        segmenter: changed in place.
        experts: experts of one L-MoE.
        width: hidden width of each.
        seed: of their initial weights.
    """
    if experts_of(segmenter):
        return
    parameters: dict[str, Tensor] = {}
    for number, (name, block, channels, dimension) in enumerate(_places(segmenter)):
        module = LocalExperts(channels, experts=experts, width=width, channel_dim=dimension, seed=seed + number)
        module.train(block.training)
        block.experts = module
        block.__class__ = type(f"{type(block).__name__}WithExperts", (_ThenExperts, type(block)), {})
        parameters |= {f"{name}.{EXPERTS}.{part}": value for part, value in module.named_parameters()}
    segmenter.trainable.add_private(parameters)


def experts_of(segmenter: Segmenter) -> list[LocalExperts]:
    """The experts in a model, from the image upwards."""
    return [module for module in segmenter.network.modules() if isinstance(module, LocalExperts)]


def _places(segmenter: Segmenter) -> list[tuple[str, nn.Module, int, int]]:
    """(name, block, channels, where the channels are) of every block that gets experts."""
    network: Any = segmenter.network
    if segmenter.spec.name == "sam":
        blocks = network.image_encoder.blocks
        upper = range(len(blocks) // 2, len(blocks))
        return [(f"image_encoder.blocks.{n}", blocks[n], blocks[n].norm1.normalized_shape[0], -1) for n in upper]
    name, block = "model.1.submodule", network.model[1].submodule
    while isinstance(block, nn.Sequential):
        name, block = f"{name}.1.submodule", block[1].submodule
    return [(name, block, segmenter.spec.channels[-1], 1)]
