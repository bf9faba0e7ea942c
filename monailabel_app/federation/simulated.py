"""A site of a simulated federation: real training and real masks, without a server, files or a learner.

It answers the same payloads as a site's learner, and with equal plan, cases and name trains the same
tensors. Its gate is the plainest: what is offered serves unless its mean Dice on the site's
validation cases is below that of what serves.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import Any

from fed_backend.methods.base import Update
from fed_backend.methods.gcml import GCML
from fed_backend.payload import PayloadHeader, Tensors, encode
from fed_backend.plan import Plan
from monailabel_app.federation.halves import prepare
from monailabel_app.federation.participant import open_visit
from monailabel_app.federation.routed import RoutedSegmenter
from monailabel_app.federation.site_round import SiteRound
from monailabel_app.federation.visitor import meet
from monailabel_app.imaging.volume import Volume
from monailabel_app.learning.evaluate import evaluate
from monailabel_app.learning.tasks.workbench import mix_seed
from monailabel_app.models.base import Labelmap, Segmenter

__all__ = ["Case", "ModelSite"]

Case = tuple[str, Volume, Labelmap]
"""Name, image, true mask in the image's own grid."""


class ModelSite:
    """See :class:`fed_backend.simulation.SimulatedSite` and :class:`fed_backend.gossip.simulation.SimulatedPeer`.

    Args:
        name: of the site.
        plan: that it holds.
        segmenter: a model of its own.
        train: training cases, at least one.
        validation: what its gate judges by; without any, nothing but the initial model ever serves.

    Attributes:
        served: the tensors that serve.
        offered: those that were last offered, whether or not they serve.
        own: those that the site goes on with among peers: what its last visit left.
        steps: gradient steps taken so far.
    """

    def __init__(
        self, name: str, plan: Plan, segmenter: Segmenter, train: Sequence[Case], validation: Sequence[Case]
    ) -> None:
        prepare(segmenter, plan)
        self.name, self.examples, self.steps = name, len(train), 0
        self._plan, self._segmenter = plan, RoutedSegmenter(segmenter)
        self._train, self._validation = train, validation
        self._base = segmenter.adapter()
        self.served = self.offered = self.own = self._base
        self._local: Tensors = {}
        self._lost: Tensors = {}
        self._dice: float | None = None  # of what serves, on the validation cases

    def train(self, data: bytes) -> bytes:
        """Payload of kind ``global`` in, ``update`` out."""
        request = SiteRound(data, self._plan, ("global",), self.name)
        start = request.start(self._base, self.served, self._local)
        seed = mix_seed(request.plan.training.seed, self.name, request.header.round)
        cases = [(volume, mask) for _, volume, mask in self._train]
        trained = request.train(self._segmenter, cases, start, self._lost, seed)
        self._local, self._lost = trained.local, trained.lost
        self.steps += trained.figures.steps
        return trained.reply

    def offer(self, data: bytes) -> Mapping[str, Any]:
        """Payload of kind ``aggregate`` in; the report is ``{promoted, dice}``."""
        request = SiteRound(data, self._plan, ("aggregate",), self.name)
        tensors = request.start(self._base, self.served, self._local)
        volumes = {name: volume for name, volume, _ in self._validation}
        return self._judge(request.half.version(tensors, volumes, self._score))

    def lend(self, number: int) -> bytes:
        """The site's own model, for a peer."""
        header = PayloadHeader(
            kind="update",
            plan_sha256=self._plan.sha256,
            base_sha256=self._plan.base_sha256,
            site=self.name,
            federation_round="gossip",
            round=number,
            method=self._plan.method.name,
            examples=self.examples,
        )
        keys = GCML(self._plan).shared_keys()
        return encode(header, {name: self.own[name] for name in keys}, half=self._plan.encoding != "float32")

    def visit(self, data: bytes) -> Mapping[str, Any]:
        """A peer's model in; the report is ``{promoted, dice, chosen}``."""
        header, tensors = open_visit(data, self._plan)
        method = GCML(self._plan)
        shared = method.shared_keys()
        met = meet(
            self._segmenter,
            method,
            Update(self.name, {name: self.own[name] for name in shared}, self.examples),
            Update(header.site, tensors, header.examples),
            {name: tensor for name, tensor in self.own.items() if name not in shared},
            [(volume, mask) for _, volume, mask in self._train],
            self._plan.training,
            self._score,
            seed=mix_seed(self._plan.training.seed, self.name, header.site, header.round),
        )
        self.steps += len(met.losses)
        self.own = met.tensors
        return {**self._judge(met.tensors), "chosen": met.chosen}

    def dice(self, tensors: Tensors, cases: Sequence[Case]) -> dict[str, float]:
        """Case -> mean Dice over the labels, of any version of this site."""
        self._segmenter.load_adapter(tensors)
        named = [(name, (volume, mask)) for name, volume, mask in cases]
        return {case: fmean(labels.values()) for case, labels in evaluate(self._segmenter, named).items()}

    def _score(self, tensors: Tensors) -> dict[str, float]:
        return self.dice(tensors, self._validation)

    def _judge(self, tensors: Tensors) -> dict[str, Any]:
        self.offered = tensors
        if not self._validation:
            return {"promoted": False, "dice": None}
        if self._dice is None:
            self._dice = fmean(self._score(self.served).values())
        dice = fmean(self._score(tensors).values())
        promoted = dice >= self._dice
        if promoted:
            self.served, self._dice = tensors, dice
        return {"promoted": promoted, "dice": dice}
