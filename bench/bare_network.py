"""segment_anything's own modules with nothing around them: what a click cannot be quicker than."""

from __future__ import annotations

import copy
import time
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file

from monailabel_app.models.device import fastest_numeric
from monailabel_app.models.sam_build import SHAPES, load_base, new_network
from monailabel_app.state.site import SiteState
from monailabel_app.state.versions import NewVersion

__all__ = ["BareNetwork", "write_vit_b"]


def write_vit_b(path: Path) -> Path:
    """Random weights of ViT-B's shape as safetensors."""
    torch.manual_seed(0)
    state = new_network(SHAPES["sam_vit_b"], 1024).state_dict()
    save_file({name: value.contiguous() for name, value in state.items()}, path)
    return path


class BareNetwork:
    """Encoder and decoder of one SAM, called as segment_anything's predictor calls them.

    Args:
        base: name of the base.
        checkpoint: its weights.
        size: side of the input in pixels.
    """

    def __init__(self, base: str, checkpoint: Path | None, size: int) -> None:
        self._network, _ = load_base(base, size, checkpoint)
        self._image = torch.randn(1, 3, size, size)
        self._rounded = copy.deepcopy(self._network.image_encoder)
        if fastest_numeric() == "bfloat16":
            self._rounded.to(torch.bfloat16)
        grid = size // SHAPES[base].patch
        self._features = torch.randn(1, SHAPES[base].prompt_dim, grid, grid)
        self._before = torch.randn(1, 1, 4 * grid, 4 * grid)

    @classmethod
    def tiny(cls) -> BareNetwork:
        """``sam_tiny`` as shipped."""
        return cls("sam_tiny", None, 256)

    @classmethod
    def vit_b(cls, checkpoint: Path) -> BareNetwork:
        """ViT-B's shape."""
        return cls("sam_vit_b", checkpoint, 1024)

    @staticmethod
    def new_version(state: Path) -> str:
        """Store a version whose last block and decoder differ from the champion's."""
        rng = np.random.default_rng(1)
        with SiteState(state, state, own=False) as opened:
            store = opened.versions("sam")
            parent = store.get(store.champion())
            tensors = {
                name: value + rng.normal(0, 0.01, value.shape).astype(np.float32)
                if name.startswith(("image_encoder.blocks.5", "mask_decoder"))
                else value
                for name, value in store.load(parent.id).items()
            }
            made = store.create(
                tensors, NewVersion(origin="learning", parent=parent.id, base_sha256=parent.base_sha256)
            )
            return made.id

    @torch.inference_mode()
    def decode(self) -> float:
        """Seconds of the prompt encoder and mask decoder for one point and the mask before, as a session gives them."""
        start = time.perf_counter()
        point = (torch.tensor([[[100.0, 100.0]]]), torch.tensor([[1]]))
        sparse, dense = self._network.prompt_encoder(points=point, boxes=None, masks=self._before)  # type: ignore[operator]
        self._network.mask_decoder(  # type: ignore[operator]
            image_embeddings=self._features,
            image_pe=self._network.prompt_encoder.get_dense_pe(),  # type: ignore[union-attr, operator]
            sparse_prompt_embeddings=sparse,
            dense_prompt_embeddings=dense,
            multimask_output=True,
        )
        return time.perf_counter() - start

    @torch.inference_mode()
    def encode(self, *, exact: bool = False) -> float:
        """Seconds of the image encoder, in the number type that the site uses, or in float32."""
        encoder = self._network.image_encoder if exact else self._rounded
        image = self._image.to(next(encoder.parameters()).dtype)  # type: ignore[union-attr]
        start = time.perf_counter()
        encoder(image)  # type: ignore[operator]
        return time.perf_counter() - start
