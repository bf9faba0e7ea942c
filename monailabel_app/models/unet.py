"""The MONAI U-Net over slices or whole volumes; all of its tensors are the adapter."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence

import numpy as np
import torch
from monai.networks.nets import UNet
from torch import Tensor, nn
from torch.nn import functional as F

from fed_backend.plan import LabelSchema, ModelSpec
from monailabel_app.errors import SiteError
from monailabel_app.imaging.volume import Volume
from monailabel_app.models.adapted import Adapted
from monailabel_app.models.adapter import Adapter, normal_like
from monailabel_app.models.base import Cases, Labelmap, Progress, Prompts, no_progress
from monailabel_app.models.slices import Slices, examples_of
from monailabel_app.models.steps import may_mirror
from monailabel_app.models.unet_training import UNetObjective, as_cube, standard

__all__ = ["UNetSegmenter", "likeliest"]


def build_network(spec: ModelSpec, classes: int) -> nn.Module:
    """An untrained U-Net whose weights depend on ``spec.seed`` and tensor names only.

    Instance normalisation is affine: MONAI's plain ``norm="instance"`` has no parameters, so
    "keep the normalisation local" would silently keep nothing.
    """
    network: nn.Module = UNet(
        spatial_dims=spec.spatial_dims,
        in_channels=1,
        out_channels=classes,
        channels=spec.channels,
        strides=(2,) * (len(spec.channels) - 1),
        num_res_units=2,
        norm=("instance", {"affine": True}),
    )
    with torch.no_grad():
        for name, parameter in network.named_parameters():
            if parameter.ndim > 1:  # He et al. 2015, for the PReLU that follows
                fan_in = parameter[0].numel()
                key = int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "little")
                rng = np.random.default_rng((spec.seed, key))
                parameter.copy_(normal_like(parameter, float(np.sqrt(2 / fan_in)), rng))
            elif name.endswith("bias"):
                parameter.zero_()
    return network.eval()


def likeliest(shares: Tensor) -> Tensor:
    """[n, classes, ...] -> [n, ...] uint8: the class with the largest share, the first of equals.

    Class by class, because ``argmax`` over a dimension that is not the last is an order of magnitude slower.
    """
    best, winner = shares[:, 0], torch.zeros(shares[:, 0].shape, dtype=torch.uint8)
    for index in range(1, shares.shape[1]):
        winner[shares[:, index] > best] = index
        best = torch.maximum(best, shares[:, index])
    return winner


class UNetSegmenter(Adapted):
    """See :class:`monailabel_app.models.base.Segmenter`."""

    def __init__(self, spec: ModelSpec, labels: LabelSchema) -> None:
        self.spec = spec
        self.labels: Mapping[str, int] = dict(labels)
        self._values = sorted(labels.values())
        self._network = build_network(spec, 1 + len(self._values))
        self._adapter = Adapter(dict(self._network.named_parameters()))
        identity = {"spec": spec.model_dump(mode="json", exclude={"travels"}), "labels": sorted(labels.items())}
        self.base_sha256 = hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()

    def adapter_shapes(self) -> dict[str, tuple[int, ...]]:
        shapes = self._adapter.shapes()
        return {n: s for n, s in shapes.items() if not self.spec.travels or n.startswith(self.spec.travels)}

    def prompt(self, volume: Volume, prompts: Sequence[Prompts]) -> Labelmap:
        raise SiteError("the model 'unet' takes no prompts", "choose the model 'sam', or ask for an automatic mask")

    @torch.inference_mode()
    def segment(self, volume: Volume, progress: Progress = no_progress) -> Labelmap:
        slices = Slices(volume, self.spec.image_size)
        values = np.asarray([0, *self._values], dtype=np.uint8)
        mask = np.zeros(slices.stack.shape, dtype=np.uint8)
        cube = self._cube_logits(slices) if self.spec.spatial_dims == 3 else None
        for part in slices.chunks(len(values)):
            logits = self._network(standard(slices, slices.images(part))) if cube is None else cube[part]
            shares = slices.fit.expand(torch.softmax(logits, dim=1))
            mask[part] = values[likeliest(shares).numpy()]
            progress(part.stop / len(slices))
        return slices.stack.restore(mask)

    def _cube_logits(self, slices: Slices) -> Tensor:
        """Logits [slice, class, size, size] of one pass over the whole volume."""
        cube = as_cube(slices.images(slice(None)), self.spec.image_size)
        logits = self._network(standard(slices, cube[None]))
        size = (len(slices), *logits.shape[3:])
        return F.interpolate(logits, size=size, mode="trilinear", align_corners=False)[0].transpose(0, 1)

    def objective(self, cases: Cases, *, batch_size: int, seed: int) -> UNetObjective:
        return UNetObjective(
            self._network,
            examples_of(cases, lambda volume: Slices(volume, self.spec.image_size), self._values),
            batch_size=batch_size,
            cube=self.spec.image_size if self.spec.spatial_dims == 3 else 0,
            mirror=may_mirror(self.labels),
            rng=np.random.default_rng(seed),
        )
