"""The command ``fedseg federation``: what the administrator of a federation does."""

from __future__ import annotations

import os
from pathlib import Path

import click

from fed_backend.errors import ProvisionError
from fed_backend.plan import load_plan, start_file

__all__ = ["federation"]

_FOLDER = click.Path(path_type=Path, file_okay=False)
_FILE = click.Path(path_type=Path, dir_okay=False)


@click.group()
def federation() -> None:
    """Make a federation, invite sites, sign their requests, let members go."""


@federation.command("create")
@click.option("--plan", "plan_file", required=True, type=_FILE, help="Plan that all members agree on.")
@click.option("--out", required=True, type=_FOLDER, help="Folder to create.")
@click.option("--host", default="localhost", show_default=True, help="Host name under which sites reach the hub.")
@click.option("--port", default=0, show_default=True, help="TCP port of the hub; 0 picks a free one.")
def create(plan_file: Path, out: Path, host: str, port: int) -> None:
    """Make a federation without members: the hub's kit, and the root key that signs members in."""
    from fed_backend.flare.provisioning import provision

    beside = start_file(plan_file)
    start = beside.read_bytes() if beside.is_file() else None
    folder = provision(load_plan(plan_file), [], out, host, port, start, inviting=True)
    click.echo(f"hub kit:    {folder / 'hub'}")
    click.echo(f"admin kit:  {folder / 'admin'}  (holds the root key: keep it safe)")
    click.echo(f"next:       fedseg federation invite {out} SITE")


@federation.command("invite")
@click.argument("folder", type=_FOLDER)
@click.argument("site")
@click.option("--out", type=_FILE, help="File to write.  [default: SITE.invitation.json]")
def invite(folder: Path, site: str, out: Path | None) -> None:
    """Make SITE a member of the federation in FOLDER, and write the file that lets it join."""
    from fed_backend.flare.authority import Authority

    authority = Authority(folder)
    target = out or Path(f"{site}.invitation.json")
    _write(target, authority.invite(site))
    click.echo(f"invitation: {target}  (not secret; send it to the site)")
    click.echo(f"at {site}: fedseg site join {target.name} --out KIT, which makes {site}.csr to be sent back")


@federation.command("sign")
@click.argument("folder", type=_FOLDER)
@click.argument("request", type=_FILE)
@click.option("--out", type=_FILE, help="File to write.  [default: the request's name with .crt]")
def sign(folder: Path, request: Path, out: Path | None) -> None:
    """Sign a site's certificate REQUEST. Ask the site by telephone whether it is theirs."""
    from fed_backend.flare.authority import Authority

    target = out or request.with_suffix(".crt")
    _write(target, Authority(folder).sign(request))
    click.echo(f"certificate: {target}  (not secret; send it to the site)")
    click.echo(f"at the site: fedseg site join KIT --certificate {target.name}")


@federation.command("revoke")
@click.argument("folder", type=_FOLDER)
@click.argument("site")
def revoke(folder: Path, site: str) -> None:
    """Take SITE out of the federation; a running hub refuses it within seconds."""
    from fed_backend.flare.authority import Authority

    Authority(folder).revoke(site)
    click.echo(f"{site} is no member any more")


@federation.command("forget")
@click.argument("folder", type=_FOLDER)
@click.argument("site")
def forget(folder: Path, site: str) -> None:
    """Take SITE out, and leave what descends from its updates out of all rounds to come.

    The hub goes back, in each method, to the last aggregate before the site's first update, or to the
    beginning; what was learned since is lost to the rounds. Versions at the sites stay: they are listed.
    """
    from fed_backend.flare.authority import Authority

    lineage = Authority(folder).forget(site)
    undone, back = lineage.after(site), lineage.without(site)
    click.echo(f"{site} is no member any more")
    for method, past in back.items():
        where = f"round {past.round + 1} of run {past.run}" if past else "the beginning"
        click.echo(f"the next rounds of {method} go on from {where}")
    if not undone:
        click.echo("no aggregate that is known here has an update of it")
        return
    click.echo("not undone, as versions at sites are theirs; each names the payload that it was made of:")
    for past in undone:
        for name in past.sites:
            if name != site:
                click.echo(f"{name}\t{past.method}\trun {past.run}\tround {past.round + 1}\t{past.offered(name)}")


@federation.command("members")
@click.argument("folder", type=_FOLDER)
def members(folder: Path) -> None:
    """List the members and how long their certificates are valid."""
    from fed_backend.flare.authority import Authority

    for member in Authority(folder).members():
        click.echo(f"{member.name}\t{f'until {member.ends:%Y-%m-%d}' if member.ends else 'invited'}")


def _write(path: Path, data: bytes) -> None:
    """Write a file whole or not at all."""
    temporary = path.with_name(f".{path.name}.tmp")
    try:
        temporary.write_bytes(data)
        os.replace(temporary, path)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise ProvisionError(f"cannot write {path.name}: {error.strerror}", "check --out") from None
