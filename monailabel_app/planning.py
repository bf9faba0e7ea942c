"""Makes plans from a model, and says in a few lines what a plan says."""

from __future__ import annotations

import json
from math import prod
from pathlib import Path
from typing import Any

from fed_backend.methods import GOSSIP, METHODS, StatefulMethod, build_method, check_methods
from fed_backend.methods.fedsm import fedsm_layout
from fed_backend.payload import PayloadHeader, encode
from fed_backend.plan import LabelSchema, MethodSpec, ModelSpec, Plan, TrainingSpec, parse_plan
from monailabel_app.errors import SiteError
from monailabel_app.models.registry import build_segmenter, default_spec

__all__ = ["build_plan", "build_start", "parse_method", "parse_robust", "summary", "travelling"]


def build_plan(
    *,
    model: str,
    labels: LabelSchema,
    name: str,
    method: str,
    rounds: int,
    quorum: int,
    round_deadline: float,
    starters: tuple[str, ...],
    gate_margin: float,
    checkpoint: Path | None,
    seed: int,
    steps: int | None = None,
    learning_rate: float | None = None,
    batch_size: int | None = None,
    proximal: float | None = None,
    travels: tuple[str, ...] = (),
    also: tuple[str, ...] = (),
    encoding: str = "float32",
    robust: str | None = None,
    privacy: str | None = None,
    secure: int | None = None,
    **shape: Any,
) -> Plan:
    """A plan whose adapter layout and base digest come from the model itself.

    Args:
        method: name of a method, and its settings; see :func:`parse_method`.
        encoding: how tensors travel.
        robust: how the hub bears hostile updates; see :func:`parse_robust`.
        privacy: what sites do to their updates: ``clip=1;noise=1``, fields of
            :class:`~fed_backend.defences.PrivacySpec`.
        secure: the hub sees sums of at least so many updates, and no single one.
        also: methods that rounds may be started with too, written in the same way.
        shape: further fields of :class:`~fed_backend.plan.ModelSpec`; ``None`` keeps the default.

    Raises:
        FedSegError: settings that contradict each other, or a missing checkpoint.
    """
    chosen = parse_method(method)
    if checkpoint is not None and not checkpoint.is_file():
        raise SiteError(f"checkpoint {str(checkpoint)!r} does not exist", "check --checkpoint")
    training = {"steps": steps, "learning_rate": learning_rate, "batch_size": batch_size, "proximal": proximal}
    spec = {**default_spec(model).model_dump(), **_given(shape), "seed": seed, "travels": travels}
    draft: dict[str, Any] = {
        "name": name,
        "method": chosen.model_dump(),
        "model": spec,
        "base_sha256": "0" * 64,
        "adapter": {"to be filled": [1]},
        "labels": labels,
        "training": {**TrainingSpec(seed=seed).model_dump(), **_given(training)},
        "rounds": rounds,
        "quorum": quorum,
        "round_deadline_s": round_deadline,
        "gate_margin": gate_margin,
        "starters": starters,
        "encoding": encoding,
        "robust": None if robust is None else parse_robust(robust),
        "privacy": None if privacy is None else _settings("--privacy", "clip=1", privacy),
        "secure": None if secure is None else {"fewest": secure},
    }
    checked = parse_plan(draft, "the plan")
    segmenter = build_segmenter(checked.model, labels, checkpoint=checkpoint)
    model_part = travelling(checked.model, segmenter.adapter_shapes())
    adapter = _layout(chosen, model_part)
    alternatives = [(spec, _layout(spec, model_part)) for spec in map(parse_method, also)]
    plan = parse_plan(
        {
            **draft,
            "base_sha256": segmenter.base_sha256,
            "adapter": adapter,
            "alternatives": [
                {**spec.model_dump(), "adapter": None if layout == adapter else layout} for spec, layout in alternatives
            ],
        },
        "the plan",
    )
    check_methods(plan)  # a plan that its method refuses would only fail at the hub
    return plan


def _layout(method: MethodSpec, model_part: dict[str, tuple[int, ...]]) -> dict[str, tuple[int, ...]]:
    """Name -> shape of what travels under a method: of one model, or of FedSM's three."""
    if method.name != "fedsm":
        return model_part
    from fed_backend.objectives.selector import selector_shapes  # torch

    sites = [name for name in str(method.settings.get("sites", "")).split(",") if name.strip()]
    return fedsm_layout(model_part, selector_shapes(max(1, len(sites))))


def parse_method(text: str) -> MethodSpec:
    """``fedsca``, or with settings ``fedsca:share=0.25;tau=0.2``; values are JSON, or else plain text.

    Raises:
        SiteError: no such method, or a setting without a value.
    """
    name, _, rest = text.partition(":")
    if name not in (known := {**METHODS, **GOSSIP}):
        raise SiteError(f"there is no method {name!r}", f"choose one of: {', '.join(known)}")
    return MethodSpec(name=name, settings=_settings(f"method {name!r}", name, rest))


