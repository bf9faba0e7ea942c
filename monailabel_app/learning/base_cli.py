"""``fedseg train-base``: train the embedded base from nothing, or measure weights."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

import click

from fed_backend.errors import FedSegError

__all__ = ["train_base_command"]

_PATH = click.Path(path_type=Path)


@click.command("train-base")
@click.option("--out", type=_PATH, help="Safetensors file to write; an unfinished training of it is gone on with.")
@click.option("--check", type=_PATH, help="Measure these weights on held-out pictures instead of training.")
@click.option("--data", type=_PATH, help="Folder with nuclei-dsb2018 and hippocampus-msd.")
@click.option("--steps", type=click.IntRange(0), default=3000, show_default=True, help="Gradient steps.")
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True)
@click.option("--device", type=click.Choice(["auto", "cpu", "cuda"]), default="auto", show_default=True)
@click.option("--threads", type=click.IntRange(1, 256), default=1, show_default=True, help="torch threads.")
def train_base_command(
    out: Path | None, check: Path | None, data: Path | None, steps: int, seed: int, device: str, threads: int
) -> None:
    """Train sam_tiny from nothing with simulated prompts. Stopped, it goes on where it was."""
    if (out is None) == (check is None):
        raise click.UsageError("name a file to write with --out, or weights to measure with --check")
    import torch

    from monailabel_app.models.device import choose_device

    torch.set_num_threads(threads)
    try:
        if check is not None:
            _check(check, data, seed)
        elif out is not None:
            _train(out, data, steps, seed, choose_device(device))
    except FedSegError as error:
        click.echo(f"error: {error}", err=True)
        sys.exit(2)
    except KeyboardInterrupt:
        click.echo("stopped; start it again to go on", err=True)
        sys.exit(130)


def _train(out: Path, data: Path | None, steps: int, seed: int, device: str) -> None:
    from monailabel_app.learning.base_training import train_base

    started = time.monotonic()

    def progress(share: float) -> None:
        done = round(share * steps)
        if done % 50 == 0 or done == steps:
            click.echo(f"{done}/{steps} steps, {time.monotonic() - started:.0f} s, {time.process_time():.0f} s of CPU")

    click.echo(f"training sam_tiny on {device} for {steps} steps, pictures from {data or 'nothing but the generator'}")
    losses = train_base(out, steps=steps, seed=seed, data=data, device=device, progress=progress)
    for first in range(0, len(losses), 200):
        part = losses[first : first + 200]
        click.echo(f"loss {first}-{first + len(part) - 1}: {sum(part) / len(part):.4f}")


def _check(weights: Path, data: Path | None, seed: int) -> None:
    from safetensors.torch import load_file

    from monailabel_app.learning.base_check import check_base
    from monailabel_app.learning.base_training import untrained

    network = untrained(seed)
    click.echo(json.dumps({"untrained": check_base(network, data)}, indent=1))
    network.load_state_dict({name: value.float() for name, value in load_file(weights).items()})
    click.echo(json.dumps({weights.name: check_base(network, data)}, indent=1))


if __name__ == "__main__":
    train_base_command()
