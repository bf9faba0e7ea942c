"""The command ``fedseg peers``: where a site listens, and whom it hears."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import click
from pydantic import ValidationError

from fed_backend.errors import ProvisionError
from fed_backend.flare.kit import Kit, load_kit
from fed_backend.gossip.peers import Listen, Peer, PeerList, load_peers, save_peers

__all__ = ["peers"]

_KIT = click.argument("kit", type=click.Path(path_type=Path, file_okay=False))


@click.group()
def peers() -> None:
    """The peers of a site, for plans without a hub; a running courier sees a change at once."""


@peers.command("listen")
@_KIT
@click.option("--host", default="0.0.0.0", show_default=True, help="Address of this machine to listen at.")  # noqa: S104
@click.option("--port", default=8770, show_default=True, help="TCP port; open it in the firewall for the peers.")
@click.option("--off", is_flag=True, help="Do not listen: this site calls others and is not called.")
def listen(kit: Path, host: str, port: int, off: bool) -> None:
    """Set where the courier of KIT listens for peers; takes effect when it is started."""
    _change(kit, lambda listed: {"listen": None if off else Listen(host=host, port=port)})


@peers.command("relay")
@_KIT
@click.argument("state", type=click.Choice(["on", "off"]))
def relay(kit: Path, state: str) -> None:
    """Whether peers without an address are reached through the hub; takes effect when the courier is started."""
    _change(kit, lambda listed: {"relay": state == "on"})


@peers.command("add")
@_KIT
@click.argument("name")
@click.argument("host", required=False, default="")
@click.argument("port", type=int, required=False)
def add(kit: Path, name: str, host: str, port: int | None) -> None:
    """Hear the site NAME and, with HOST and PORT, call it there; replaces what was known of it."""
    if bool(host) != (port is not None):
        raise ProvisionError("a peer has both a host and a port, or neither", "fedseg peers add KIT NAME HOST PORT")
    _change(kit, lambda listed: {"peers": (*_without(listed, name), Peer(name=name, host=host, port=port))})


@peers.command("remove")
@_KIT
@click.argument("name")
def remove(kit: Path, name: str) -> None:
    """Neither hear nor call the site NAME any more."""
    if load_peers(load_kit(kit, "site")).find(name) is None:
        raise ProvisionError(f"{name!r} is no peer", "`fedseg peers list` shows them")
    _change(kit, lambda listed: {"peers": _without(listed, name)})


@peers.command("list")
@_KIT
def show(kit: Path) -> None:
    """Print where this site listens, and its peers."""
    listed = load_peers(load_kit(kit, "site"))
    at = listed.listen
    click.echo(f"listens\t{at.host}:{at.port}" if at else "listens\tnot at all")
    without = "through the hub" if listed.relay else "calls, is not called"
    for peer in listed.peers:
        click.echo(f"{peer.name}\t{f'{peer.host}:{peer.port}' if peer.reachable else without}")


def _without(listed: PeerList, name: str) -> tuple[Peer, ...]:
    return tuple(peer for peer in listed.peers if peer.name != name)


def _change(folder: Path, change: Callable[[PeerList], dict[str, object]]) -> None:
    kit: Kit = load_kit(folder, "site")
    listed = load_peers(kit)
    try:
        changed = PeerList.model_validate({**listed.model_dump(), **change(listed)})
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False)[0]
        raise ProvisionError(first["msg"], "see `fedseg peers --help`") from None
    if changed.find(kit.name) is not None:
        raise ProvisionError(f"{kit.name!r} is this site itself", "list the others")
    save_peers(kit, changed)
