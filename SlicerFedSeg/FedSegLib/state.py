"""What the panel shows, as one immutable value, and which steps from one phase to the next exist.

::

    OFFLINE ─> CONNECTING ─> READY ─> FETCHING ─> OPEN <─> SEGMENTING
       ^           │  ^        ^          │         │ ^
       │           v  │        └──────────┘         v │
       └──────── SIGN_IN                         SUBMITTING

From every phase the way back to OFFLINE exists (disconnect), from every connected phase the way to SIGN_IN (the sign-in
ran out; an open case stays open), and from every phase with a case the way to READY (the scene was closed). The
controller makes each new View with :func:`move`; the widget draws it and nothing else.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from enum import Enum
from typing import Any

from .cases import CaseRow
from .errors import ActionNotPossible, FedSegError
from .language import mark
from .language import tr as _
from .progress import Federation, Learning, Round
from .protocol import SiteInfo
from .versions import NO_STATISTICS, Statistics, Version


class Phase(Enum):
    """What the annotator is in the middle of."""

    OFFLINE = mark("not connected")
    CONNECTING = mark("connecting")
    SIGN_IN = mark("sign-in needed")
    READY = mark("connected, no case open")
    FETCHING = mark("fetching a case")
    OPEN = mark("case open")
    SEGMENTING = mark("segmenting")
    SUBMITTING = mark("submitting")


class Action(Enum):
    """What a person can do; the text says it as the end of 'You cannot ...'."""

    CONNECT = mark("connect")
    DISCONNECT = mark("disconnect")
    SIGN_IN = mark("sign in")
    NEXT = mark("open a case")
    SKIP = mark("skip this case")
    SEGMENT = mark("segment")
    PROMPT = mark("use points and a box")
    UNDO = mark("undo")
    REDO = mark("redo")
    PROPAGATE = mark("propagate")
    COMPARE = mark("compare versions")
    SUBMIT = mark("submit")
    LEARN = mark("start learning")
    STOP_LEARNING = mark("stop learning")
    PROMOTE = mark("change which version serves")
    PAUSE = mark("pause this site")
    JOIN = mark("agree to the plan")
    LEAVE = mark("leave the federation")
    START_ROUND = mark("start a round")
    STOP_ROUND = mark("stop a round")
    CANCEL = mark("stop what runs")


_STEPS: dict[Phase, frozenset[Phase]] = {
    Phase.OFFLINE: frozenset({Phase.CONNECTING}),
    Phase.CONNECTING: frozenset({Phase.OFFLINE, Phase.SIGN_IN, Phase.READY, Phase.OPEN}),
    Phase.SIGN_IN: frozenset({Phase.CONNECTING, Phase.OFFLINE}),
    Phase.READY: frozenset({Phase.FETCHING, Phase.OFFLINE, Phase.SIGN_IN}),
    Phase.FETCHING: frozenset({Phase.READY, Phase.OPEN, Phase.OFFLINE, Phase.SIGN_IN}),
    Phase.OPEN: frozenset(
        {Phase.FETCHING, Phase.SEGMENTING, Phase.SUBMITTING, Phase.READY, Phase.OFFLINE, Phase.SIGN_IN}
    ),
    Phase.SEGMENTING: frozenset({Phase.OPEN, Phase.READY, Phase.OFFLINE, Phase.SIGN_IN}),
    Phase.SUBMITTING: frozenset({Phase.OPEN, Phase.READY, Phase.OFFLINE, Phase.SIGN_IN}),
}

_ACTIONS: dict[Phase, frozenset[Action]] = {
    Phase.OFFLINE: frozenset({Action.CONNECT}),
    Phase.CONNECTING: frozenset({Action.CANCEL}),
    Phase.SIGN_IN: frozenset({Action.SIGN_IN, Action.DISCONNECT}),
    Phase.READY: frozenset({Action.DISCONNECT, Action.NEXT}),
    Phase.FETCHING: frozenset({Action.CANCEL, Action.DISCONNECT}),
    Phase.OPEN: frozenset(
        {Action.DISCONNECT, Action.NEXT, Action.SKIP, Action.SEGMENT, Action.PROMPT, Action.SUBMIT}
        | {Action.COMPARE, Action.UNDO, Action.REDO, Action.PROPAGATE}
    ),
    Phase.SEGMENTING: frozenset({Action.CANCEL, Action.DISCONNECT}),
    Phase.SUBMITTING: frozenset({Action.CANCEL, Action.DISCONNECT}),
}

_LEAVING = frozenset({Action.NEXT, Action.SKIP, Action.SEGMENT, Action.SUBMIT, Action.COMPARE})
_SHARED = frozenset(
    {Action.PROMOTE, Action.LEARN, Action.STOP_LEARNING, Action.START_ROUND, Action.STOP_ROUND}
    | {Action.PAUSE, Action.JOIN, Action.LEAVE}
)
_PROMPTING = frozenset({Action.PROMPT, Action.UNDO, Action.REDO, Action.PROPAGATE})

CONNECTED = frozenset({Phase.READY, Phase.FETCHING, Phase.OPEN, Phase.SEGMENTING, Phase.SUBMITTING})


class Tone(Enum):
    """How a notice is meant."""

    INFO = "info"
    GOOD = "good"
    ERROR = "error"


@dataclass(frozen=True)
class Notice:
    """One message to the person: what happened, and what to do."""

    text: str
    hint: str = ""
    tone: Tone = Tone.INFO


@dataclass(frozen=True)
class Busy:
    """What runs now; ``fraction`` 0..1, None when it cannot be told."""

    text: str
    fraction: float | None = None


@dataclass(frozen=True)
class CaseView:
    """The open case.

    Attributes:
        id: its name at the site.
        reason: why the site chose it, "" when it did not say.
        answered_by: model, version and seconds of the mask shown; "" before there is one.
        submitted: True after its mask was accepted, or is kept to be sent.
        reopened: True when a mask of it was submitted before it was opened.
    """

    id: str
    reason: str = ""
    answered_by: str = ""
    submitted: bool = False
    reopened: bool = False


@dataclass(frozen=True)
class LiveView:
    """Prompting of the open case.

    Attributes:
        tool: what the mouse places in the slice views now, "" for nothing.
        label: the structure that prompts are about.
        asking: a request is under way.
        propagating: how far a propagation is, in words; "" when none runs.
    """

    tool: str = ""
    label: str = ""
    asking: bool = False
    can_undo: bool = False
    can_redo: bool = False
    propagating: str = ""


@dataclass(frozen=True)
class Comparison:
    """Two versions on the open case.

    Attributes:
        mode: how they are shown: difference, side by side, blended.
        rows: (structure, millilitres in one, in two, Dice of the two).
    """

    one: str
    two: str
    mode: str
    rows: tuple[tuple[str, float, float, float], ...]


@dataclass(frozen=True)
class View:
    """Everything the panel shows.

    Attributes:
        link_lost: why the site cannot be watched at the moment, "" when it can.
        consent_text: what the person is asked to agree to; None when nothing is asked.
        waiting: cases whose masks are on this computer and not yet at the site.
        refused: (case, reason) of masks that the site would not take.
        consented: True when sending to this server was agreed to.
    """

    phase: Phase = Phase.OFFLINE
    address: str = ""
    site: SiteInfo | None = None
    case: CaseView | None = None
    model: str = ""
    live: LiveView = LiveView()
    notice: Notice | None = None
    busy: Busy | None = None
    testing: bool = False
    consent_text: str | None = None
    consented: bool = False
    cases: tuple[CaseRow, ...] = ()
    comparison: Comparison | None = None
    waiting: tuple[str, ...] = ()
    refused: tuple[tuple[str, str], ...] = ()
    versions: tuple[Version, ...] = ()
    statistics: Statistics = NO_STATISTICS
    learning: Learning | None = None
    federation: Federation | None = None
    round: Round | None = None
    asking: frozenset[Action] = field(default_factory=frozenset)
    link_lost: str = ""


def move(view: View, phase: Phase, **changes: Any) -> View:
    """The view in another phase (or the same one).

    Raises:
        ActionNotPossible: there is no such step.
    """
    if phase is not view.phase and phase not in _STEPS[view.phase]:
        raise ActionNotPossible(
            _("There is no way from '{here}' to '{there}'.").format(here=_(view.phase.value), there=_(phase.value))
        )
    return replace(view, phase=phase, **changes)


def notice_of(error: Exception) -> Notice:
    """An error as a message; the words of an error that is not ours are kept for the report."""
    if isinstance(error, FedSegError):
        return Notice(str(error), error.hint, Tone.ERROR)
    return Notice(
        _("An error inside FedSeg: {name}: {error}").format(name=type(error).__name__, error=error),
        _("Your work is still in the scene. Please report this with Slicer's log."),
        Tone.ERROR,
    )


def allowed(view: View) -> frozenset[Action]:
    """Actions that the person can start now."""
    return frozenset(action for action in Action if why_not(view, action) is None)


def why_not(view: View, action: Action) -> str | None:
    """Why an action cannot be started now, in words; None when it can."""
    if action in _SHARED:
        return _why_not_shared(view, action)
    if action not in _ACTIONS[view.phase]:
        return _not_now(view)
    if view.consent_text is not None and action not in (Action.DISCONNECT, Action.CANCEL):
        return _("Answer the question about sending first.")
    site = view.site
    if action in _LEAVING and (view.live.asking or view.live.propagating):
        return _("Wait until the model has answered.")
    if action in _PROMPTING and site is not None:
        return _why_not_prompt(view, site, action)
    if action is Action.SEGMENT and site is not None:
        model = site.model(view.model)
        if model is None:
            return _("This server offers no model.")
        if not model.automatic:
            return _("The model '{model}' needs points.").format(model=view.model)
    if action is Action.COMPARE and site is not None:
        if site.stock:
            return _("A stock MONAI Label server has no versions.")
        several = sum(version.model == view.model for version in view.versions) > 1
        return None if several else _("There is only one version of '{model}' so far.").format(model=view.model)
    if action is Action.SUBMIT and site is not None and site.role == "viewer":
        return _("Your role 'viewer' may look, not submit.")
    return None


def _why_not_prompt(view: View, site: SiteInfo, action: Action) -> str | None:
    model = site.model(view.model)
    if model is None or not model.prompts:
        return _("The model '{model}' segments by itself; it does not understand points or a box.").format(
            model=view.model
        )
    if action is Action.UNDO:
        return None if view.live.can_undo else _("There is nothing to undo.")
    if action is Action.REDO:
        return None if view.live.can_redo else _("There is nothing to do again.")
    if action is Action.PROPAGATE:
        if site.stock:
            return _("A stock MONAI Label server cannot propagate.")
        if view.live.propagating:
            return _("A propagation is running.")
        return None if view.live.can_undo else _("Prompt a slice first.")
    return None


def _not_now(view: View) -> str:
    if view.phase is Phase.OFFLINE:
        return _("Connect to a site first.")
    if view.phase is Phase.READY:
        return _("Open a case first.")
    if view.busy is not None:
        return _("Wait until this is done: {text}").format(text=view.busy.text)
    return _("Not possible now: {phase}.").format(phase=_(view.phase.value))


def _why_not_shared(view: View, action: Action) -> str | None:
    """Learning and rounds go on beside the annotator's work, so only the connection matters."""
    site = view.site
    if site is None or view.phase not in CONNECTED:
        return _("Connect to a site first.")
    if site.stock:
        return _("This is a stock MONAI Label server: it has no learning or federation of FedSeg's kind.")
    if action in view.asking:
        return _("Already asked; waiting for the answer.")
    if site.role == "viewer":
        return _("Your role 'viewer' may look, not start or stop.")
    if action is Action.PROMOTE:
        return (
            None
            if site.role in (None, "reviewer", "admin")
            else _("Your role '{role}' may not: ask a reviewer.").format(role=site.role)
        )
    learning_runs = view.learning is not None and view.learning.running
    round_runs = view.round is not None and view.round.running
    if action is Action.LEARN:
        return _("Learning is running.") if learning_runs else None
    if action is Action.STOP_LEARNING:
        return None if learning_runs else _("No learning is running.")
    if not site.federation and (view.federation is None or not view.federation.enabled):
        return _("This site belongs to no federation.")
    if action in (Action.PAUSE, Action.JOIN, Action.LEAVE):
        if site.role not in (None, "admin"):
            return _("Your role '{role}' may not: ask an administrator.").format(role=site.role)
        return _("Answer the question about sending first.") if view.consent_text is not None else None
    if site.role == "annotator":
        return _("Your role 'annotator' may not start or stop rounds: ask a reviewer.")
    if action is Action.START_ROUND:
        return _("A round is running.") if round_runs else _why_no_part(view)
    return None if round_runs else _("No round is running.")


def _why_no_part(view: View) -> str | None:
    known = view.federation
    if known is not None and known.plan is not None and known.plan.approved is False:
        return _("Nobody at this site has agreed to the plan: ask an administrator.")
    return _("This site is paused.") if known is not None and known.paused else None
