"""The payloads of a round at the hub: pure functions from payloads to payloads."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from fed_backend.errors import PayloadError, ReplayError
from fed_backend.methods import Method, Update, exact_of
from fed_backend.methods.fedavg import Averaging
from fed_backend.methods.mixing import parts_of
from fed_backend.methods.robust import change, clipped, robust_mean
from fed_backend.payload import (
    MAX_EXAMPLES,
    Kind,
    PayloadHeader,
    Tensors,
    check,
    decode,
    encode,
    metadata_of,
    read_header,
    write,
)
from fed_backend.plan import Plan
from fed_backend.secure.fixed_point import Words, length_of, mean_of, words_of
from fed_backend.tensor_file import Data, digest, retitled

__all__ = ["HUB", "Combined", "aggregate_payloads", "check_update", "start_front", "sum_payload"]

HUB = "hub"
"""Name of the sender in payloads that the hub makes."""
_PART_VALUES = 2**18
"""Values of an average that are summed at a time: 2 MiB of float64, which a processor's cache holds."""


@dataclass(frozen=True)
class Combined:
    """What a round comes to.

    Attributes:
        offers: sender -> payload that it is offered; a file where the caller named a folder.
        for_all: the payload that serves every member alike; ``None`` where each has its own.
        notes: sites whose update did not count in full -> what was done with it, and why.
    """

    offers: dict[str, Data]
    for_all: Data | None
    notes: dict[str, str] = field(default_factory=dict)


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


def start_front(plan: Plan, run: str, round_: int, last: Data | None) -> bytes:
    """What comes before the tensors in the payload that a site starts round ``round_`` from.

    The tensors are those of the last aggregate for it, byte for byte; with ``None`` there are none, and the
    site starts from its base adapter.
    """
    if last is None:
        return encode(_header(plan, "global", run, round_, metrics={"initial": 1.0}), {})
    return retitled(last, metadata_of(_header(plan, "global", run, round_)))


def _made(header: PayloadHeader, tensors: Tensors, plan: Plan, exact: tuple[str, ...], path: Path | None) -> Data:
    """A payload of the hub, in memory or in a file."""
    half = plan.encoding != "float32"
    if path is None:
        return encode(header, tensors, half=half, exact=exact)
    write(path, header, tensors, half=half, exact=exact)
    return path


def check_update(
    data: Data,
    plan: Plan,
    keys: frozenset[str],
    site: str,
    run: str,
    round_: int,
    start: Data,
    base: Tensors,
    start_sha256: str = "",
) -> Update:
    """Decode an update and refuse all but what ``site`` was asked for.

    Args:
        start: the payload that its training started from.
        base: where that is if the payload says "your initial adapter".
        start_sha256: of ``start``, where it is known.

    Raises:
        PayloadError: it does not fit the plan, the site, or the round, or changes more than the plan allows.
        ReplayError: its training started from another payload than ``start``.
    """
    known = decode(start)[1] if plan.encoding == "int8" else None
    header, tensors = check(
        data, plan, kind="update", site=site, federation_round=run, round=round_, keys=keys, start=known
    )
    if header.parent_sha256 and header.parent_sha256 != (start_sha256 or digest(start)):
        raise ReplayError(
            f"the update of {site!r} starts from payload {header.parent_sha256[:12]}…, not from this round's",
            "the site repeats an earlier update: look into its log",
        )
    limit = plan.robust.max_change if plan.robust else None
    if limit is not None and (moved := change(tensors, _begun(start, base))) > limit:
        raise PayloadError(
            f"the update of {site!r} changes the round's start by a norm of {moved:.3g}, above the plan's {limit:g}",
            "a diverged or hostile update: inspect the site before allowing more",
        )
    return Update(site=site, tensors=tensors, examples=header.examples)


def aggregate_payloads(
    plan: Plan,
    method: Method,
    run: str,
    round_: int,
    updates: Mapping[str, Data],
    begun: Mapping[str, Data],
    base: Tensors | None = None,
    folder: Path | None = None,
) -> Combined:
    """Combine checked updates. The order of ``updates`` does not matter; equal input gives equal bytes.

    Args:
        plan: the plan.
        method: its method.
        run: identifier of the run.
        round_: number of the round.
        updates: site -> update payload; files are read tensor by tensor where the method is an average.
        begun: site -> payload that its training started from.
        base: the tensors that all sites start from, where the plan's robust aggregation compares with them.
        folder: where to write the result as files; otherwise it comes as bytes.

    Raises:
        ValueError: the updates cannot be combined, or combine to NaN or infinity.
    """
    headers = {site: read_header(updates[site]) for site in sorted(updates)}
    examples = {site: header.examples for site, header in headers.items()}
    sent = _Sent(plan, updates, begun, base or {})
    if plan.secure is not None:  # a simulation: over FLARE the hub is given the sum
        assert isinstance(method, Averaging)
        total = np.zeros(length_of(method.shapes), np.uint64)
        for site, count in examples.items():
            total += words_of(sent[site], count, len(examples))
        return sum_payload(plan, method, run, round_, total, list(examples), len(examples), folder)
    exact = exact_of(method)
    header = _aggregate_header(plan, run, round_, sum(examples.values()), len(headers))

    def made(name: str, tensors: Tensors) -> Data:
        return _made(header, _finite(name, tensors), plan, exact, folder and folder / f"aggregate-{name}")

    if isinstance(method, Averaging):
        if plan.robust is not None:
            robust = robust_mean(method, plan.robust, sent)
            tensors, notes = robust.tensors, robust.notes
        else:
            tensors, notes = _mean_by_parts(method, examples, sent.part), {}
        mean = made("all", tensors)
        return Combined(dict.fromkeys(headers, mean), mean, _joined(sent.notes, notes))
    counts = examples if plan.robust is None else dict.fromkeys(examples, 1)
    combined = method.aggregate([Update(site, sent[site], count) for site, count in counts.items()])
    offers = {site: made(site, tensors) for site, tensors in sorted(combined.items())}
    common = {digest(data) for data in offers.values()}
    return Combined(offers, next(iter(offers.values())) if len(common) == 1 else None, sent.notes)


