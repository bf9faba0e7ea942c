"""The messages of a secure sum, after the payload that a round begins with.

=======  =======================  ==================================================================
step     hub to site              site to hub
=======  =======================  ==================================================================
train    payload of a ``global``  :class:`~fed_backend.secure.roster.Advert`: it has trained, and its keys
shares   :class:`Adverts`         :class:`Sealed`: shares of its two secrets, sealed for each other site
mask     :class:`Sealed`          the masked update
agree    :class:`Survivors`       :class:`Signed`: its signature of who is in the sum and who was lost
reveal   :class:`Agreement`       :class:`Revealed`: shares of secrets of others
=======  =======================  ==================================================================

The masked update is a safetensors file with one tensor ``masked`` of unsigned 64 bit, under a
:class:`~fed_backend.payload.PayloadHeader` of kind ``masked`` without figures.
"""

from __future__ import annotations

import json
from typing import Annotated, Any, TypeVar

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from safetensors import SafetensorError, deserialize
from safetensors.numpy import save

from fed_backend.errors import PayloadError
from fed_backend.payload import PayloadHeader, read_header
from fed_backend.plan import Plan
from fed_backend.secure.fixed_point import Words
from fed_backend.secure.roster import Advert, Context, Signature
from fed_backend.secure.shamir import SHARE_BYTES

__all__ = [
    "STEPS",
    "Adverts",
    "Agreement",
    "Revealed",
    "Sealed",
    "Signed",
    "Survivors",
    "decode_masked",
    "encode_masked",
    "parsed",
    "to_bytes",
]

STEPS = ("shares", "mask", "agree", "reveal")
"""What follows ``train``, in order."""

Name = Annotated[str, Field(max_length=64)]
Share = Annotated[str, Field(pattern=rf"^[0-9a-f]{{{2 * SHARE_BYTES}}}$")]
_TENSOR = "masked"


class _Message(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    context: Context


class Adverts(_Message):
    """Everybody's keys."""

    adverts: tuple[Advert, ...]


class Sealed(_Message):
    """Site -> hex of what is sealed for it, or, on the way to a site, of what each other site sealed for it."""

    boxes: dict[Name, Annotated[str, Field(pattern=r"^([0-9a-f]{2})+$", max_length=1024)]]


class Survivors(_Message):
    """The sites whose masked updates are in the sum."""

    sites: tuple[Name, ...]


class Signed(_Message):
    """A site's signature, hex, of the sum as it sees it."""

    signature: Signature


class Agreement(Survivors):
    """The survivors again, with the signatures of at least as many sites as must reveal."""

    signatures: dict[Name, Signature]


class Revealed(_Message):
    """Shares, hex: ``seeds`` of sites in the sum, ``keys`` of those that are not."""

    seeds: dict[Name, Share]
    keys: dict[Name, Share]


M = TypeVar("M", bound=BaseModel)


def to_bytes(message: BaseModel) -> bytes:
    """Equal messages give equal bytes."""
    return json.dumps(message.model_dump(mode="json"), sort_keys=True).encode()


def parsed(kind: type[M], data: bytes, who: str) -> M:
    """Read a message of ``who``.

    Raises:
        PayloadError: it is none.
    """
    try:
        return kind.model_validate_json(data)
    except ValidationError as error:
        where = ", ".join(".".join(map(str, e["loc"])) or "message" for e in error.errors(include_url=False)[:3])
        raise PayloadError(
            f"the message of {who!r} in a secure sum is invalid in: {where}", "use matching versions of fedseg"
        ) from None


def encode_masked(plan: Plan, context: Context, site: str, words: Words) -> bytes:
    """A masked update."""
    header = PayloadHeader(
        kind="masked",
        plan_sha256=plan.sha256,
        base_sha256=plan.base_sha256,
        site=site,
        federation_round=context.run,
        round=context.round,
        method=plan.method.name,
        parent_sha256=context.start_sha256,
    )
    return save({_TENSOR: words}, metadata={"fedseg": json.dumps(header.as_json(), sort_keys=True)})


def decode_masked(data: bytes, plan: Plan, context: Context, site: str, length: int) -> Words:
    """A masked update of ``site`` for this round, ``length`` words of it.

    Raises:
        PayloadError: naming the first thing that does not fit.
    """
    if len(data) > plan.max_payload_bytes:
        raise PayloadError(f"the masked update of {site!r} has {len(data)} bytes", "raise max_payload_bytes")
    header = read_header(data)
    mismatch: dict[str, tuple[Any, Any]] = {
        "plan": (header.plan_sha256, plan.sha256),
        "kind": (header.kind, "masked"),
        "method": (header.method, plan.method.name),
        "sender": (header.site, site),
        "run": (header.federation_round, context.run),
        "round": (header.round, context.round),
        "start": (header.parent_sha256, context.start_sha256),
    }
    for what, (got, expected) in mismatch.items():
        if got != expected:
            raise PayloadError(f"the masked update of {site!r} has {what} {got!r:.70}, expected {expected!r:.70}")
    try:
        entries = dict(deserialize(data))  # type: ignore[no-untyped-call]
    except (SafetensorError, ValueError) as error:
        raise PayloadError(f"the masked update of {site!r} is malformed: {error}") from None
    entry: dict[str, Any] = entries.get(_TENSOR) or {}
    if entries.keys() != {_TENSOR} or entry["dtype"] != "U64" or list(entry["shape"]) != [length]:
        raise PayloadError(f"the masked update of {site!r} is not one row of {length} words")
    return np.frombuffer(entry["data"], "<u8").astype(np.uint64, copy=False)
