"""``fedseg base``: fetch the checkpoint of a large base, or convert one that is here."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from fed_backend.errors import FedSegError

__all__ = ["base"]

_PATH = click.Path(path_type=Path)


@click.group()
def base() -> None:
    """Checkpoints of SAM ViT-B and MedSAM."""


@base.command()
@click.argument("name", type=click.Choice(["sam_vit_b", "medsam"]))
@click.option("--to", "folder", type=_PATH, default=Path("checkpoints"), show_default=True, help="Folder to put it in.")
@click.option("--url", help="Another address, for instance a mirror inside the hospital.")
@click.option("--sha256", help="Expected SHA-256 of the download, instead of the published digest.")
def fetch(name: str, folder: Path, url: str | None, sha256: str | None) -> None:
    """Download the checkpoint NAME, check its digest, convert it to safetensors. Goes on where it was stopped."""
    from rich.progress import BarColumn, DownloadColumn, Progress, TimeRemainingColumn, TransferSpeedColumn

    from monailabel_app.models import checkpoints
    from monailabel_app.models.download import file_digest

    columns = ("{task.description}", BarColumn(), DownloadColumn(), TransferSpeedColumn(), TimeRemainingColumn())
    try:
        with Progress(*columns) as shown:
            bar = shown.add_task(name, total=None)

            def received(here: int, total: int | None) -> None:
                shown.update(bar, completed=here, total=total)

            made = checkpoints.fetch(name, folder, url=url, sha256=sha256, received=received)
    except FedSegError as error:
        _refuse(error)
    except KeyboardInterrupt:
        click.echo("stopped; start it again to go on", err=True)
        sys.exit(130)
    click.echo(f"sha256 of {name}.pth: {file_digest(made.with_suffix('.pth'))}")
    click.echo(f"licence: {checkpoints.KNOWN[name].licence}")
    click.echo(f"use it with: fedseg site start --checkpoint {made} ...")


@base.command()
@click.argument("file", type=_PATH)
def convert(file: Path) -> None:
    """Convert a .pth FILE to safetensors beside it, without running anything in it."""
    from monailabel_app.errors import NotFound
    from monailabel_app.models.checkpoints import as_safetensors

    try:
        if not file.is_file():
            raise NotFound(f"there is no file {file.name}", "give the path of a .pth checkpoint")
        click.echo(str(as_safetensors(file)))
    except FedSegError as error:
        _refuse(error)


def _refuse(error: FedSegError) -> None:
    click.echo(f"error: {error}", err=True)
    sys.exit(2)
