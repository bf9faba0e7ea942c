"""What a run shows: stages with their time, sites with their state, on a terminal and in a log."""

from __future__ import annotations

import io
from collections.abc import Iterator

import pytest
from rich.console import Console

from fed_backend.demo.display import Display


def shown(terminal: bool, fail: bool = False) -> str:
    ticks: Iterator[float] = iter(float(n) for n in range(100_000))
    stream = io.StringIO()
    console = Console(file=stream, force_terminal=terminal, width=90, height=30, no_color=True)
    display = Display(console, ["Data", "Learning"], ["north", "coast"], clock=lambda: next(ticks))

    def run() -> None:
        with display:
            display.next_stage()
            display.detail("36 cases [not markup]")
            display.next_stage()
            display.site("north", "training", 0.5, "3 s left")
            display.site("north", "training", 0.6, "2 s left")
            if fail:
                raise RuntimeError("stop here")

    if fail:
        with pytest.raises(RuntimeError):
            run()
    else:
        run()
    return stream.getvalue()


def test_a_terminal_shows_stages_and_sites() -> None:
    text = shown(terminal=True)
    last = text[text.rindex("Data") :]
    assert "36 cases [not markup]" in last
    assert "training 2 s left" in last
    assert "coast" in last
    assert "✓" in text


def test_a_stage_that_failed_is_not_ticked_off() -> None:
    text = shown(terminal=True, fail=True)
    learning = next(line for line in reversed(text.splitlines()) if "Learning" in line)
    assert "✗" in learning


def test_a_log_gets_a_line_for_each_change_and_no_more() -> None:
    lines = shown(terminal=False).splitlines()
    assert [line.split("s  ", 1)[1].strip() for line in lines] == [
        "Data ...",
        "36 cases [not markup]",
        "Learning ...",
        "north: training",
    ]
