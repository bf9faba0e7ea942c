"""The MONAI U-Net over slices or whole volumes; all of its tensors are the adapter."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from monai.networks.nets import UNet
from torch import Tensor, nn
from torch.nn import functional as F

from fed_backend.payload import Tensors
from fed_backend.plan import LabelSchema, ModelSpec
from monailabel_app.errors import SiteError
from monailabel_app.imaging.volume import Volume
from monailabel_app.learning.augment import augment
from monailabel_app.learning.losses import class_loss
from monailabel_app.models.adapter import Adapter, normal_like
from monailabel_app.models.base import Labelmap, Progress, Prompts, no_progress
from monailabel_app.models.sampling import balanced
from monailabel_app.models.slices import Example, Slices, examples_of, one_hot
from monailabel_app.models.steps import descend, may_mirror

__all__ = ["UNetSegmenter"]


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


class UNetSegmenter:
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

    def adapter(self) -> Tensors:
        return self._adapter.read()

    def load_adapter(self, tensors: Mapping[str, npt.NDArray[Any]]) -> None:
        self._adapter.write(tensors)

    def prompt(self, volume: Volume, prompts: Sequence[Prompts]) -> Labelmap:
        raise SiteError("the model 'unet' takes no prompts", "choose the model 'sam', or ask for an automatic mask")

    @torch.inference_mode()
    def segment(self, volume: Volume, progress: Progress = no_progress) -> Labelmap:
        slices = Slices(volume, self.spec.image_size)
        values = np.asarray([0, *self._values], dtype=np.uint8)
        mask = np.zeros(slices.stack.shape, dtype=np.uint8)
        cube = self._cube_logits(slices) if self.spec.spatial_dims == 3 else None
        for part in slices.chunks(len(values)):
            logits = self._network(_standard(slices, slices.images(part))) if cube is None else cube[part]
            shares = slices.fit.expand(torch.softmax(logits, dim=1))
            mask[part] = values[shares.argmax(dim=1).numpy()]
            progress(part.stop / len(slices))
        return slices.stack.restore(mask)

    def _cube_logits(self, slices: Slices) -> Tensor:
        """Logits [slice, class, size, size] of one pass over the whole volume."""
        cube = _cube(slices.images(slice(None)), self.spec.image_size)
        logits = self._network(_standard(slices, cube[None]))
        size = (len(slices), *logits.shape[3:])
        return F.interpolate(logits, size=size, mode="trilinear", align_corners=False)[0].transpose(0, 1)

    def train_steps(
        self,
        cases: Sequence[tuple[Volume, Labelmap]],
        *,
        steps: int,
        batch_size: int,
        learning_rate: float,
        weight_decay: float,
        proximal: float,
        seed: int,
    ) -> Iterator[float]:
        rng = np.random.default_rng(seed)
        mirror = may_mirror(self.labels)
        examples = examples_of(cases, lambda volume: Slices(volume, self.spec.image_size), self._values)
        cubes = [self._training_cube(example) for example in examples] if self.spec.spatial_dims == 3 else []

        def loss() -> Tensor:
            if cubes:
                drawn = [(examples[k], *cubes[k]) for k in rng.integers(len(cubes), size=batch_size)]
            else:
                drawn = [(e, *e.draw(index)) for e, index in balanced(examples, batch_size, rng)]
            images = torch.stack([image for _, image, _ in drawn])
            targets = torch.stack([target for _, _, target in drawn])
            images, targets = augment(images, targets, rng, mirror=mirror)
            shown = torch.stack([_standard(e.slices, image) for (e, _, _), image in zip(drawn, images, strict=True)])
            return class_loss(self._network(shown), targets)

        yield from descend(
            self._network,
            self._adapter,
            loss,
            steps=steps,
            learning_rate=learning_rate,
            weight_decay=weight_decay,
            proximal=proximal,
        )

    def _training_cube(self, example: Example) -> tuple[Tensor, Tensor]:
        size, fit = self.spec.image_size, example.slices.fit
        target = _cube(fit.shrink(one_hot(example.labels, self._values)), size)
        target[0] = 1 - target[1:].sum(dim=0)
        return _cube(example.images.float(), size), target


def _cube(slices: Tensor, size: int) -> Tensor:
    """[slice, c, size, size] -> [c, size, size, size], stretched or averaged along the slices."""
    stacked = slices.transpose(0, 1)[None]
    count = stacked.shape[2]
    if count > size:
        return F.adaptive_avg_pool3d(stacked, (size, size, size))[0]
    return F.interpolate(stacked, size=(size, size, size), mode="trilinear", align_corners=False)[0]


def _standard(slices: Slices, images: Tensor) -> Tensor:
    return (images - slices.window.mean) / slices.window.std
