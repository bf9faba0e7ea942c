"""A View as the values that the page shows: plain JSON, by name. Pure, so that it can be tested without a page."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from typing import Any

from FedSegLib import words
from FedSegLib.address import parse_address
from FedSegLib.state import CONNECTED, Action, Notice, Phase, View, why_not

_ASKED = (
    Action.CONNECT,
    Action.DISCONNECT,
    Action.SIGN_IN,
    Action.NEXT,
    Action.SKIP,
    Action.SEGMENT,
    Action.PROMPT,
    Action.UNDO,
    Action.REDO,
    Action.PROPAGATE,
    Action.SUBMIT,
    Action.CANCEL,
)

TONES = {"info": "info", "good": "success", "error": "error"}
"""How a notice is meant -> Vuetify's name for it."""


def shown(view: View) -> dict[str, Any]:
    """The page's values.

    ``why`` says for every action why it is not possible now, "" when it is.
    """
    site = view.site
    model = site.model(view.model) if site is not None else None
    case = view.case
    return {
        "phase": view.phase.name.lower(),
        "connected": view.phase in CONNECTED,
        "why": {action.name.lower(): why_not(view, action) or "" for action in _ASKED},
        "site_line": _site_line(view),
        "notice": notice(view.notice) if view.notice is not None else None,
        "busy": _busy(view),
        "consent": view.consent_text or "",
        "consented": view.consented,
        "cases": _cases(view),
        "case_line": words.case_words(case) if case is not None else "",
        "case_id": case.id if case is not None else "",
        "answer": case.answered_by if case is not None else "",
        "models": [item.name for item in site.models] if site is not None else [],
        "model": view.model,
        "prompts": model is not None and model.prompts,
        "live": model is not None and model.prompts and site is not None and not site.stock,
        "structures": _structures(view),
        "structure": _structure(view),
        "asking": view.live.asking,
        "propagating": view.live.propagating,
        "waiting": words.waiting_words(view.waiting, view.refused),
        "learning": words.learning_words(view.learning) if site is not None and not site.stock else "",
    }


def notice(said: Notice) -> dict[str, str]:
    """A message as the page shows it."""
    return {"text": said.text, "hint": said.hint, "tone": TONES[said.tone.value]}


def pictures(known: Mapping[str, bytes]) -> dict[str, str]:
    """The cases' pictures as addresses that the page can show."""
    return {case: f"data:image/png;base64,{base64.b64encode(data).decode()}" for case, data in known.items() if data}


def _site_line(view: View) -> str:
    if view.phase is Phase.SIGN_IN:
        return words.sign_in_words(parse_address(view.address))
    if view.site is None or view.phase not in CONNECTED:
        return "Not connected."
    line = words.site_words(parse_address(view.address), view.site)
    return f"{line} · cannot be watched now: {view.link_lost}" if view.link_lost else line


def _busy(view: View) -> dict[str, Any] | None:
    if view.busy is None:
        return None
    known = view.busy.fraction is not None
    return {"text": view.busy.text, "known": known, "percent": round(100 * (view.busy.fraction or 0.0))}


def _cases(view: View) -> list[dict[str, Any]]:
    rows = words.with_waiting(view.cases, view.waiting, view.case)
    opened = view.case.id if view.case is not None else None
    return [
        {
            "id": row.id,
            "state": row.state.value,
            "dice": words.dice_in_words(row.dice) if row.dice is not None else "",
            "words": words.row_words(row),
            "open": row.id == opened,
        }
        for row in rows
    ]


def _structures(view: View) -> list[dict[str, str]]:
    labels = view.site.schema.labels if view.site is not None else ()
    return [{"name": label.name, "color": "#{:02x}{:02x}{:02x}".format(*label.color)} for label in labels]


def _structure(view: View) -> str:
    names = view.site.schema.names if view.site is not None else ()
    return view.live.label if view.live.label in names else next(iter(names), "")
