"""Which of the recorded prompts an annotator stood by: sessions are replayed, undo and all. Pure functions."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from typing import Any

from monailabel_app.models.base import GivenPrompts

__all__ = ["digest_of", "stood_by"]

Record = Mapping[str, Any]
_AXES = {"i": 0, "j": 1, "k": 2}


def stood_by(records: Iterable[Record]) -> tuple[GivenPrompts, ...]:
    """The prompts that were not taken back, oldest first within a session, sessions in the order of their first.

    Strokes are left out: they drew the mask themselves. Prompts outside a session came with all that there were
    for their label, so they replace what was there.

    Args:
        records: as stored (:class:`monailabel_app.interactive.prompts.RecordedPrompt` of sessions, or plain
            :class:`monailabel_app.models.base.Prompts`), oldest first.
    """
    sessions: dict[str, list[Record]] = {}
    for number, record in enumerate(records):
        # a request without a session stands for itself
        sessions.setdefault(record.get("session") or f" {number}", []).append(record)
    return tuple(
        _given(record)
        for steps in sessions.values()
        for record in _standing(steps)
        if record["foreground"] or record["background"] or record["box"]
    )


def digest_of(prompts: Sequence[GivenPrompts]) -> str:
    """Hex SHA-256 over prompts in their order; empty for none."""
    if not prompts:
        return ""
    return hashlib.sha256(json.dumps([asdict(one) for one in prompts], sort_keys=True).encode()).hexdigest()


def _standing(records: Sequence[Record]) -> list[Record]:
    """What is left of the steps of one session."""
    # a step that failed is followed by another of its number
    steps = {record.get("step", 0): record for record in records}
    done: list[Record] = []
    undone: list[Record | None] = []
    for _, record in sorted(steps.items()):
        action = record.get("action", "prompt")
        if action == "undo":
            undone.append(done.pop() if done else None)  # none: taken back after it had been submitted
        elif action == "redo":
            again = undone.pop() if undone else None
            done += [again] if again is not None else []
        else:
            done.append(record)
            undone.clear()
    return done


def _given(record: Record) -> GivenPrompts:
    in_session = bool(record.get("session"))
    return GivenPrompts(
        record["label"],
        tuple((int(i), int(j), int(k)) for i, j, k in record["foreground"]),
        tuple((int(i), int(j), int(k)) for i, j, k in record["background"]),
        tuple(int(n) for n in record["box"]) if record["box"] else None,  # type: ignore[arg-type]
        axis=_AXES[record["axis"]] if in_session else None,
        replace=bool(record.get("replace")) if in_session else True,
    )
