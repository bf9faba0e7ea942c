"""``fedseg site retrain`` and ``fedseg site statistics``, also while the site runs."""

from __future__ import annotations

import sys
from pathlib import Path

import click

__all__ = ["retrain", "statistics"]

_FOLDER = click.Path(path_type=Path, file_okay=False, exists=True)


@click.command("retrain")
@click.argument("version")
@click.option("--state", type=_FOLDER, required=True, help="State folder of the site.")
@click.option("--studies", type=_FOLDER, required=True, help="Folder of the images.")
@click.option("--plan", "plan_file", type=click.Path(path_type=Path), help="The plan that the site runs with, if any.")
@click.option("--checkpoint", type=click.Path(path_type=Path), help="Checkpoint of SAM ViT-B or MedSAM.")
def retrain(version: str, state: Path, studies: Path, plan_file: Path | None, checkpoint: Path | None) -> None:
    """Train the learned VERSION again from its record and compare. Exit status 1 if the outcome differs."""
    from fed_backend.errors import FedSegError

    try:
        same, said = _retrain(version, state, studies, plan_file, checkpoint)
    except FedSegError as error:
        click.echo(f"error: {error}", err=True)
        sys.exit(2)
    click.echo(said)
    sys.exit(0 if same else 1)


@click.command("statistics")
@click.option("--state", type=_FOLDER, required=True, help="State folder of the site.")
@click.option("--plot", type=click.Path(path_type=Path, dir_okay=False), help="PNG to draw them into.")
def statistics(state: Path, plot: Path | None) -> None:
    """Whether the site saves its annotators work: how far masks shown agree with what was submitted, by version."""
    from fed_backend.errors import FedSegError
    from monailabel_app.learning.statistics import statistics as figures
    from monailabel_app.learning.statistics_plot import plot as draw
    from monailabel_app.state.site import SiteState

    try:
        with SiteState(state.resolve(), state.resolve(), own=False) as site:  # no image is looked at
            found = figures(site.corrections.list())
        if plot is not None:
            draw(found, plot)
    except FedSegError as error:
        click.echo(f"error: {error}", err=True)
        sys.exit(2)
    except OSError as error:
        click.echo(f"error: {plot} cannot be written: {error.strerror} (choose another --plot)", err=True)
        sys.exit(2)
    click.echo(found["summary"])
    for row in found["versions"]:
        dice, seconds = ("-" if row[key] is None else f"{row[key]:g}" for key in ("dice_shown", "seconds"))
        means = f"Dice shown {dice}, {seconds} s, {row['clicks']:g} clicks"
        click.echo(f"{row['version']}: {row['corrections']} corrections, {means}")


def _retrain(
    version: str, folder: Path, studies: Path, plan_file: Path | None, checkpoint: Path | None
) -> tuple[bool, str]:
    from fed_backend.plan import ModelSpec, load_plan
    from monailabel_app.errors import Conflict
    from monailabel_app.learning import again
    from monailabel_app.learning.setup import LearnerSetup
    from monailabel_app.learning.tasks import Workbench
    from monailabel_app.state.site import SiteState
    from monailabel_app.state.versions import adapter_sha256

    with SiteState(folder.resolve(), studies.resolve(), own=False) as state:
        record = state.version(version)
        if not {"model", "labels"} <= record.settings.keys():
            raise Conflict(f"the record of {version} does not hold model and labels", "choose a newer version")
        setup = LearnerSetup(
            site_name="retrain",
            studies=studies.resolve(),
            specs={record.model: ModelSpec.model_validate(record.settings["model"])},
            labels=record.settings["labels"],
            plan=load_plan(plan_file) if plan_file else None,
            checkpoint=checkpoint,
        )
        digest = adapter_sha256(again.retrain(Workbench(state, setup), version))
    if digest == record.sha256:
        return True, f"{version}: made again from its record, byte for byte (SHA-256 {digest})"
    apart = "; ".join(again.differences(record)) or "program, torch and processor are as they were"
    return False, f"{version}: the record gives SHA-256 {digest}, not {record.sha256} ({apart})"
