"""The wire format: adapter tensors and figures as one safetensors file, checked before use.

Layout, byte by byte: 8 bytes little-endian header length N, N bytes JSON header, raw tensors (the
safetensors format). ``__metadata__["fedseg"]`` holds a :class:`PayloadHeader` as JSON. Nothing is
ever unpickled, and torch is not imported: the hub and the couriers stay light.
"""

from __future__ import annotations

import errno
import json
import os
import re
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from safetensors import SafetensorError
from safetensors.numpy import save, save_file

from fed_backend.encoding import dequantised, quantised
from fed_backend.errors import PayloadError
from fed_backend.plan import Plan
from fed_backend.tensor_file import Data, head, opened, shapes, size

__all__ = [
    "MAX_EXAMPLES",
    "PayloadHeader",
    "Tensors",
    "check",
    "decode",
    "encode",
    "encode_update",
    "metadata_of",
    "read_header",
    "write",
]

Tensors = dict[str, npt.NDArray[Any]]
"""Tensor name -> array; float32 once decoded."""

Kind = Literal["global", "update", "aggregate", "masked"]

MAX_EXAMPLES = 2**31 - 1


class PayloadHeader(BaseModel):
    """Who sends what, in which round, under which plan.

    Attributes:
        format: wire format version.
        kind: ``global`` (where a site starts a round), ``update`` (a site's result),
            ``aggregate`` (what the hub offers after a round) or ``masked`` (an update in a secure sum;
            :mod:`fed_backend.secure.wire`).
        plan_sha256: hash of the plan that both ends hold.
        base_sha256: digest of the frozen base the tensors adapt.
        site: the site that made it, or ``hub``.
        federation_round: identifier of the requested run of rounds.
        round: number of the round in that run, from 0.
        method: name of the federated method.
        examples: training cases behind the tensors; weights the average.
        parent_sha256: digest of the payload that training started from; empty for the first one.
        metrics: figures beside the tensors (Dice, seconds, loss); finite numbers only.
        scales: tensor -> step of its int8 values, which are then differences from the payload that
            training started from; empty where tensors are sent as they are.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    format: Literal["fedseg/1"] = "fedseg/1"
    kind: Kind
    plan_sha256: str = Field(pattern=r"^[0-9a-f]{64}$")
    base_sha256: str = Field(pattern=r"^[0-9a-f]{64}$")
    site: str = Field(max_length=64)
    federation_round: str = Field(max_length=64)
    round: int = Field(ge=0)
    method: str = Field(max_length=32)
    examples: int = Field(default=0, ge=0, le=MAX_EXAMPLES)
    parent_sha256: str = Field(default="", pattern=r"^([0-9a-f]{64})?$")
    metrics: dict[str, float] = Field(default_factory=dict)
    scales: dict[str, Annotated[float, Field(ge=0)]] = Field(default_factory=dict)

    def as_json(self) -> dict[str, Any]:
        """The header as it is written: older versions read what does not need newer fields."""
        return self.model_dump(exclude=None if self.scales else {"scales"})


def encode(
    header: PayloadHeader,
    tensors: Mapping[str, npt.NDArray[Any]],
    *,
    half: bool = False,
    exact: tuple[str, ...] = (),
) -> bytes:
    """Serialise ``tensors`` as float32 under ``header``; equal input gives equal bytes.

    Args:
        header: its ``scales`` name the tensors that are int8 steps.
        tensors: by name.
        half: as float16 instead, rounded to even.
        exact: prefixes of names that stay float32 all the same.

    Raises:
        PayloadError: a value that float16 cannot hold.
    """
    return save(_arrays(header, tensors, half, exact), metadata=metadata_of(header))


def write(
    path: Path,
    header: PayloadHeader,
    tensors: Mapping[str, npt.NDArray[Any]],
    *,
    half: bool = False,
    exact: tuple[str, ...] = (),
) -> None:
    """:func:`encode` into a file, without a second copy of the tensors in memory.

    Raises:
        PayloadError: a value that float16 cannot hold.
        OSError: the file cannot be written.
    """
    try:
        save_file(_arrays(header, tensors, half, exact), path, metadata=metadata_of(header))
    except SafetensorError as error:  # the library tells the system's error in words
        code = re.search(r"os error (\d+)", str(error))
        number = int(code[1]) if code else errno.EIO
        raise OSError(number, os.strerror(number)) from None


def metadata_of(header: PayloadHeader) -> dict[str, str]:
    """How a header stands in a safetensors file."""
    return {"fedseg": json.dumps(header.as_json(), sort_keys=True)}


def _arrays(
    header: PayloadHeader, tensors: Mapping[str, npt.NDArray[Any]], half: bool, exact: tuple[str, ...]
) -> dict[str, npt.NDArray[Any]]:
    arrays: dict[str, npt.NDArray[Any]] = {}
    for name in sorted(tensors):
        dtype = "i1" if name in header.scales else "<f2" if half and not name.startswith(exact) else "<f4"
        with np.errstate(over="ignore"):
            arrays[name] = np.ascontiguousarray(tensors[name], dtype=dtype)
        if dtype == "<f2" and np.isinf(arrays[name]).any() and np.isfinite(tensors[name]).all():
            raise PayloadError(f"tensor {name!r} holds a value above 65504, which float16 cannot", "send float32")
    return arrays


def encode_update(
    header: PayloadHeader, tensors: Tensors, plan: Plan, *, start: Tensors, residual: Tensors, exact: tuple[str, ...]
) -> tuple[bytes, Tensors]:
    """Serialise an update as the plan says.

    Args:
        header: of the update; without its figures where the plan asks for differential privacy.
        tensors: what is shared.
        plan: decides about the encoding.
        start: what the hub sent; empty in the first round of a federation, when float16 stands for int8.
        residual: what int8 lost in the round before.
        exact: prefixes of names that are always sent as float32.

    Returns:
        The payload, and what it lost; empty unless it is int8.
    """
    if plan.privacy is not None:  # figures of the training would tell what the noise hides
        header = header.model_copy(update={"examples": 1, "metrics": {}})
    if plan.encoding != "int8" or not start:
        return encode(header, tensors, half=plan.encoding != "float32", exact=exact), {}
    small = {name: tensor for name, tensor in tensors.items() if not name.startswith(exact)}
    steps, scales, lost = quantised(small, start, residual)
    return encode(header.model_copy(update={"scales": scales}), {**tensors, **steps}), lost


def read_header(data: Data) -> PayloadHeader:
    """Read the header of a payload without touching its tensors.

    Raises:
        PayloadError: the bytes are no payload of this format.
    """
    hint = "the sender must use a matching version of fedseg"
    try:
        metadata = json.loads(head(data)).get("__metadata__", {})
        return PayloadHeader.model_validate_json(metadata["fedseg"])
    except ValidationError as error:
        names = ", ".join(".".join(map(str, e["loc"])) or "header" for e in error.errors(include_url=False))
        raise PayloadError(f"payload header is invalid in: {names}", hint) from None
    except (ValueError, KeyError, AttributeError, TypeError, RecursionError):
        raise PayloadError("payload has no fedseg header", hint) from None


def decode(
    data: Data, start: Tensors | None = None, names: Collection[str] | None = None
) -> tuple[PayloadHeader, Tensors]:
    """Read header and tensors; every tensor comes back as float32.

    Args:
        data: the payload.
        start: what differences are taken from: the tensors of the payload that training started from.
        names: the tensors to read, of those that it holds; ``None`` reads all.

    Raises:
        PayloadError: malformed, a dtype other than float32, float16 or int8, or differences from
            something else.
    """
    header = read_header(data)
    try:
        with opened(data) as found:
            tensors = {name: found[name] for name in found if names is None or name in names}
    except (SafetensorError, ValueError) as error:
        raise PayloadError(
            f"payload from {header.site!r} is malformed: {error}", "ask the site to send it again"
        ) from None
    if header.scales and names is not None:
        header = header.model_copy(update={"scales": {n: s for n, s in header.scales.items() if n in names}})
    return header, _summed(header, tensors, start or {})


def _summed(header: PayloadHeader, tensors: Tensors, start: Tensors) -> Tensors:
    """Differences added to where they start."""
    if not header.scales:
        return tensors
    try:
        steps = {name: tensors[name] for name in header.scales}
        return {**tensors, **dequantised(steps, header.scales, start)}
    except (KeyError, ValueError) as error:
        raise PayloadError(
            f"payload from {header.site!r} holds differences that do not fit what they start from: {error}",
            "ask the site to send it again",
        ) from None


def check(
    data: Data,
    plan: Plan,
    *,
    kind: Kind,
    site: str | None = None,
    federation_round: str | None = None,
    round: int | None = None,
    keys: frozenset[str] | None = None,
    start: Tensors | None = None,
) -> tuple[PayloadHeader, Tensors]:
    """Decode a payload and refuse it unless it is exactly what was asked for.

    Order: size, header, plan, base, kind, method, site, round, names, shapes, finite, norm, not all zero.

    Args:
        data: the payload as received.
        plan: the plan that this end holds.
        kind: the kind expected here.
        site: the authenticated sender; ``None`` accepts any.
        federation_round: the run expected; ``None`` accepts any.
        round: the round expected; ``None`` accepts any.
        keys: tensor names expected; ``None`` means all that the plan lists.
        start: what int8 differences are taken from.

    Returns:
        The header and the float32 tensors.

    Raises:
        PayloadError: naming the first thing that does not fit.
    """
    if (length := size(data)) > plan.max_payload_bytes:
        raise PayloadError(
            f"payload has {length} bytes; the plan allows {plan.max_payload_bytes}",
            "raise max_payload_bytes in the plan if this size is intended",
        )
    header = read_header(data)
    mismatch = {
        "plan": (header.plan_sha256, plan.sha256),
        "base": (header.base_sha256, plan.base_sha256),
        "kind": (header.kind, kind),
        "method": (header.method, plan.method.name),
        "sender": (header.site, header.site if site is None else site),
        "federation round": (
            header.federation_round,
            header.federation_round if federation_round is None else federation_round,
        ),
        "round": (header.round, header.round if round is None else round),
    }
    for what, (got, expected) in mismatch.items():
        if got != expected:
            raise PayloadError(
                f"payload from {header.site!r} has {what} {_short(got)}, expected {_short(expected)}",
                "both ends must hold the same plan and be in the same round",
            )
    if header.scales and (plan.encoding, kind) != ("int8", "update"):
        raise PayloadError(f"payload from {header.site!r} holds int8 differences, which the plan does not allow")
    _check_shapes(data, header.site, plan, frozenset(plan.adapter) if keys is None else keys)
    header, tensors = decode(data, start)
    for name, tensor in tensors.items():
        if not np.isfinite(tensor).all():
            raise PayloadError(
                f"tensor {name!r} from {header.site!r} holds NaN or infinity",
                "the training at that site diverged: lower its learning rate",
            )
    norm = sum(float(np.vdot(t, t)) for t in tensors.values()) ** 0.5  # infinite where a square is
    if norm > plan.max_update_norm:
        raise PayloadError(
            f"payload from {header.site!r} has norm {norm:.3g}, above the plan's {plan.max_update_norm:.3g}",
            "a diverged or hostile update: inspect the site before allowing more",
        )
    if kind == "update" and tensors and not norm and not any(t.any() for t in tensors.values()):
        raise PayloadError(
            f"payload from {header.site!r} holds nothing but zeros",
            "no training ends there: inspect the site before it takes part again",
        )
    return header, tensors


def _check_shapes(data: Data, site: str, plan: Plan, expected: frozenset[str]) -> None:
    """Refuse other tensors than the expected ones before any is decoded: a small file may announce many."""
    try:
        found = shapes(data)
    except ValueError as error:
        raise PayloadError(f"payload from {site!r} is malformed: {error}", "ask the site to send it again") from None
    if missing := sorted(expected - found.keys()):
        raise PayloadError(f"payload from {site!r} lacks tensor {missing[0]!r} ({len(missing)} missing)")
    if extra := sorted(found.keys() - expected):
        raise PayloadError(f"payload from {site!r} holds tensor {extra[0]!r}, which may not travel ({len(extra)} such)")
    for name, shape in found.items():
        if shape != plan.adapter[name]:
            raise PayloadError(f"tensor {name!r} from {site!r} has shape {shape}, the plan says {plan.adapter[name]}")


def _short(value: object) -> str:
    text = str(value)
    return text[:12] + "…" if len(text) == 64 else repr(value)
