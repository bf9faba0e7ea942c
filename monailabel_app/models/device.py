"""Where a network is computed: on the processor, or on a GPU that is asked for."""

from __future__ import annotations

import torch
from torch import Tensor

from monailabel_app.errors import SiteError, Unavailable

__all__ = ["DEVICES", "choose_device", "fastest_numeric", "sent"]

DEVICES = ("auto", "cpu", "cuda")


def choose_device(wanted: str) -> str:
    """``cpu`` or ``cuda`` for what somebody asked for; ``auto`` takes a GPU where there is one.

    Raises:
        SiteError: no such choice.
        Unavailable: a GPU was asked for by name, and PyTorch finds none.
    """
    if wanted not in DEVICES:
        raise SiteError(f"there is no device {wanted!r}", f"choose {', '.join(DEVICES)}")
    present = torch.cuda.is_available()
    if wanted == "cuda" and not present:
        raise Unavailable(
            f"PyTorch {torch.__version__} finds no GPU on this machine",
            "use --device cpu, or check the driver and that PyTorch was built for CUDA",
        )
    return "cuda" if wanted != "cpu" and present else "cpu"


def fastest_numeric(device: str = "cpu") -> str:
    """The number type that the encoder is computed in there.

    ``bfloat16`` on a processor that computes in it: 2.5 to 3 times as fast as float32 with AVX-512
    BF16 (docs/explanation/speed.md); without such instructions it is emulated, and slower.
    ``autocast`` on a GPU: products in bfloat16, all else in float32.
    """
    if device == "cuda":
        return "autocast" if torch.cuda.is_bf16_supported() else "float32"
    quick = torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
    return "bfloat16" if quick else "float32"


def sent(tensor: Tensor, device: str | torch.device) -> Tensor:
    """The tensor on a device; to a GPU by way of pinned memory, so that nothing waits for the transfer."""
    place = torch.device(device)
    if place.type != "cuda" or tensor.device == place:
        return tensor.to(place)
    return tensor.contiguous().pin_memory().to(place, non_blocking=True)