def sum_payload(
    plan: Plan,
    method: Averaging,
    run: str,
    round_: int,
    total: Words,
    sites: Collection[str],
    summed: int,
    folder: Path | None = None,
) -> Combined:
    """What a secure sum comes to; equal updates give equal bytes, whatever masked them.

    Args:
        total: sum of :func:`~fed_backend.secure.fixed_point.words_of`.
        sites: whom to offer it to.
        summed: how many updates are in it.
        folder: where to write the result as a file; otherwise it comes as bytes.

    Raises:
        ValueError: it is no sum of updates, or its norm is above the plan's limit.
    """
    tensors, examples = mean_of(total, method.shapes)
    norm = float(np.sqrt(sum(float(np.square(t, dtype=np.float64).sum()) for t in tensors.values())))
    if norm > plan.max_update_norm:
        raise ValueError(f"the mean has norm {norm:.3g}, above the plan's {plan.max_update_norm:.3g}")
    header = _aggregate_header(plan, run, round_, examples, summed)
    mean = _made(header, tensors, plan, (), folder and folder / "aggregate-all")
    return Combined(dict.fromkeys(sorted(sites), mean), mean)


def _aggregate_header(plan: Plan, run: str, round_: int, examples: int, sites: int) -> PayloadHeader:
    more = {"examples": min(examples, MAX_EXAMPLES), "metrics": {"sites": float(sites)}}
    return _header(plan, "aggregate", run, round_, **more)


def _mean_by_parts(
    method: Averaging, examples: Mapping[str, int], part: Callable[[str, frozenset[str]], Tensors]
) -> Tensors:
    """The mean, some tensors of all updates at a time: the same bits, and sums that never hold a whole update."""
    result: Tensors = {}
    for shapes in parts_of(method.shapes, products=method.products, values=_PART_VALUES):
        names = frozenset(shapes)
        updates = (Update(site, part(site, names), examples[site]) for site in sorted(examples))
        result |= Averaging(shapes, products=method.products).mean(examples, updates)
    return result


class _Sent(Mapping[str, Tensors]):
    """The tensors of each update, decoded when they are asked for and clipped if the plan says so."""

    def __init__(self, plan: Plan, updates: Mapping[str, Data], begun: Mapping[str, Data], base: Tensors) -> None:
        self._clip = plan.robust.clip if plan.robust else None
        self._updates, self._all_begun, self._base = updates, begun, base
        self.notes: dict[str, str] = {}

    def __getitem__(self, site: str) -> Tensors:
        tensors = _tensors(self._updates[site], self._all_begun[site])
        if self._clip is None:
            return tensors
        result, scale = clipped(tensors, _begun(self._all_begun[site], self._base), self._clip)
        if scale < 1:
            self.notes[site] = (
                f"scaled to {scale:.3g} of its change, whose norm {self._clip / scale:.3g} "
                f"is above the plan's {self._clip:g}"
            )
        return result

    def part(self, site: str, names: frozenset[str]) -> Tensors:
        """Some tensors of an update, as they were sent."""
        return _tensors(self._updates[site], self._all_begun[site], names)

    def __iter__(self) -> Iterator[str]:
        return iter(self._updates)

    def __len__(self) -> int:
        return len(self._updates)


def _joined(one: Mapping[str, str], other: Mapping[str, str]) -> dict[str, str]:
    notes = {site: [part[site] for part in (one, other) if site in part] for site in sorted({*one, *other})}
    return {site: "; ".join(said) for site, said in notes.items()}


def _begun(start: Data, base: Tensors) -> Tensors:
    """The tensors that training started from."""
    header, tensors = decode(start)
    return base if header.metrics.get("initial") == 1.0 and not tensors else tensors


def _tensors(update: Data, begun: Data, names: frozenset[str] | None = None) -> Tensors:
    """Tensors of an update, whatever its encoding; all of them unless named."""
    start = decode(begun, names=names)[1] if read_header(update).scales else None
    return decode(update, start, names)[1]


def _finite(site: str, tensors: Tensors) -> Tensors:
    for name, tensor in tensors.items():
        if not np.isfinite(tensor).all():
            raise ValueError(f"tensor {name!r} of the aggregate for {site!r} holds NaN or infinity")
    return tensors
