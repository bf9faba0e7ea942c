"""``fedseg demo``."""

from __future__ import annotations

import shutil
import signal
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import FrameType
from typing import Any

import click
from rich import box
from rich.console import Console
from rich.table import Table

from fed_backend.demo.errors import DemoError
from fed_backend.demo.services import RunningSite, Training
from fed_backend.errors import FedSegError

__all__ = ["demo", "prepare_output"]

MARK = ".fedseg-demo"
"""Marks a folder as ours: only such a folder is emptied before a run."""


def default_training(model: str, generated: bool) -> Training:
    """Steps that learn something and still end in minutes on two cores."""
    if model == "sam":
        return Training(local_steps=80, round_steps=40, image_size=256, batch_size=4, learning_rate=2e-3)
    if generated:
        return Training(local_steps=100, round_steps=40, image_size=96, batch_size=8, learning_rate=2e-3)
    return Training(local_steps=300, round_steps=120, image_size=128, batch_size=8, learning_rate=2e-3)


def prepare_output(out: Path) -> None:
    """Make ``out`` an empty folder for a run; an earlier run in it is removed.

    Raises:
        DemoError: the folder holds something that is not an earlier run.
    """
    if out.is_dir() and any(out.iterdir()):
        if not (out / MARK).is_file():
            raise DemoError(f"output folder {out.name!r} is not empty", "choose another one with --out")
        for path in out.iterdir():
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            elif path.name != MARK:
                path.unlink()
    out.mkdir(parents=True, exist_ok=True)
    (out / MARK).touch()


@click.command()
@click.option(
    "--data", type=click.Path(path_type=Path), help="Real images: DIR/SITE/images, DIR/SITE/labels, split.csv."
)
@click.option("--sites", default="", help="Sites to use, separated by commas; all by default.")
@click.option("--model", type=click.Choice(["unet", "sam"]), default="unet", show_default=True)
@click.option("--rounds", type=click.IntRange(1, 1000), help="Federated rounds; 10 by default, 4 with sam.")
@click.option("--seed", type=click.IntRange(0, 2**31), default=0, show_default=True)
@click.option("--out", type=click.Path(path_type=Path), default=Path("demo-out"), show_default=True)
@click.option("--keep", is_flag=True, help="Leave the servers up at the end, until Ctrl-C.")
@click.option("--cases", type=click.IntRange(3, 1000), default=14, hidden=True)
@click.option("--local-steps", type=click.IntRange(1), hidden=True)
@click.option("--round-steps", type=click.IntRange(1), hidden=True)
@click.option("--image-size", type=click.IntRange(32, 1024), hidden=True)
def demo(
    data: Path | None,
    sites: str,
    model: str,
    rounds: int | None,
    seed: int,
    out: Path,
    keep: bool,
    cases: int,
    **steps: Any,
) -> None:
    """Three hospitals on this machine: annotate, learn, federate, report.

    Starts a hub, and a site server with its courier per site, as real processes on loopback; a
    scripted annotator corrects the training cases over HTTP. Writes report.json and report.html.
    """
    # Imported here, so that `fedseg --help` does not wait for matplotlib.
    from fed_backend.demo.run import DemoOptions, run_demo

    console = Console()
    training = default_training(model, data is None)
    chosen = {name: value for name, value in steps.items() if value is not None}
    options = DemoOptions(
        out=out.resolve(),
        data=data.resolve() if data else None,
        sites=tuple(name.strip() for name in sites.split(",") if name.strip()),
        model=model,
        rounds=rounds or (4 if model == "sam" else 10),
        seed=seed,
        training=Training(**{**vars(training), **chosen}),
        cases=cases,
    )
    signal.signal(signal.SIGTERM, _interrupt)
    signal.signal(signal.SIGHUP, _interrupt)
    try:
        prepare_output(options.out)
        run_demo(options, console, partial(_finish, console, out, keep))
    except KeyboardInterrupt:
        console.print("Stopped; nothing is left running.")
        sys.exit(130)
    except FedSegError as error:
        console.print("Error:", style="bold red", end=" ")
        console.print(error.detail, markup=False, highlight=False, soft_wrap=True)
        if error.hint:
            console.print(error.hint, markup=False, highlight=False, soft_wrap=True)
        sys.exit(1)


def _interrupt(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def _finish(
    console: Console, out: Path, keep: bool, result: Any, running: list[RunningSite], check: Callable[[], None]
) -> None:
    console.print(site_table(result))
    console.print(f"Best global threshold: Dice {result.threshold_baseline:.3f}. Total: {result.seconds_total:.0f} s.")
    console.print(f"Report: {out / 'report.html'} and {out / 'report.json'}", soft_wrap=True)
    if keep:
        _keep(console, running, check)


def site_table(result: Any) -> Table:
    """The table that ends a run, one row per site."""
    from fed_backend.demo.report import human_bytes

    table = Table(title="Dice on test cases that no training saw", title_justify="left", box=box.SIMPLE_HEAD)
    table.padding = (0, 1, 0, 0)
    table.add_column("site", style="bold")
    heads = ("before", "local", "federated", "worst", "promoted", "refused", "sent", "trained")
    for head in heads:
        table.add_column(head, justify="right")
    for site in result.sites:
        dice = [f"{site.mean(stage):.3f}" for stage in ("before", "local", "federated")]
        counts = [f"{site.worst_case:.3f}", str(site.promoted), str(site.refused)]
        table.add_row(site.name, *dice, *counts, human_bytes(site.bytes_sent), f"{site.seconds:.0f} s")
    return table


def _keep(console: Console, running: list[RunningSite], check: Callable[[], None]) -> None:
    console.print(
        "\nThe servers stay up. In 3D Slicer open the module [b]FedSeg[/b], enter a server and press Connect:"
    )
    for site in running:
        console.print(f"  {site.name:<12} {site.url}", highlight=False)
    console.print("Ctrl-C stops them.")
    while True:
        check()
        time.sleep(1)
