"""``fedseg site`` and ``fedseg plan``; also ``python -m monailabel_app site ...``.

Nothing heavy is imported until a command runs: ``fedseg --help`` must not wait for torch.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Any

import click

from fed_backend.errors import FedSegError
from fed_backend.plan import LabelSchema, load_plan, save_plan, start_file
from monailabel_app.learning.commands import retrain, statistics

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


def _names(context: click.Context, parameter: click.Parameter, value: str | None) -> tuple[str, ...] | None:
    return None if value is None else tuple(name.strip() for name in value.split(","))


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
    "--annotates",
    callback=_names,
    help='Labels that are annotated here, where it is not all, e.g. "tumour". Of the others nothing is learned.',
)
@click.option(
    "--codes", type=_PATH, help="JSON with coded words (SNOMED CT ...) for labels, which Slicer keeps with them."
)
@click.option(
    "--split", type=_PATH, help="CSV: case, part (train, validation, holdout) and/or patient, and maybe site."
)
@click.option("--users", type=_PATH, help="Users file; needed to listen beyond this machine.")
@click.option("--checkpoint", type=_PATH, help="Checkpoint of SAM ViT-B or MedSAM.")
@click.option("--tls-cert", type=_PATH, help="Certificate (PEM) for HTTPS.")
@click.option("--tls-key", type=_PATH, help="Private key (PEM) of the certificate.")
@click.option("--ready-file", type=_PATH, help="Written once the site serves: JSON with pid, url, state, token_file.")
@click.option("--upload-limit", type=click.IntRange(1), default=2048, show_default=True, help="Largest upload in MiB.")
@click.option(
    "--features-limit",
    type=click.IntRange(1),
    default=4096,
    show_default=True,
    help="Features on disk, in MiB; no less than that of fedseg precompute.",
)
@click.option(
    "--threads",
    type=click.IntRange(1, 256),
    default=1,
    show_default=True,
    help="torch threads, here and in the learner.",
)
@click.option(
    "--device",
    type=click.Choice(["auto", "cpu", "cuda"]),
    default="cpu",
    show_default=True,
    help="Where prompts are answered; auto takes a GPU where there is one.",
)
@_plainly
def start(state: Path | None, name: str, upload_limit: int, features_limit: int, **options: Any) -> None:
    """Serve a folder of images until Ctrl-C."""
    from monailabel_app.run import run_site
    from monailabel_app.settings import SiteSettings, default_state

    settings = SiteSettings(
        name=name,
        state=state or default_state(name),
        upload_limit=upload_limit * 2**20,
        features_limit=features_limit * 2**20,
        **options,
    )
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


@site.command("join")
@click.argument("source", type=_PATH)
@click.option("--out", type=_PATH, help="Folder to create from an invitation.")
@click.option("--certificate", type=_PATH, help="The signed certificate; completes the kit SOURCE.")
@_plainly
def join(source: Path, out: Path | None, certificate: Path | None) -> None:
    """Join a federation: SOURCE is its invitation (with --out), or this site's kit.

    Makes the site's private key, which never leaves the kit, and the request for a certificate. On a kit without
    --certificate it writes the request again, for the next certificate.
    """
    from fed_backend.flare.joining import accept, complete, request_file, write_request
    from fed_backend.flare.kit import load_kit

    if source.is_dir():
        kit = load_kit(source, "site")
        if certificate is not None:
            complete(kit, certificate)
            click.echo(f"{kit.name} has joined the federation of plan {kit.plan.name!r}; next: fedseg plan approve,")
            click.echo(f"fedseg courier start {source}")
            return
        write_request(kit)
    elif out is None or certificate is not None:
        raise FedSegError("an invitation needs a folder for the kit", "give --out KIT, and the certificate later")
    else:
        kit = accept(source, out)
    click.echo(f"request: {request_file(kit)}  (not secret; send it to the hub's administrator)")
    click.echo(f"then:    fedseg site join {source if source.is_dir() else out} --certificate FILE")


@site.command("leave")
@click.argument("kit", type=_PATH)
@click.option("--state", type=_PATH, required=True, help="State folder of the site; the site may be running.")
@click.option("--forget", is_flag=True, help="Destroy the private key in the kit, too.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@_plainly
def leave(kit: Path, state: Path, forget: bool, yes: bool) -> None:
    """Leave the federation of KIT: nothing comes in or goes out any more, and the courier ends for good."""
    from getpass import getuser

    from monailabel_app.federation.leaving import leave as leave_federation

    if not yes:
        click.confirm("Let the site leave its federation?", abort=True)
    click.echo(leave_federation(kit, state, getuser(), forget=forget))


site.add_command(retrain)
site.add_command(statistics)


@click.group()
def plan() -> None:
    """Make and read the plan that all sites of a federation hold."""


@plan.command("create")
@click.option("--model", type=click.Choice(["unet", "sam"]), required=True)
@click.option("--labels", callback=_labels, required=True, help='Label schema, e.g. "tumour=1".')
@click.option("--out", type=_PATH, required=True, help="File to write.")
@click.option("--name", default="federation", show_default=True)
@click.option("--method", default="fedavg", show_default=True, help='With settings: "fedsca:share=0.25;tau=0.2".')
@click.option(
    "--encoding", type=click.Choice(["float32", "float16", "int8"]), default="float32", help="How tensors travel."
)
@click.option("--also", multiple=True, help="Method that rounds may be started with too; repeatable.")
@click.option("--rounds", type=click.IntRange(1, 1000), default=3, show_default=True)
@click.option("--quorum", type=click.IntRange(1), default=1, show_default=True, help="Updates that a round needs.")
@click.option(
    "--round-deadline", type=click.FloatRange(1), default=600.0, show_default=True, help="Seconds for one round."
)
@click.option("--starter", "starters", multiple=True, help="Site that may start rounds; repeatable; all by default.")
@click.option(
    "--robust", help='How the hub bears hostile updates: "trimmed_mean:hostile=1;clip=5", median, krum, mean.'
)
@click.option("--privacy", help='Noise on updates before they leave a site: "clip=1;noise=1;delta=1e-5;epsilon=8".')
@click.option(
    "--secure", type=click.IntRange(3, 1000), help="The hub sees sums of at least so many updates, and no single one."
)
@click.option("--gate-margin", type=click.FloatRange(0, 1), default=0.01, show_default=True)
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
    from monailabel_app.planning import build_plan, build_start, summary

    made = build_plan(**options)
    start = build_start(made, options["checkpoint"])
    try:
        save_plan(made, out)
        start_file(out).unlink(missing_ok=True)
        if start is not None:
            start_file(out).write_bytes(start)
    except OSError as error:
        raise FedSegError(f"cannot write {out.name}: {error.strerror}", "check --out") from None
    click.echo(summary(made))


@plan.command("show")
@click.argument("file", type=_PATH)
@click.option("--json", "as_json", is_flag=True, help="The whole plan as JSON.")
@_plainly
def show(file: Path, as_json: bool) -> None:
    """Print what a plan says."""
    from monailabel_app.planning import summary

    loaded = load_plan(file)
    if as_json:
        click.echo(json.dumps({**loaded.as_json(), "sha256": loaded.sha256}, indent=2, sort_keys=True))
    else:
        click.echo(summary(loaded))


@plan.command("approve")
@click.argument("file", type=_PATH)
@click.option("--state", type=_PATH, required=True, help="State folder of the site; the site may be running.")
@click.option("--withdraw", is_flag=True, help="Take the approval back.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@_plainly
def approve(file: Path, state: Path, withdraw: bool, yes: bool) -> None:
    """Let a site take part in rounds under the plan in FILE: shows it, and asks."""
    from getpass import getuser

    from monailabel_app.federation.consent import Consent
    from monailabel_app.planning import summary
    from monailabel_app.state.database import Database

    loaded = load_plan(file)
    if not withdraw:
        click.echo(summary(loaded))
        if not yes:
            click.confirm("Approve this plan for the site?", abort=True)
    state.mkdir(parents=True, exist_ok=True)
    database = Database(state / "site.sqlite")
    try:
        if withdraw:
            Consent(database).withdraw(loaded, getuser())
        else:
            Consent(database).approve(loaded, loaded.sha256, getuser())
    finally:
        database.close()
    click.echo(f"plan {loaded.sha256[:12]}… is {'no longer approved' if withdraw else 'approved'}")