def parse_robust(text: str) -> dict[str, Any]:
    """``median:hostile=1;clip=5``: rule and settings of :class:`~fed_backend.defences.RobustSpec`.

    Raises:
        SiteError: a setting without a value.
    """
    rule, _, rest = text.partition(":")
    return {"rule": rule, **_settings("--robust", rule, rest)}


def _settings(what: str, name: str, text: str) -> dict[str, float | int | str | bool]:
    settings: dict[str, float | int | str | bool] = {}
    for part in filter(None, text.split(";")):
        key, equals, value = part.partition("=")
        if not equals:
            raise SiteError(f"setting {part!r} of {what} has no value", f"write {name}:SETTING=VALUE;...")
        try:
            parsed = json.loads(value)
        except ValueError:
            parsed = value
        settings[key.strip()] = parsed if isinstance(parsed, bool | int | float) else value
    return settings


def build_start(plan: Plan, checkpoint: Path | None) -> bytes | None:
    """The tensors that all sites start from, as a payload for the hub's kit; ``None`` if no method asks."""
    methods = [build_method(plan.under(name)) for name in plan.methods if name not in GOSSIP]
    keys = {key for method in methods if isinstance(method, StatefulMethod) for key in method.start_keys()}
    if plan.robust is not None and plan.robust.needs_start:
        keys |= {key for method in methods for key in method.shared_keys()}
    if not keys:
        return None
    base = build_segmenter(plan.model, plan.labels, checkpoint=checkpoint).adapter()
    header = PayloadHeader(
        kind="global",
        plan_sha256=plan.sha256,
        base_sha256=plan.base_sha256,
        site="",
        federation_round="start",
        round=0,
        method=plan.method.name,
    )
    return encode(header, {key: base[key] for key in keys})


def travelling(spec: ModelSpec, shapes: dict[str, tuple[int, ...]]) -> dict[str, tuple[int, ...]]:
    """The tensors that a plan lists: all, or those under the prefixes it names.

    Raises:
        SiteError: a prefix that no tensor has.
    """
    for prefix in spec.travels:
        if not any(name.startswith(prefix) for name in shapes):
            raise SiteError(
                f"no tensor begins with {prefix!r}", f"tensors begin with: {', '.join(sorted(shapes)[:4])}, ..."
            )
    return {name: shape for name, shape in shapes.items() if not spec.travels or name.startswith(spec.travels)}


def summary(loaded: Plan) -> str:
    """A plan in a few lines, with the size of what travels."""
    model, training = loaded.model, loaded.training
    numbers = sum(prod(shape) for shape in loaded.adapter.values())
    up, down = (numbers * {"float32": 4, "float16": 2, "int8": n}[loaded.encoding] / 2**20 for n in (1, 2))
    up *= 2 if loaded.secure else 1  # masked as whole numbers of 64 bit
    size = f"about {up:.2f} MiB up and {down:.2f} MiB down per site and round ({loaded.encoding})"
    lines = {
        "plan": f"{loaded.name}, sha256 {loaded.sha256}",
        "method": "; or ".join(_shown(spec) for spec in (loaded.method, *loaded.alternatives)),
        "model": f"{model.name} on {model.base}, {model.image_size} px, base {loaded.base_sha256[:12]}…",
        "adapter": f"{len(loaded.adapter)} tensors, {numbers} numbers, {size}",
        "labels": ", ".join(f"{name} = {value}" for name, value in loaded.labels.items()),
        "training": f"{training.steps} steps of {training.batch_size}, learning rate {training.learning_rate:g}",
        "rounds": f"{loaded.rounds}, quorum {loaded.quorum}, {loaded.round_deadline_s:g} s each",
        "starters": ", ".join(loaded.starters) or "every site",
        **({"robust": str(loaded.robust)} if loaded.robust else {}),
        **({"privacy": _protection(loaded)} if loaded.privacy else {}),
        **({"secure": str(loaded.secure)} if loaded.secure else {}),
    }
    return "\n".join(f"{key:9}{value}" for key, value in lines.items())


def _protection(loaded: Plan) -> str:
    from monailabel_app.federation.privacy import epsilon_of  # slow to import

    assert loaded.privacy is not None
    spent = epsilon_of([(loaded.privacy.noise, loaded.rounds)], loaded.privacy.delta)
    return f"{loaded.privacy}; {loaded.rounds} round(s) cost epsilon {spent:.3g}"


def _shown(method: MethodSpec) -> str:
    return f"{method.name} {dict(method.settings) or ''}".strip()


def _given(options: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in options.items() if value is not None}
