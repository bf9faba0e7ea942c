"""The plan: what every site of a federation must agree on, as one readable, hashed file.

A plan is a value object. It is written once (``fedseg plan create``), hashed over its canonical
JSON, and every payload carries that hash; a site refuses whatever comes under another one.
torch is not imported here: the hub and the couriers read plans too.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import re
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from fed_backend.defences import PrivacySpec, RobustSpec, SecureSpec
from fed_backend.errors import PlanError

__all__ = [
    "LabelSchema",
    "MethodSpec",
    "ModelSpec",
    "Plan",
    "TrainingSpec",
    "load_plan",
    "save_plan",
    "start_file",
]

SITE_NAME = re.compile(r"^[A-Za-z0-9][A-Za-z0-9_-]{0,62}$")
"""Site names become host names, folder names and certificate names."""

LabelSchema = dict[str, Annotated[int, Field(ge=1, le=255)]]
"""Label name -> voxel value; 0 is background and is not listed."""


_LATER: dict[str, Any] = {
    "alternatives": [],
    "encoding": "float32",
    "gate_confidence": 0.5,
    "gate_case_floor": -1.0,
    "gate_label_floor": -1.0,
    "robust": None,
    "privacy": None,
    "secure": None,
}
"""Fields that the first plans did not have, with the value that says what those plans said."""


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class ModelSpec(_Frozen):
    """The base, how it is adapted, and how an image is shown to it.

    Attributes:
        name: ``unet`` or ``sam``.
        base: ``unet``, ``sam_tiny``, ``sam_vit_b`` or ``medsam``.
        spatial_dims: 2 (slices across the thickest axis) or 3 (whole volumes, U-Net only).
        image_size: side of the square slice (or cube) that the network sees, in pixels.
        channels: U-Net feature channels from top to bottom; ignored by ``sam``.
        travels: prefixes of the U-Net tensors that leave the site; empty means all of them.
        lora_rank: rank r of every LoRA pair; ignored by ``unet``.
        lora_blocks: how many of the encoder's last blocks are adapted; 0 means all.
        decoder: whether the mask decoder is trained and travels with the LoRA pairs.
        seed: seed of the initial weights (U-Net) or of the initial adapter (SAM).
    """

    name: Literal["unet", "sam"] = "unet"
    base: str = "unet"
    spatial_dims: Literal[2, 3] = 2
    image_size: int = Field(default=128, ge=32, le=1024)
    channels: tuple[int, ...] = (16, 32, 64, 128)
    travels: tuple[str, ...] = ()
    lora_rank: int = Field(default=4, ge=1, le=64)
    lora_blocks: int = Field(default=0, ge=0)
    decoder: bool = True
    seed: int = Field(default=0, ge=0)

    @model_validator(mode="after")
    def _consistent(self) -> ModelSpec:
        if self.name == "unet" and self.base != "unet":
            raise ValueError(f"model 'unet' has base 'unet', not {self.base!r}")
        if self.name == "sam" and self.base not in {"sam_tiny", "sam_vit_b", "medsam"}:
            raise ValueError(f"model 'sam' has no base {self.base!r}; choose sam_tiny, sam_vit_b or medsam")
        if self.name == "sam" and self.spatial_dims != 2:
            raise ValueError("model 'sam' works on slices: spatial_dims must be 2")
        return self


class TrainingSpec(_Frozen):
    """How a site fine-tunes its adapter, in one round or after corrections.

    Attributes:
        steps: gradient steps of one training.
        batch_size: slices (2D) or volumes (3D) per step.
        learning_rate: AdamW learning rate.
        weight_decay: AdamW weight decay.
        proximal: mu of FedProx, the pull towards the tensors that training started from; 0 is off.
        seed: base seed; the round and the site are mixed in.
    """

    steps: int = Field(default=60, ge=1, le=100_000)
    batch_size: int = Field(default=8, ge=1, le=512)
    learning_rate: float = Field(default=1e-3, gt=0, le=1)
    weight_decay: float = Field(default=1e-4, ge=0, le=1)
    proximal: float = Field(default=0.0, ge=0)
    seed: int = Field(default=0, ge=0)


class MethodSpec(_Frozen):
    """A federated method by its registered name, with its settings.

    Attributes:
        name: as registered in :mod:`fed_backend.methods`.
        settings: what the method takes; it refuses names that it does not know.
        adapter: name -> shape of every tensor that may travel under this method, where that is not
            the plan's own table; for alternatives only.
    """

    name: str = "fedavg"
    settings: dict[str, float | int | str | bool] = Field(default_factory=dict)
    adapter: dict[str, tuple[int, ...]] | None = None


class Plan(_Frozen):
    """Method, base, adapter layout and settings that all sites of a federation hold alike.

    Attributes:
        format: version of this file format.
        name: name of the federation, as the sites see it.
        method: the federated method and its settings.
        model: base, adapter and input size.
        base_sha256: digest of the frozen base (``ModelSpec`` decides which one).
        adapter: name -> shape of every tensor that may travel.
        labels: label name -> voxel value.
        training: what a site does in one round.
        rounds: rounds that a request runs when it names no number.
        quorum: updates that a round needs before it is aggregated; the round fails below it.
        round_deadline_s: seconds that a site may take for one round before the hub goes on.
        max_update_norm: L2 norm above which an update is refused.
        max_payload_bytes: size above which a payload is refused unread.
        gate_margin: loss of mean Dice from which a challenger counts as worse; a site may ask for less.
        gate_confidence: how sure a site must be that a challenger is not worse; a site may ask for more.
        gate_case_floor: lowest change of Dice on one case; a site may ask for more.
        gate_label_floor: lowest change of a label's mean Dice; a site may ask for more.
        starters: sites that may start and stop rounds; empty means every member.
        encoding: how tensors travel. ``float16``: both ways. ``int8``: updates as differences with
            error feedback, what the hub sends as float16.
        alternatives: further methods that rounds may be started with. Members consent to them with
            the plan: method, settings and tensors vary within this list and nothing else does.
        robust: how the hub bears hostile updates, under every method of the plan.
        privacy: what each site does to its updates before they leave, under every method of the plan.
        secure: whether the hub sees sums of updates only, under every method of the plan.
    """

    format: Literal["fedseg-plan/1"] = "fedseg-plan/1"
    name: str = Field(default="federation", min_length=1, max_length=64)
    method: MethodSpec = MethodSpec()
    model: ModelSpec = ModelSpec()
    base_sha256: str = Field(pattern=r"^[0-9a-f]{64}$")
    adapter: dict[str, tuple[int, ...]]
    labels: LabelSchema
    training: TrainingSpec = TrainingSpec()
    rounds: int = Field(default=3, ge=1, le=1000)
    quorum: int = Field(default=1, ge=1)
    round_deadline_s: float = Field(default=600.0, gt=0)
    max_update_norm: float = Field(default=1e4, gt=0)
    max_payload_bytes: int = Field(default=512 * 2**20, gt=0)
    gate_margin: float = Field(default=0.01, ge=0, le=1)
    gate_confidence: float = Field(default=0.5, ge=0.5, le=0.999)
    gate_case_floor: float = Field(default=-1.0, ge=-1, le=0)
    gate_label_floor: float = Field(default=-1.0, ge=-1, le=0)
    starters: tuple[str, ...] = ()
    encoding: Literal["float32", "float16", "int8"] = "float32"
    alternatives: tuple[MethodSpec, ...] = ()
    robust: RobustSpec | None = None
    privacy: PrivacySpec | None = None
    secure: SecureSpec | None = None

    @model_validator(mode="after")
    def _consistent(self) -> Plan:
        if not self.labels:
            raise ValueError("labels is empty: name at least one label")
        if len(set(self.labels.values())) != len(self.labels):
            raise ValueError(f"two labels share a voxel value: {self.labels}")
        if not self.adapter or any(spec.adapter == {} for spec in self.alternatives):
            raise ValueError("adapter is empty: nothing would travel")
        if self.method.adapter is not None:
            raise ValueError("method.adapter is for alternatives: list the tensors in the plan's adapter")
        for site in self.starters:
            if not SITE_NAME.match(site):
                raise ValueError(f"starters lists {site!r}, which is no site name")
        if len(set(self.methods)) != len(self.methods):
            raise ValueError(f"a method is listed twice: {', '.join(self.methods)}")
        if self.robust is not None and self.quorum < self.robust.fewest:
            raise ValueError(
                f"robust {self.robust.rule!r} that bears {self.robust.hostile} needs {self.robust.fewest} updates, "
                f"and quorum is {self.quorum}"
            )
        self._check_noise()
        self._check_sums()
        return self

    def _check_sums(self) -> None:
        """What needs single updates, or other numbers than the sums are of."""
        if self.secure is None:
            return
        if self.robust is not None:
            raise ValueError(f"robust {self.robust.rule!r} looks at single updates, which secure hides from the hub")
        if self.encoding != "float32":
            raise ValueError(f"encoding {self.encoding!r} does not go with secure, which sends whole numbers of 64 bit")
        if self.quorum < self.secure.fewest:
            raise ValueError(f"secure sums have {self.secure.fewest} updates or more, and quorum is {self.quorum}")
        needed = 8 * sum(math.prod(shape) for shape in self.adapter.values()) + 2**16
        if needed > self.max_payload_bytes:
            raise ValueError(f"masked updates have {needed} bytes, and max_payload_bytes is {self.max_payload_bytes}")

    def _check_noise(self) -> None:
        """Noise that some limit of the plan would refuse, or scale away."""
        if self.privacy is None:
            return
        noise = self.privacy.deviation * math.sqrt(sum(math.prod(shape) for shape in self.adapter.values()))
        limits = {"max_update_norm": self.max_update_norm}
        if self.robust is not None:
            limits |= {
                "robust.clip": self.robust.clip or math.inf,
                "robust.max_change": self.robust.max_change or math.inf,
            }
        for name, limit in limits.items():
            if 1.5 * noise > limit:
                raise ValueError(f"privacy adds noise of norm {noise:.3g}, too much for {name} = {limit:g}")

    def canonical(self) -> bytes:
        """The plan as canonical JSON (sorted keys, no blanks): what the hash is taken over.

        Fields that older versions do not know are left out while they say nothing, so that a plan
        keeps its hash when the program is renewed.
        """
        return json.dumps(self.as_json(), sort_keys=True, separators=(",", ":")).encode()

    def as_json(self) -> dict[str, Any]:
        """The plan as JSON values, as it is stored and hashed."""
        data = self.model_dump(mode="json")
        for spec in (data["method"], *data["alternatives"]):
            if spec["adapter"] is None:
                del spec["adapter"]
        return {name: value for name, value in data.items() if name not in _LATER or value != _LATER[name]}

    @property
    def methods(self) -> tuple[str, ...]:
        """Names of the methods that rounds may be started with, the plan's own first."""
        return (self.method.name, *(spec.name for spec in self.alternatives))

    def under(self, method: str) -> Plan:
        """The plan as it reads for rounds of one of its methods.

        Method and alternative change places, and with them their tables of tensors; everything else
        stays. The result has a hash of its own, which hub and sites find alike and which the
        payloads of such rounds carry.

        Raises:
            PlanError: the members did not agree on that method.
        """
        if method == self.method.name:
            return self
        for spec in self.alternatives:
            if spec.name == method:
                own = self.method if spec.adapter is None else self.method.model_copy(update={"adapter": self.adapter})
                others = (own, *(other for other in self.alternatives if other is not spec))
                changes = {"method": spec.model_copy(update={"adapter": None}), "alternatives": others}
                return self.model_copy(update={**changes, "adapter": spec.adapter or self.adapter})
        raise PlanError(
            f"method {method!r} is none of the plan's: {', '.join(self.methods)}",
            "leave the method out, or agree on a new plan with the other sites",
        )

    @property
    def sha256(self) -> str:
        """Hex digest that every payload of this federation carries."""
        return hashlib.sha256(self.canonical()).hexdigest()

    def may_start(self, site: str) -> bool:
        """Whether ``site`` may start and stop rounds."""
        return not self.starters or site in self.starters


