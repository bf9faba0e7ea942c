"""SAM with a small adapter: automatic masks from learned default prompts, and masks from clicks and boxes."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from fed_backend.plan import LabelSchema, ModelSpec
from monailabel_app.errors import LabelError, SiteError
from monailabel_app.imaging.volume import Volume
from monailabel_app.models.adapted import Adapted
from monailabel_app.models.base import Case, Cases, Labelmap, Progress, Prompts, no_progress
from monailabel_app.models.decoding import decode
from monailabel_app.models.embeddings import EmbeddingCache
from monailabel_app.models.encoder import compact, encode_lower, encode_upper, first_adapted_block
from monailabel_app.models.fused import fuse_decoder, fuse_encoder
from monailabel_app.models.lora import adapt
from monailabel_app.models.placing import given_on, on_slices
from monailabel_app.models.prompting import SlicePrompt, mask_prompts, sparse_tokens
from monailabel_app.models.sam_build import load_base
from monailabel_app.models.sam_training import SamObjective
from monailabel_app.models.slices import Slices, examples_of
from monailabel_app.models.steps import may_mirror

__all__ = ["SamSegmenter"]

ENCODE_AT_ONCE = 8
LOWER_LIMIT = 256 * 2**20
"""Bytes of features below the adapted blocks that are kept: a version that is scored on the cases of another
computes only the rest."""


class SamSegmenter(Adapted):
    """See :class:`monailabel_app.models.base.Segmenter`."""

    def __init__(self, spec: ModelSpec, labels: LabelSchema, checkpoint: Path | None = None) -> None:
        self.spec = spec
        self.labels: Mapping[str, int] = dict(labels)
        self._names = sorted(labels, key=labels.__getitem__)
        self._network, weights = load_base(spec.base, spec.image_size, checkpoint)
        identity = json.dumps({"spec": spec.model_dump(mode="json"), "weights": weights}, sort_keys=True)
        self.base_sha256 = hashlib.sha256(identity.encode()).hexdigest()
        self._adapter, self._defaults = adapt(self._network, spec, self._names)
        fuse_encoder(self._network)
        fuse_decoder(self._network)
        self._lower = EmbeddingCache(LOWER_LIMIT)
        self._cache = EmbeddingCache()

    def adapter_shapes(self) -> dict[str, tuple[int, ...]]:
        return self._adapter.shapes()

    def _changed(self) -> None:
        self._cache.clear()

    @torch.inference_mode()
    def segment(self, volume: Volume, progress: Progress = no_progress) -> Labelmap:
        slices = self._slices(volume)
        mask = np.zeros(slices.stack.shape, dtype=np.uint8)
        for part in slices.chunks(len(self._names), ENCODE_AT_ONCE):
            embeddings = self._embed(volume, slices, list(range(part.start, part.stop)))
            nothing = [SlicePrompt()] * len(embeddings)
            logits = [self._answer(embeddings, nothing, default) for default in self._defaults]
            mask[part] = self._labelled(slices, torch.stack(logits, dim=1), self._names)
            progress(part.stop / len(slices))
        return slices.stack.restore(mask)

    @torch.inference_mode()
    def prompt(self, volume: Volume, prompts: Sequence[Prompts]) -> Labelmap:
        slices = self._slices(volume)
        by_slice: dict[int, dict[str, SlicePrompt]] = {}
        for one in prompts:
            if one.label not in self.labels:
                raise LabelError(
                    f"there is no label {one.label!r}", f"the labels of this site are {', '.join(self.labels)}"
                )
            for index, on_slice in on_slices(one, slices).items():
                if one.label in by_slice.setdefault(index, {}):
                    raise SiteError(f"label {one.label!r} is prompted twice on one slice", "send one prompt per label")
                by_slice[index][one.label] = on_slice
        if not by_slice:
            raise SiteError("the request holds no prompt", "place a point or a box")
        mask = np.zeros(slices.stack.shape, dtype=np.uint8)
        for index, by_label in sorted(by_slice.items()):
            embedding = self._embed(volume, slices, [index])
            names = sorted(by_label, key=self.labels.__getitem__)
            logits = [self._prompted(embedding, name, by_label[name]) for name in names]
            mask[index] = self._labelled(slices, torch.stack(logits, dim=1), names)[0]
        return slices.stack.restore(mask)

    def objective(self, cases: Cases, *, batch_size: int, seed: int) -> SamObjective:
        values = [self.labels[name] for name in self._names]
        examples = examples_of(cases, self._slices, values)
        given = {
            (id(example), index, self._names.index(label)): prompt
            for example, case in zip(examples, cases, strict=True)
            for (index, label), prompt in given_on(Case(*case).prompts, example.slices, self.labels).items()
        }
        return SamObjective(
            self._network,
            self._first_adapted,
            self._defaults,
            examples,
            given,
            batch_size=batch_size,
            mirror=may_mirror(self.labels),
            rng=np.random.default_rng(seed),
        )

    @property
    def defaults(self) -> dict[str, Tensor]:
        """Default prompt [tokens, dim] of each label."""
        return dict(zip(self._names, self._defaults, strict=True))

    @property
    def _prompts(self) -> Any:
        return self._network.prompt_encoder

    def _slices(self, volume: Volume) -> Slices:
        return Slices(volume, self.spec.image_size, colour=True, centred=False)

    @property
    def _first_adapted(self) -> int:
        return first_adapted_block(self._adapter.parameters, len(self._network.image_encoder.blocks))  # type: ignore[union-attr, arg-type]

    def _embed(self, volume: Volume, slices: Slices, indices: list[int]) -> Tensor:
        """Encoder features [n, dim, h, w] of the given slices, from the cache where it has them."""
        first = self._first_adapted

        def lower(chosen: list[int]) -> Tensor:
            shown = self._network.preprocess(slices.images(chosen) * 255)  # type: ignore[operator]
            return encode_lower(self._network, shown, first)

        def upper(chosen: list[int]) -> Tensor:
            if not first:
                return encode_upper(self._network, lower(chosen), first)
            # rounded before their first use too: an answer must not depend on what is cached
            below = self._lower.rows(f"{volume.identity} {first}", chosen, lambda new: compact(lower(new)))
            return encode_upper(self._network, below.float(), first)

        return self._cache.rows(volume.identity, indices, upper)

    def _prompted(self, embedding: Tensor, label: str, prompt: SlicePrompt) -> Tensor:
        return self._answer(embedding, [prompt], self._defaults[self._names.index(label)])

    def _answer(self, embeddings: Tensor, prompts: Sequence[SlicePrompt], default: Tensor) -> Tensor:
        tokens = sparse_tokens(self._prompts, prompts, [default] * len(prompts))
        return decode(self._network, embeddings, tokens, mask_prompts(self._network, prompts))

    def _labelled(self, slices: Slices, logits: Tensor, names: Sequence[str]) -> npt.NDArray[np.uint8]:
        """Logits [n, label, h, w] -> voxel values [n, rows, columns]: the strongest label above 0."""
        strength, best = slices.fit.expand(logits).max(dim=1)
        values = torch.tensor([self.labels[name] for name in names], dtype=torch.uint8)
        return torch.where(strength > 0, values[best], 0).numpy()
