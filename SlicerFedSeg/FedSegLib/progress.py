"""Learning and federation of a site as typed values, parsed from ``/learning`` and ``/federation``."""

from __future__ import annotations

from dataclasses import dataclass

from .fields import Fields, parse_object
from .language import tr as _
from .plans import PlanDetails

LEARNING_RUNS = frozenset({"queued", "training", "gating"})
ROUND_RUNS = frozenset({"requested", "running"})


@dataclass(frozen=True)
class LearningResult:
    """What came of a training: the new version, whether it serves now, and why (Dice 0..1 on validation cases)."""

    version: str | None
    promoted: bool
    reason: str
    dice_champion: float | None
    dice_challenger: float | None


@dataclass(frozen=True)
class Learning:
    """State of the site's learner.

    Attributes:
        state: idle, queued, training, gating, done, failed or cancelled.
        progress: 0..1.
        seconds_left: None when not known.
        curve: (step, loss) points.
    """

    state: str
    job: str | None
    model: str
    progress: float
    seconds_left: float | None
    message: str
    curve: tuple[tuple[float, float], ...]
    result: LearningResult | None

    @property
    def running(self) -> bool:
        """True while a job waits, trains or is judged."""
        return self.state in LEARNING_RUNS


def learning(body: bytes) -> Learning:
    """Parse the state of the learner."""
    fields = Fields(parse_object(body, _("the learning")), _("the learning"))
    curve = tuple((point.number("step"), point.number("loss")) for point in fields.children("curve"))
    job = fields.raw("job")
    return Learning(
        state=fields.text("state"),
        job=None if job is None else str(job),
        model=fields.text("model", ""),
        progress=min(1.0, max(0.0, fields.number("progress", 0.0))),
        seconds_left=fields.maybe_number("seconds_left"),
        message=fields.text("message", ""),
        curve=curve,
        result=_result(fields.child("result")) if fields.has("result") else None,
    )


def _result(fields: Fields) -> LearningResult:
    return LearningResult(
        version=fields.maybe_text("version"),
        promoted=fields.maybe_flag("promoted") or False,
        reason=fields.text("reason", ""),
        dice_champion=fields.maybe_number("dice_champion"),
        dice_challenger=fields.maybe_number("dice_challenger"),
    )


@dataclass(frozen=True)
class SiteProgress:
    """One site within a round: waiting, training, sending, aggregated or failed."""

    name: str
    state: str
    progress: float | None
    reason: str
    dice: float | None
    promoted: bool | None


@dataclass(frozen=True)
class PastRound:
    """One finished exchange of a federated run: seconds, bytes and Dice per site, and (site, reason) of refusals."""

    number: int
    seconds: float
    bytes_up: int
    bytes_down: int
    dice: tuple[tuple[str, float], ...]
    refused: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True)
class Round:
    """A federated run of one or more rounds, as ``GET /federation/rounds/{id}`` tells it.

    ``state`` is requested, running, finished, failed or stopped; ``number`` the round it is in, of ``rounds``.
    """

    id: str
    state: str
    started_by: str
    method: str
    rounds: int
    number: int
    reason: str
    sites: tuple[SiteProgress, ...]
    history: tuple[PastRound, ...]

    @property
    def running(self) -> bool:
        """True until it finished, failed or was stopped."""
        return self.state in ROUND_RUNS


def round_status(body: bytes) -> Round:
    """Parse one federated run."""
    return _round(Fields(parse_object(body, _("the federated round")), _("the federated round")))


def round_id(body: bytes) -> str:
    """Parse the id of a run that was just asked for."""
    return str(Fields(parse_object(body, _("the new round")), _("the new round")).text("id"))


