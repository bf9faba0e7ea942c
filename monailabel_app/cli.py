"""``fedseg site`` and ``fedseg plan``; also ``python -m monailabel_app site ...``.

Nothing heavy is imported until a command runs: ``fedseg --help`` must not wait for torch.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Any

import click

from fed_backend.errors import FedSegError
from fed_backend.plan import LabelSchema, MethodSpec, ModelSpec, Plan, TrainingSpec, load_plan, save_plan

__all__ = ["plan", "site"]

_PATH = click.Path(path_type=Path)


def _plainly(command: Callable[..., None]) -> Callable[..., None]:
    """Report an error of ours as one line with its hint and exit status 2, without a traceback."""

    @wraps(command)
    def run(*args: Any, **kwargs: Any) -> None:
        try:
            command(*args, **kwargs)
        except FedSegError as error:
            click.echo(f"error: {error}", err=True)
            sys.exit(2)

    return run


def _labels(context: click.Context, parameter: click.Parameter, value: str | None) -> LabelSchema | None:
    from monailabel_app.settings import parse_labels

    try:
        return None if value is None else parse_labels(value)
    except FedSegError as error:
        click.echo(f"error: {error}", err=True)
        sys.exit(2)


@click.group()
def site() -> None:
    """Run a site: images, models and corrections of one hospital."""


@site.command("start")
@click.option("--studies", type=_PATH, required=True, help="Folder of the images (read only).")
@click.option("--name", required=True, help="The site's name in a federation.")
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option("--port", type=click.IntRange(0, 65535), default=8000, show_default=True, help="0 takes a free port.")
@click.option(
    "--state", type=_PATH, help="Folder for everything the site writes.  [default: ~/.local/share/fedseg/NAME]"
)
@click.option("--plan", type=_PATH, help="Plan of a federation (from the site's kit).")
@click.option(
    "--model", "models", type=click.Choice(["unet", "sam"]), multiple=True, help="Model to serve; repeatable."
)
@click.option(
    "--labels", callback=_labels, help='Label schema, e.g. "tumour=1,oedema=2".  [default: the plan\'s, or tumour=1]'
)
@click.option(
    "--split", type=_PATH, help="CSV (case,part and maybe site) that assigns cases to train, validation, holdout."
)
@click.option("--users", type=_PATH, help="Users file; needed to listen beyond this machine.")
@click.option("--checkpoint", type=_PATH, help="Checkpoint of SAM ViT-B or MedSAM.")
@click.option("--ready-file", type=_PATH, help="Written once the site serves: JSON with pid, url, state, token_file.")
@click.option("--upload-limit", type=click.IntRange(1), default=2048, show_default=True, help="Largest upload in MiB.")
@click.option(
    "--threads",
    type=click.IntRange(1, 256),
    default=1,
    show_default=True,
    help="torch threads, here and in the learner.",
)
@_plainly
def start(state: Path | None, name: str, upload_limit: int, **options: Any) -> None:
    """Serve a folder of images until Ctrl-C."""
    from monailabel_app.run import run_site
    from monailabel_app.settings import SiteSettings, default_state

    settings = SiteSettings(name=name, state=state or default_state(name), upload_limit=upload_limit * 2**20, **options)
    run_site(settings)


@site.command("user")
@click.argument("file", type=_PATH)
@click.argument("name")
@click.option("--role", type=click.Choice(["viewer", "annotator", "reviewer", "admin"]), required=True)
@_plainly
def user(file: Path, name: str, role: Any) -> None:
    """Add NAME to the users FILE, or change role and password. The password is asked for, or read from a pipe."""
    from monailabel_app.auth import write_user

    if sys.stdin.isatty():
        password = click.prompt("Password", hide_input=True, confirmation_prompt=True)
    else:
        password = sys.stdin.readline().rstrip("\r\n")
    write_user(file, name, role, password)
    click.echo(f"{name} is {role} in {file}")


@click.group()
def plan() -> None:
    """Make and read the plan that all sites of a federation hold."""


@plan.command("create")
@click.option("--model", type=click.Choice(["unet", "sam"]), required=True)
@click.option("--labels", callback=_labels, required=True, help='Label schema, e.g. "tumour=1".')
@click.option("--out", type=_PATH, required=True, help="File to write.")
@click.option("--name", default="federation", show_default=True)
@click.option("--method", default="fedavg", show_default=True)
@click.option("--rounds", type=click.IntRange(1, 1000), default=3, show_default=True)
@click.option("--quorum", type=click.IntRange(1), default=1, show_default=True, help="Updates that a round needs.")
@click.option(
    "--round-deadline", type=click.FloatRange(1), default=600.0, show_default=True, help="Seconds for one round."
)
@click.option("--starter", "starters", multiple=True, help="Site that may start rounds; repeatable; all by default.")
@click.option("--gate-margin", type=click.FloatRange(0, 1), default=0.0, show_default=True)
@click.option("--steps", type=click.IntRange(1), help="Gradient steps of one training.")
@click.option("--learning-rate", type=float)
@click.option("--batch-size", type=click.IntRange(1))
@click.option("--proximal", type=click.FloatRange(0), help="mu of FedProx.")
@click.option("--image-size", type=click.IntRange(32, 1024), help="Side of the slice that the network sees, in pixels.")
@click.option("--dims", "spatial_dims", type=click.IntRange(2, 3), help="2: slices; 3: whole volumes (unet).")
@click.option(
    "--travels", multiple=True, help="Prefix of U-Net tensors that leave the site; repeatable; all by default."
)
@click.option("--base", help="sam_tiny, sam_vit_b or medsam.")
@click.option("--lora-rank", type=click.IntRange(1, 64))
@click.option("--lora-blocks", type=click.IntRange(0), help="Last encoder blocks that are adapted; 0 is all.")
@click.option("--decoder/--no-decoder", default=None, help="Whether SAM's mask decoder is trained and travels.")
@click.option("--checkpoint", type=_PATH, help="Checkpoint of SAM ViT-B or MedSAM.")
@click.option("--seed", type=click.IntRange(0, 2**31 - 1), default=0, show_default=True)
@_plainly
def create(out: Path, **options: Any) -> None:
    """Write a plan: builds the model once to list the tensors that travel."""
    made = build_plan(**options)
    try:
        save_plan(made, out)
    except OSError as error:
        raise FedSegError(f"cannot write {out.name}: {error.strerror}", "check --out") from None
    click.echo(summary(made))


@plan.command("show")
@click.argument("file", type=_PATH)
@click.option("--json", "as_json", is_flag=True, help="The whole plan as JSON.")
@_plainly
def show(file: Path, as_json: bool) -> None:
    """Print what a plan says."""
    loaded = load_plan(file)
    if as_json:
        click.echo(json.dumps({**loaded.model_dump(mode="json"), "sha256": loaded.sha256}, indent=2, sort_keys=True))
    else:
        click.echo(summary(loaded))


def build_plan(
    *,
    model: str,
    labels: LabelSchema,
    name: str,
    method: str,
    rounds: int,
    quorum: int,
    round_deadline: float,
    starters: tuple[str, ...],
    gate_margin: float,
    checkpoint: Path | None,
    seed: int,
    steps: int | None = None,
    learning_rate: float | None = None,
    batch_size: int | None = None,
    proximal: float | None = None,
    travels: tuple[str, ...] = (),
    **shape: Any,
) -> Plan:
    """A plan whose adapter layout and base digest come from the model itself.

    Args:
        shape: further fields of :class:`~fed_backend.plan.ModelSpec`; ``None`` keeps the default.

    Raises:
        FedSegError: settings that contradict each other, or a missing checkpoint.
    """
    from fed_backend.methods import METHODS
    from fed_backend.plan import parse_plan
    from monailabel_app.errors import SiteError
    from monailabel_app.models.registry import build_segmenter, default_spec

    if method not in METHODS:
        raise SiteError(f"there is no method {method!r}", f"choose one of: {', '.join(METHODS)}")
    if checkpoint is not None and not checkpoint.is_file():
        raise SiteError(f"checkpoint {str(checkpoint)!r} does not exist", "check --checkpoint")
    training = {"steps": steps, "learning_rate": learning_rate, "batch_size": batch_size, "proximal": proximal}
    spec = {**default_spec(model).model_dump(), **_given(shape), "seed": seed, "travels": travels}
    draft: dict[str, Any] = {
        "name": name,
        "method": MethodSpec(name=method).model_dump(),
        "model": spec,
        "base_sha256": "0" * 64,
        "adapter": {"to be filled": [1]},
        "labels": labels,
        "training": {**TrainingSpec(seed=seed).model_dump(), **_given(training)},
        "rounds": rounds,
        "quorum": quorum,
        "round_deadline_s": round_deadline,
        "gate_margin": gate_margin,
        "starters": starters,
    }
    checked = parse_plan(draft, "the plan")
    segmenter = build_segmenter(checked.model, labels, checkpoint=checkpoint)
    return parse_plan(
        {
            **draft,
            "base_sha256": segmenter.base_sha256,
            "adapter": {
                key: list(value) for key, value in travelling(checked.model, segmenter.adapter_shapes()).items()
            },
        },
        "the plan",
    )


def travelling(spec: ModelSpec, shapes: dict[str, tuple[int, ...]]) -> dict[str, tuple[int, ...]]:
    """The tensors that a plan lists: all, or those under the prefixes it names.

    Raises:
        SiteError: a prefix that no tensor has.
    """
    from monailabel_app.errors import SiteError

    for prefix in spec.travels:
        if not any(name.startswith(prefix) for name in shapes):
            raise SiteError(
                f"no tensor begins with {prefix!r}", f"tensors begin with: {', '.join(sorted(shapes)[:4])}, ..."
            )
    return {name: shape for name, shape in shapes.items() if not spec.travels or name.startswith(spec.travels)}


def summary(loaded: Plan) -> str:
    """A plan in a few lines, with the size of what travels."""
    numbers = sum(_product(shape) for shape in loaded.adapter.values())
    lines = {
        "plan": f"{loaded.name}, sha256 {loaded.sha256}",
        "method": f"{loaded.method.name} {dict(loaded.method.settings) or ''}".strip(),
        "model": f"{loaded.model.name} on {loaded.model.base}, {loaded.model.image_size} px, base {loaded.base_sha256[:12]}…",
        "adapter": f"{len(loaded.adapter)} tensors, {numbers} numbers, {numbers * 4 / 2**20:.2f} MiB a way per site and round",
        "labels": ", ".join(f"{name} = {value}" for name, value in loaded.labels.items()),
        "training": f"{loaded.training.steps} steps of {loaded.training.batch_size}, learning rate {loaded.training.learning_rate:g}",
        "rounds": f"{loaded.rounds}, quorum {loaded.quorum}, {loaded.round_deadline_s:g} s each",
        "starters": ", ".join(loaded.starters) or "every site",
    }
    return "\n".join(f"{key:9}{value}" for key, value in lines.items())


def _given(options: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in options.items() if value is not None}


def _product(shape: tuple[int, ...]) -> int:
    product = 1
    for side in shape:
        product *= side
    return product


os.environ.setdefault("OMP_NUM_THREADS", "1")
