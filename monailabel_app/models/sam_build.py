"""SAM networks from segment_anything's own modules: the embedded ``sam_tiny``, and ViT-B from a file.

A base is a frozen network; what a site trains on top of it is in :mod:`monailabel_app.models.lora`.
Kirillov et al. 2023 (arXiv 2304.02643); MedSAM: Ma et al. 2024 (ViT-B, the same tensors).
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch
from segment_anything.modeling import ImageEncoderViT, MaskDecoder, PromptEncoder, Sam, TwoWayTransformer
from torch import Tensor, nn
from torch.nn import functional as F

from monailabel_app.errors import Unavailable
from monailabel_app.models.checkpoints import as_safetensors, read_tensors

__all__ = ["SHAPES", "TINY_WEIGHTS", "SamShape", "digest", "load_base", "new_network", "refit"]

TINY_WEIGHTS = Path(__file__).parent / "weights" / "sam_tiny.safetensors"
PIXEL_MEAN, PIXEL_STD = (123.675, 116.28, 103.53), (58.395, 57.12, 57.375)


@dataclass(frozen=True)
class SamShape:
    """Sizes of a SAM; names as in segment_anything."""

    embed_dim: int
    depth: int
    heads: int
    global_blocks: tuple[int, ...]
    window: int
    patch: int
    prompt_dim: int
    mlp_dim: int
    rel_pos: bool
    image_size: int
    draws_prompts: bool = False
    """Whether clicks and boxes are drawn into the mask prompt too."""


_VIT_B = SamShape(768, 12, 12, (2, 5, 8, 11), 14, 16, 256, 2048, True, 1024)
SHAPES: dict[str, SamShape] = {
    # patch 8: masks of 128 x 128 from 256 pixels, where patch 16 would give 64 x 64; one global block,
    # which costs as much as five windowed ones
    "sam_tiny": SamShape(128, 6, 2, (3,), 8, 8, 128, 512, False, 256, draws_prompts=True),
    "sam_vit_b": _VIT_B,
    "medsam": _VIT_B,
}


def new_network(shape: SamShape, image_size: int) -> nn.Module:
    """An untrained network for square images; weights come from torch's global generator."""
    grid = (image_size // shape.patch, image_size // shape.patch)
    network: nn.Module = Sam(
        image_encoder=ImageEncoderViT(
            depth=shape.depth,
            embed_dim=shape.embed_dim,
            img_size=image_size,
            mlp_ratio=4,
            norm_layer=partial(nn.LayerNorm, eps=1e-6),
            num_heads=shape.heads,
            patch_size=shape.patch,
            qkv_bias=True,
            use_rel_pos=shape.rel_pos,
            global_attn_indexes=shape.global_blocks,
            window_size=shape.window,
            out_chans=shape.prompt_dim,
        ),
        prompt_encoder=PromptEncoder(
            embed_dim=shape.prompt_dim,
            image_embedding_size=grid,
            input_image_size=(image_size, image_size),
            mask_in_chans=16,
        ),
        mask_decoder=MaskDecoder(
            num_multimask_outputs=3,
            transformer=TwoWayTransformer(depth=2, embedding_dim=shape.prompt_dim, mlp_dim=shape.mlp_dim, num_heads=8),
            transformer_dim=shape.prompt_dim,
            iou_head_depth=3,
            iou_head_hidden_dim=256,
        ),
        pixel_mean=list(PIXEL_MEAN),
        pixel_std=list(PIXEL_STD),
    )
    network.draws_prompts = shape.draws_prompts  # type: ignore[assignment]
    return network.eval()


def load_base(base: str, image_size: int, checkpoint: Path | None) -> tuple[nn.Module, str]:
    """Build a base with its weights, and the digest of those weights.

    Args:
        base: ``sam_tiny`` (shipped), ``sam_vit_b`` or ``medsam``.
        image_size: side of the input in pixels, a multiple of the patch; where it is not the size the
            base was trained at, position embeddings are resampled.
        checkpoint: ``.safetensors``, or ``.pth``, which is converted beside itself the first time.

    Raises:
        Unavailable: no checkpoint, or it does not hold this network.
        StateError: a ``.pth`` cannot be converted where it lies.
    """
    shape = SHAPES[base]
    if image_size % shape.patch:
        raise Unavailable(
            f"image_size {image_size} is no multiple of {base}'s patch of {shape.patch} pixels",
            f"set image_size to {shape.image_size}, the size that {base} was trained at",
        )
    if checkpoint is None and base == "sam_tiny":
        checkpoint = TINY_WEIGHTS
    hint = f"fetch {base} with `fedseg base fetch {base}` and name the file with --checkpoint, or take sam_tiny"
    if checkpoint is None:
        raise Unavailable(f"the base {base!r} needs a checkpoint and none was given", hint)
    if not checkpoint.is_file():
        raise Unavailable(f"the checkpoint {checkpoint.name} of {base!r} is not there", hint)
    state = read_tensors(as_safetensors(checkpoint))
    with torch.device("meta"):
        network = new_network(shape, image_size)
    expected = network.state_dict()
    if missing := sorted(expected.keys() - state.keys()):
        raise Unavailable(f"{checkpoint.name} is no {base}: it lacks {missing[0]} and {len(missing) - 1} more", hint)
    fitted = refit(state, expected)
    if wrong := [name for name, value in expected.items() if fitted[name].shape != value.shape]:
        name = wrong[0]
        raise Unavailable(
            f"{checkpoint.name} is no {base}: {name} has shape {tuple(state[name].shape)},"
            f" not {tuple(expected[name].shape)}",
            hint,
        )
    network.load_state_dict(fitted, assign=True)
    network.register_buffer("pixel_mean", torch.tensor(PIXEL_MEAN).view(-1, 1, 1), persistent=False)
    network.register_buffer("pixel_std", torch.tensor(PIXEL_STD).view(-1, 1, 1), persistent=False)
    return network.eval(), digest({name: state[name] for name in expected})


def _fit(value: Tensor, shape: torch.Size) -> Tensor:
    """Resample position embeddings to another image size; everything else stays."""
    if value.shape == shape or value.ndim != len(shape) or value.shape[-1] != shape[-1]:
        return value
    if value.ndim == 4 and value.shape[0] == 1:  # pos_embed [1, rows, columns, dim]
        moved = F.interpolate(value.permute(0, 3, 1, 2), shape[1:3], mode="bicubic", align_corners=False)
        return moved.permute(0, 2, 3, 1).contiguous()
    if value.ndim == 2 and value.shape[0] % 2 and shape[0] % 2:  # rel_pos [2 n - 1, dim]
        return F.interpolate(value.T[None], shape[0], mode="linear", align_corners=False)[0].T.contiguous()
    return value


def refit(state: Mapping[str, Tensor], like: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors of one image size with the shapes of another: position embeddings are resampled."""
    return {name: _fit(state[name].float(), value.shape) for name, value in like.items()}


def digest(state: Mapping[str, Tensor]) -> str:
    """Hex SHA-256 over names, shapes and float32 values, in order of names."""
    total = hashlib.sha256()
    for name in sorted(state):
        value = state[name].detach().float().contiguous()
        total.update(f"{name}{tuple(value.shape)}".encode())
        total.update(value.numpy().data)
    return total.hexdigest()
