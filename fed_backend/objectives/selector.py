"""FedSM's selector (arXiv 2203.10144): a small network that names the site an image looks like.

The public code uses a VGG11 of half a gigabyte. A choice of ours: four strided convolutions with
group normalisation and global pooling, 98 000 parameters, because its weights and both moments of
Adam travel in every round. A site knows one class only, its own; the moments are averaged with the
weights, so that its next step remembers the other sites.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from fed_backend.methods.fedsm import FIRST_MOMENT, SECOND_MOMENT, SELECTOR, SELECTOR_STEPS
from fed_backend.payload import Tensors

__all__ = ["CHANNELS", "Selector", "SelectorTraining", "selector_shapes"]

CHANNELS = (16, 32, 64, 128)
GROUPS = 8


class Selector(nn.Module):
    """Slices [b, 1, h, w] -> logits [b, sites]; h, w >= 16, intensities of order 1.

    Args:
        sites: number of classes.
        seed: of the initial weights; all sites must use the same.
    """

    def __init__(self, sites: int, *, seed: int = 0) -> None:
        super().__init__()
        sizes = (1, *CHANNELS)
        self.convs = nn.ModuleList(
            nn.Conv2d(i, o, 3, stride=2, padding=1) for i, o in zip(sizes, CHANNELS, strict=False)
        )
        self.norms = nn.ModuleList(nn.GroupNorm(GROUPS, channels) for channels in CHANNELS)
        self.head = nn.Linear(CHANNELS[-1], sites)
        rng = np.random.default_rng(seed)  # numpy's numbers do not change with the version of torch
        with torch.no_grad():
            for name, parameter in self.named_parameters():
                if name.endswith("bias"):
                    parameter.zero_()
                elif parameter.ndim > 1:
                    std = (2 / parameter[0].numel()) ** 0.5
                    parameter.copy_(torch.from_numpy(rng.normal(0, std, tuple(parameter.shape))))

    def forward(self, images: Tensor) -> Tensor:
        x = images
        for conv, norm in zip(self.convs, self.norms, strict=True):
            x = F.relu(norm(conv(x)))
        logits: Tensor = self.head(x.mean(dim=(2, 3)))
        return logits


def selector_shapes(sites: int) -> dict[str, tuple[int, ...]]:
    """Name -> shape of the parameters, for the plan (:func:`fed_backend.methods.fedsm.fedsm_layout`)."""
    return {name: tuple(p.shape) for name, p in Selector(sites).named_parameters()}


class SelectorTraining:
    """A selector with Adam whose moments can be sent and received.

    Args:
        selector: trained in place.
        learning_rate: of Adam; 1e-3 in the paper.
    """

    def __init__(self, selector: Selector, *, learning_rate: float = 1e-3) -> None:
        self._selector = selector
        self._optimiser = torch.optim.Adam(selector.parameters(), lr=learning_rate)

    def step(self, images: Tensor, site: int) -> float:
        """One full-batch step; the paper's code takes one per epoch.

        Args:
            images: [b, 1, h, w], all of this site.
            site: the site's class.

        Returns:
            The cross-entropy before the step.
        """
        self._selector.train()
        self._optimiser.zero_grad(set_to_none=True)
        target = torch.full((len(images),), site, dtype=torch.long)
        loss = F.cross_entropy(self._selector(images), target)
        torch.autograd.backward(loss)
        self._optimiser.step()
        self._selector.eval()
        return float(loss.detach())

    def read(self) -> Tensors:
        """Weights, moments and step count under the names of FedSM's layout, float32."""
        tensors: Tensors = {}
        steps = 0.0
        for name, parameter in self._selector.named_parameters():
            state = self._optimiser.state.get(parameter, {})
            zero = torch.zeros_like(parameter)
            tensors[SELECTOR + name] = _numpy(parameter)
            tensors[FIRST_MOMENT + name] = _numpy(state.get("exp_avg", zero))
            tensors[SECOND_MOMENT + name] = _numpy(state.get("exp_avg_sq", zero))
            steps = float(state.get("step", 0.0))
        tensors[SELECTOR_STEPS] = np.asarray([steps], dtype=np.float32)
        return tensors

    def write(self, tensors: Mapping[str, npt.NDArray[Any]]) -> None:
        """Replace weights, moments and step count by received ones; other names are ignored."""
        with torch.no_grad():
            for name, parameter in self._selector.named_parameters():
                parameter.copy_(_torch(tensors[SELECTOR + name]))
                self._optimiser.state[parameter] = {
                    "step": torch.tensor(float(tensors[SELECTOR_STEPS][0])),
                    "exp_avg": _torch(tensors[FIRST_MOMENT + name]),
                    "exp_avg_sq": _torch(tensors[SECOND_MOMENT + name]),
                }


def _numpy(tensor: Tensor) -> npt.NDArray[np.float32]:
    return tensor.detach().numpy().astype(np.float32, copy=True)


def _torch(array: npt.NDArray[Any]) -> Tensor:
    return torch.from_numpy(np.array(array, dtype=np.float32))
