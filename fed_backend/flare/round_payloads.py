"""The payloads of a round at the hub: pure functions from payloads to payloads."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

import numpy as np

from fed_backend.errors import ReplayError
from fed_backend.methods import Method, Update, exact_of
from fed_backend.methods.fedavg import Averaging
from fed_backend.payload import Kind, PayloadHeader, Tensors, check, decode, encode, read_header
from fed_backend.plan import Plan

__all__ = ["HUB", "aggregate_payloads", "check_update", "global_payload"]

HUB = "hub"
"""Name of the sender in payloads that the hub makes."""


def _header(plan: Plan, kind: Kind, run: str, round_: int, **more: object) -> PayloadHeader:
    values = {
        "kind": kind,
        "plan_sha256": plan.sha256,
        "base_sha256": plan.base_sha256,
        "site": HUB,
        "federation_round": run,
        "round": round_,
        "method": plan.method.name,
        **more,
    }
    return PayloadHeader.model_validate(values)


def global_payload(plan: Plan, run: str, round_: int, adapter: bytes | None, exact: tuple[str, ...] = ()) -> bytes:
    """Where a site starts round ``round_``: the last aggregate for it, or ``None`` for its base adapter."""
    if adapter is None:
        return encode(_header(plan, "global", run, round_, metrics={"initial": 1.0}), {})
    _, tensors = decode(adapter)
    return encode(_header(plan, "global", run, round_), tensors, half=plan.encoding != "float32", exact=exact)


def check_update(
    data: bytes, plan: Plan, keys: frozenset[str], site: str, run: str, round_: int, start: bytes
) -> Update:
    """Decode an update and refuse all but what ``site`` was asked for.

    Raises:
        PayloadError: it does not fit the plan, the site, or the round.
        ReplayError: its training started from another payload than ``start``.
    """
    known = decode(start)[1] if plan.encoding == "int8" else None
    header, tensors = check(
        data, plan, kind="update", site=site, federation_round=run, round=round_, keys=keys, start=known
    )
    if header.parent_sha256 and header.parent_sha256 != hashlib.sha256(start).hexdigest():
        raise ReplayError(
            f"the update of {site!r} starts from payload {header.parent_sha256[:12]}…, not from this round's",
            "the site repeats an earlier update: look into its log",
        )
    return Update(site=site, tensors=tensors, examples=header.examples)


def aggregate_payloads(
    plan: Plan, method: Method, run: str, round_: int, updates: Mapping[str, bytes], begun: Mapping[str, bytes]
) -> tuple[dict[str, bytes], bytes | None]:
    """Combine checked updates. The order of ``updates`` does not matter; equal input gives equal bytes.

    Args:
        plan: the plan.
        method: its method.
        run: identifier of the run.
        round_: number of the round.
        updates: site -> update payload; may read each from a disk when it is asked for, and is asked for
            one at a time where the method is an average.
        begun: site -> payload that its training started from, read in the same way.

    Returns:
        For each sender the payload it is offered, and the payload that serves every member alike
        (``None`` where the method gives each site its own).

    Raises:
        ValueError: the updates cannot be combined, or combine to NaN or infinity.
    """
    headers = {site: read_header(updates[site]) for site in sorted(updates)}
    examples = {site: header.examples for site, header in headers.items()}
    parts = (Update(site, _tensors(updates[site], begun[site]), count) for site, count in examples.items())
    half, exact = plan.encoding != "float32", exact_of(method)
    header = _header(
        plan, "aggregate", run, round_, examples=sum(examples.values()), metrics={"sites": float(len(headers))}
    )
    if isinstance(method, Averaging):
        mean = encode(header, _finite("all", method.mean(examples, parts)), half=half, exact=exact)
        return dict.fromkeys(headers, mean), mean
    combined = method.aggregate(list(parts))
    offers = {
        site: encode(header, _finite(site, tensors), half=half, exact=exact)
        for site, tensors in sorted(combined.items())
    }
    common = set(offers.values())
    return offers, common.pop() if len(common) == 1 else None


def _tensors(update: bytes, begun: bytes) -> Tensors:
    """The tensors of an update, whatever its encoding."""
    return decode(update, decode(begun)[1] if read_header(update).scales else None)[1]


def _finite(site: str, tensors: Tensors) -> Tensors:
    for name, tensor in tensors.items():
        if not np.isfinite(tensor).all():
            raise ValueError(f"tensor {name!r} of the aggregate for {site!r} holds NaN or infinity")
    return tensors