def _round(fields: Fields) -> Round:
    sites = fields.child("sites")
    return Round(
        id=fields.text("id"),
        state=fields.text("state"),
        started_by=fields.text("started_by", ""),
        method=fields.text("method", ""),
        rounds=fields.whole("rounds", 0),
        number=fields.whole("round", 0) + 1,  # sites count from 0
        reason=fields.text("reason", ""),
        sites=tuple(_site(name, sites.child(name)) for name in sorted(sites.keys())),
        history=tuple(_past(item) for item in fields.children("history")),
    )


def _site(name: str, fields: Fields) -> SiteProgress:
    return SiteProgress(
        name=name,
        state=fields.text("state"),
        progress=fields.maybe_number("progress"),
        reason=fields.text("reason", ""),
        dice=fields.maybe_number("dice"),
        promoted=fields.maybe_flag("promoted"),
    )


def _past(fields: Fields) -> PastRound:
    dice, sites = fields.child("dice"), fields.child("sites")
    return PastRound(
        number=fields.whole("round") + 1,
        seconds=fields.number("seconds", 0.0),
        bytes_up=int(fields.number("bytes_up", 0.0)),
        bytes_down=int(fields.number("bytes_down", 0.0)),
        dice=tuple((name, dice.number(name)) for name in sorted(dice.keys()) if dice.has(name)),
        refused=tuple(
            (name, sites.child(name).text("reason", "")) for name in sorted(sites.keys()) if _failed(sites, name)
        ),
    )


def _failed(sites: Fields, name: str) -> bool:
    return sites.child(name).text("state", "") == "failed"


@dataclass(frozen=True)
class Plan:
    """The plan of the federation that the site belongs to.

    Attributes:
        approved: whether somebody at this site agreed to it; None where the site does not ask.
        approved_by, approved_at: who, and when (ISO 8601 UTC).
        details: what it asks of a site; None where the site does not tell.
    """

    name: str
    method: str
    model: str
    rounds: int
    sha256: str = ""
    approved: bool | None = None
    approved_by: str = ""
    approved_at: str = ""
    details: PlanDetails | None = None

    @property
    def methods(self) -> tuple[str, ...]:
        """What rounds may be started with, the plan's own first."""
        return (self.details.methods if self.details is not None else ()) or (self.method,)


@dataclass(frozen=True)
class PastRun:
    """An earlier federated run."""

    id: str
    state: str
    method: str
    rounds: int
    started_by: str
    reason: str


@dataclass(frozen=True)
class Federation:
    """The site's place in its federation: ``GET /federation``.

    ``newest`` is the id of the run that was started last, None when there was none.
    """

    enabled: bool
    plan: Plan | None
    courier_connected: bool
    paused: bool
    newest: str | None
    runs: tuple[PastRun, ...] = ()


def federation(body: bytes) -> Federation:
    """Parse the site's place in its federation."""
    fields = Fields(parse_object(body, _("the federation")), _("the federation"))
    plan = fields.child("plan") if fields.has("plan") else None
    rounds = fields.children("rounds")
    return Federation(
        enabled=fields.flag("enabled"),
        plan=_plan(plan) if plan else None,
        courier_connected=fields.child("courier").flag("connected"),
        paused=fields.flag("paused"),
        newest=rounds[0].text("id") if rounds else None,
        runs=tuple(_run(item) for item in rounds),
    )


def _plan(fields: Fields) -> Plan:
    approval = fields.child("approved")
    return Plan(
        name=fields.text("name", ""),
        method=fields.text("method", ""),
        model=fields.text("model", ""),
        rounds=fields.whole("rounds", 0),
        sha256=fields.text("sha256", ""),
        approved=fields.has("approved") if "approved" in fields.keys() else None,  # noqa: SIM118  not a dict
        approved_by=approval.text("who", ""),
        approved_at=approval.text("at", ""),
    )


def _run(fields: Fields) -> PastRun:
    return PastRun(
        id=fields.text("id"),
        state=fields.text("state", ""),
        method=fields.text("method", ""),
        rounds=fields.whole("rounds", 0),
        started_by=fields.text("started_by", ""),
        reason=fields.text("reason", ""),
    )
