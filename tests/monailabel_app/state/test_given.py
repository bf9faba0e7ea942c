"""Of what an annotator clicked, what was taken back is not trained on."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import pytest

from monailabel_app.interactive.prompts import RecordedPrompt
from monailabel_app.models.base import Prompts
from monailabel_app.state.given import digest_of, stood_by

STEPS = {
    "all of it": ("a b c", "a b c"),
    "undone": ("a b undo c", "a c"),
    "undone and done again": ("a b undo redo", "a b"),
    "twice": ("a b undo undo redo", "a"),
    "a new step forgets what was undone": ("a b undo c redo", "a c"),
    "a mask is a step too": ("a mask undo undo b", "b"),
    "so is a propagation": ("a propagate undo", "a"),
    "what was submitted before is not at hand": ("undo a redo", "a"),
    "submitted, undone, done again": ("undo redo a", "a"),
}


def recorded(steps: str, session: str = "s", **more: Any) -> list[dict[str, Any]]:
    """Steps of a session as they are stored; a letter is a click."""
    found = []
    for number, step in enumerate(steps.split(), start=1):
        click = ((ord(step), 0, 0),) if len(step) == 1 else ()
        action = "prompt" if click else step
        prompt = RecordedPrompt("core", click, session=session, step=number, action=action, **more)
        found.append(asdict(prompt))
    return found


def letters(records: list[dict[str, Any]]) -> str:
    return " ".join(chr(one.foreground[0][0]) for one in stood_by(records))


@pytest.mark.parametrize(("steps", "left"), STEPS.values(), ids=STEPS.keys())
def test_steps_are_replayed(steps: str, left: str) -> None:
    assert letters(recorded(steps)) == left


def test_sessions_undo_only_their_own_steps() -> None:
    first, second = recorded("a b", "s1"), recorded("c undo d", "s2")
    assert letters([first[0], second[0], second[1], first[1], second[2]]) == "a b d"


def test_a_step_that_failed_does_not_count() -> None:
    records = recorded("a b c")
    records[2]["step"] = 2  # the second failed while it was computed, and the next took its number
    assert letters(records) == "a c"


def test_a_request_without_a_session_holds_all_of_its_label() -> None:
    plain = asdict(Prompts("core", foreground=[(1, 2, 3)], box=(0, 0, 3, 4, 4, 3)))
    (one,) = stood_by([plain])
    assert (one.axis, one.replace) == (None, True)
    assert one.box == (0, 0, 3, 4, 4, 3)


def test_axis_and_replacement_are_kept() -> None:
    (one,) = stood_by(recorded("a", axis="j", replace=True))
    assert (one.axis, one.replace) == (1, True)


def test_the_digest_tells_prompts_apart() -> None:
    some, fewer = stood_by(recorded("a b")), stood_by(recorded("a b undo"))
    assert digest_of(()) == ""
    assert len({digest_of(some), digest_of(fewer)}) == 2
    assert digest_of(some) == digest_of(stood_by(recorded("a b")))