def parse_plan(data: Any, source: str = "plan") -> Plan:
    """Validate ``data`` (parsed JSON) as a plan.

    Raises:
        PlanError: naming each field that is wrong, and its value.
    """
    try:
        return Plan.model_validate(data)
    except ValidationError as error:
        parts = [
            f"{'.'.join(map(str, e['loc'])) or 'plan'}: {e['msg']}"
            for e in error.errors(include_url=False, include_context=False)
        ]
        raise PlanError(
            f"{source} is not a valid plan: {'; '.join(parts)}",
            "correct the named fields, or write a new plan with `fedseg plan create`",
        ) from None


def load_plan(path: str | os.PathLike[str]) -> Plan:
    """Read a plan file.

    Raises:
        PlanError: the file is missing, is not JSON, or is not a valid plan.
    """
    path = Path(path)
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise PlanError(f"cannot read plan {path.name}: {error.strerror}", "check the path given with --plan") from None
    except ValueError as error:
        raise PlanError(f"{path.name} is not JSON: {error}", "write a new plan with `fedseg plan create`") from None
    return parse_plan(data, path.name)


def save_plan(plan: Plan, path: str | os.PathLike[str]) -> None:
    """Write a plan, indented for readers; the hash does not depend on the layout."""
    Path(path).write_text(json.dumps(plan.as_json(), indent=2, sort_keys=True) + "\n", encoding="utf-8")


def start_file(plan_file: str | os.PathLike[str]) -> Path:
    """Where ``fedseg plan create`` writes the tensors that all sites start from, if a method needs them."""
    return Path(plan_file).with_suffix(".start.safetensors")
