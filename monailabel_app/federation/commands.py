"""``fedseg audit``: reading and checking a site's audit log, also while the site runs."""

from __future__ import annotations

import json
from pathlib import Path

import click

from monailabel_app.state.audit import read_audit
from monailabel_app.state.audit import verify as check

__all__ = ["audit"]

_STATE = click.argument("state", type=click.Path(path_type=Path, file_okay=False))


@click.group()
def audit() -> None:
    """What came into a site from its federation, and what went out."""


@audit.command("show")
@_STATE
def show(state: Path) -> None:
    """Print the entries of the site with the folder STATE, one JSON object a line."""
    for entry in read_audit(state):
        click.echo(json.dumps(entry.as_json()))


@audit.command("verify")
@_STATE
@click.option("--head", help="Hash of an entry as noted earlier: it must still be in the log.")
def verify(state: Path, head: str | None) -> None:
    """Check that no entry was changed, removed or put in; prints the newest hash, to be noted elsewhere."""
    entries, newest = check(read_audit(state), head)
    click.echo(f"{entries} entries, unbroken; head {newest}")
