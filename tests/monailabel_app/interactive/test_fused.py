"""The quicker ways of computing attention give the same masks."""

from __future__ import annotations

import copy

import pytest
import torch
from segment_anything.modeling.transformer import TwoWayTransformer

from monailabel_app.models.fused import fuse_decoder


class Decoder(torch.nn.Module):
    """What :func:`fuse_decoder` looks for, around SAM's own transformer."""

    def __init__(self, transformer: torch.nn.Module) -> None:
        super().__init__()
        self.mask_decoder = transformer


@pytest.mark.parametrize("tokens", [6, 40])
@pytest.mark.parametrize("batch", [1, 3])
@torch.no_grad()
def test_the_fused_decoder_agrees_with_the_plain_one(tokens: int, batch: int) -> None:
    torch.manual_seed(0)
    plain = TwoWayTransformer(depth=2, embedding_dim=32, mlp_dim=64, num_heads=4).eval()
    fused = Decoder(copy.deepcopy(plain))
    fuse_decoder(fused)
    image, position = torch.randn(batch, 32, 9, 9), torch.randn(batch, 32, 9, 9)
    prompts = torch.randn(batch, tokens, 32)
    for expected, found in zip(
        plain(image, position, prompts), fused.mask_decoder(image, position, prompts), strict=True
    ):
        torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-4)
