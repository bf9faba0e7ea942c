"""Deep contrast mutual learning between a site's model and a visitor (GCML, arXiv 2503.03883).

The paper names the idea; the formula is a choice of ours. Each model learns in turn from the other:

    L = L_seg(student, y) + w * DCML(student, teacher, y)
    DCML = mean over Omega∩right of KL(teacher || student)
           - beta * mean over Omega∩wrong of min(KL(teacher || student), m)

Omega is the foreground dilated by some voxels: the region that matters, without the easy
background. Where the teacher is right the student is pulled towards it, where it is wrong pushed
away, at most until KL reaches m; without that bound the push has no minimum.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from fed_backend.objectives.divergence import kl_map

__all__ = ["contrast", "masked_mean", "region_of"]


def region_of(target: Tensor, radius: int = 3) -> Tensor:
    """Omega: the foreground, dilated.

    Args:
        target: classes [b, h, w] or [b, d, h, w], integer; 0 is background.
        radius: voxels of the grid that the network sees; the neighbourhood is a square or cube of
            side ``2 radius + 1``.

    Returns:
        Boolean, same shape; empty where there is no foreground.
    """
    pool = {3: F.max_pool2d, 4: F.max_pool3d}.get(target.ndim)
    if pool is None or radius < 0:
        raise ValueError(f"classes of shape {tuple(target.shape)}, dilated by {radius}: need [b, h, w] or [b, d, h, w]")
    foreground = (target > 0).float()[:, None]
    grown: Tensor = pool(foreground, kernel_size=2 * radius + 1, stride=1, padding=radius)
    return grown[:, 0] > 0


def masked_mean(values: Tensor, where: Tensor) -> Tensor:
    """Mean of ``values`` where ``where`` is true, over the whole batch; 0 where that is nowhere."""
    count = where.sum()
    return torch.where(where, values, torch.zeros_like(values)).sum() / count.clamp(min=1)


def contrast(
    student: Tensor,
    teacher: Tensor,
    target: Tensor,
    *,
    region: Tensor | None = None,
    beta: float = 0.1,
    bound: float = 1.0,
) -> Tensor:
    """The contrast term, a scalar; its gradient reaches the student only.

    With ``beta = 0`` it is mutual learning in the region, where the teacher is right; with a region
    that is everything as well, and a teacher without mistakes, plain mutual learning.

    Args:
        student: logits [b, c, ...].
        teacher: logits of the same shape; not differentiated.
        target: true classes [b, ...], integer.
        region: boolean [b, ...]; ``None`` means everything. See :func:`region_of`.
        beta: weight of the push.
        bound: m >= 0 in nats; pixels further apart than this are not pushed any more.

    Returns:
        A value >= ``-beta * bound``; 0, with a zero gradient, where the region is empty.

    Raises:
        ValueError: shapes that do not fit.
    """
    divergence = kl_map(teacher.detach(), student)
    if target.shape != divergence.shape or (region is not None and region.shape != divergence.shape):
        raise ValueError(f"classes or region do not have the shape {tuple(divergence.shape)} of the logits' pixels")
    omega = torch.ones_like(target, dtype=torch.bool) if region is None else region
    right = teacher.argmax(dim=1) == target
    pull = masked_mean(divergence, omega & right)
    push = masked_mean(divergence.clamp(max=bound), omega & ~right)
    return pull - beta * push
