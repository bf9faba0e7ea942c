"""The live picture of a run: stages with their time, and one line per site.

On a terminal it is redrawn in place; elsewhere (a log file) each change of stage or state is a line.
Thread-safe: the scripted annotators report from threads of their own.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from types import TracebackType

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.spinner import Spinner
from rich.table import Table
from rich.text import Text

__all__ = ["Display"]


class Display:
    """Progress of a run.

    Args:
        console: where to draw.
        stages: titles of the stages in order.
        sites: site names in order.
        clock: monotonic seconds.
    """

    def __init__(
        self,
        console: Console,
        stages: Sequence[str],
        sites: Sequence[str],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._console = console
        self._stages = list(stages)
        self._clock = clock
        self._started = clock()
        self._times: list[tuple[float, float | None]] = []
        self._details: dict[int, str] = {}
        self._sites: dict[str, tuple[str, float | None, str]] = dict.fromkeys(sites, ("", None, ""))
        self._failed = False
        self._lock = threading.Lock()
        self._spinner = Spinner("dots", style="cyan")
        self._live = Live(get_renderable=self._render, console=console, refresh_per_second=6, transient=False)

    def __enter__(self) -> Display:
        if self._console.is_terminal:
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._close_stage()
        self._failed = kind is not None
        if self._console.is_terminal:
            self._live.stop()

    @property
    def sites(self) -> list[str]:
        """Site names in order."""
        return list(self._sites)

    @property
    def elapsed(self) -> float:
        """Seconds since the display was made."""
        return self._clock() - self._started

    def next_stage(self) -> None:
        """The current stage is finished, the next begins; site lines are cleared."""
        with self._lock:
            self._close_stage()
            self._times.append((self._clock(), None))
            self._sites = dict.fromkeys(self._sites, ("", None, ""))
        self._log(f"{self._stages[len(self._times) - 1]} ...")

    def detail(self, text: str) -> None:
        """A few words beside the current stage."""
        with self._lock:
            self._details[len(self._times) - 1] = text
        self._log(f"  {text}")

    def site(self, name: str, state: str, share: float | None = None, detail: str = "") -> None:
        """State of one site in the current stage.

        Args:
            name: the site.
            state: a few words; a change is worth a line in a log.
            share: the finished part, 0..1, if known.
            detail: what changes often, such as the time left.
        """
        with self._lock:
            changed = self._sites[name][0] != state
            self._sites[name] = (state, share, detail)
        if changed:
            self._log(f"  {name}: {state}")

    def _log(self, line: str) -> None:
        if not self._console.is_terminal:
            self._console.print(f"{self.elapsed:6.1f} s  {line}", highlight=False, markup=False, soft_wrap=True)

    def _close_stage(self) -> None:
        if self._times and self._times[-1][1] is None:
            self._times[-1] = (self._times[-1][0], self._clock())

    def _render(self) -> RenderableType:
        with self._lock:
            return Group(self._stage_table(), Text(), self._site_table(), Text())

    def _stage_table(self) -> Table:
        table = Table.grid(padding=(0, 1))
        table.add_column(width=2)
        table.add_column(min_width=26)
        table.add_column(justify="right", min_width=7)
        table.add_column()
        for index, title in enumerate(self._stages):
            detail = Text(self._details.get(index, ""), style="dim")
            if index >= len(self._times):
                table.add_row(Text("·", style="dim"), Text(title, style="dim"), "", detail)
                continue
            begin, end = self._times[index]
            broken = self._failed and index == len(self._times) - 1
            done = Text("✗", style="red") if broken else Text("✓", style="green")
            mark: RenderableType = self._spinner if end is None else done
            seconds = f"{(end if end is not None else self._clock()) - begin:.1f} s"
            table.add_row(mark, Text(title, style="bold" if end is None else ""), Text(seconds, style="cyan"), detail)
        return table

    def _site_table(self) -> Table:
        table = Table.grid(padding=(0, 2))
        table.add_column(style="bold")
        table.add_column(width=24)
        table.add_column()
        for name, (state, share, detail) in self._sites.items():
            bar: RenderableType = ProgressBar(total=1.0, completed=share, width=24) if share is not None else Text()
            table.add_row(name, bar, f"{state} {detail}".strip())
        table.add_row(Text("elapsed", style="dim"), Text(f"{self.elapsed:.0f} s", style="dim"), "")
        return table
