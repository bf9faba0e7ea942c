"""Distillation from a frozen teacher (Hinton et al. 2015, arXiv 1503.02531), as pFedSAM's stage B uses it.

pFedSAM (arXiv 2509.15638) trains the local experts with a teacher, the global part without experts,
against over-adaptation. It does not say which way the divergence runs: both are here.
"""

from __future__ import annotations

from torch import Tensor

from fed_backend.objectives.divergence import kl_map

__all__ = ["distillation"]


def distillation(student: Tensor, teacher: Tensor, *, temperature: float = 2.0, direction: str = "forward") -> Tensor:
    """``T^2 * mean over pixels of KL``, which keeps gradients of one size whatever T is.

    Args:
        student: logits [b, c, ...].
        teacher: logits of the same shape; not differentiated.
        temperature: T > 0.
        direction: ``forward`` is KL(teacher || student), which covers all that the teacher deems
            possible; ``reverse`` is KL(student || teacher), which settles on what it deems likely.

    Raises:
        ValueError: an unknown direction, or logits that do not fit.
    """
    teacher = teacher.detach()
    if direction == "forward":
        divergence = kl_map(teacher, student, temperature)
    elif direction == "reverse":
        divergence = kl_map(student, teacher, temperature)
    else:
        raise ValueError(f"direction is {direction!r}: choose 'forward' or 'reverse'")
    return temperature**2 * divergence.mean()
