"""The commands ``fedseg provision``, ``fedseg hub`` and ``fedseg courier``."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, NoReturn

import click

from fed_backend.flare.processes import Stopped, stop_on_signals
from fed_backend.plan import load_plan, start_file

__all__ = ["courier", "hub", "provision"]

_FOLDER = click.Path(path_type=Path, file_okay=False)
_FILE = click.Path(path_type=Path, dir_okay=False)


_metrics_port = click.option(
    "--metrics-port", type=click.IntRange(0, 65535), help="Serve /metrics and /health here; 0 takes a free port."
)
_metrics_host = click.option("--metrics-host", default="127.0.0.1", show_default=True, help="Address for them.")


def _monitor(host: str, port: int | None, collect: Callable[[], Iterable[Any]], trouble: Callable[[], str]) -> None:
    """Serve figures if a port is given."""
    if port is not None:
        from fed_backend.monitoring import Monitor

        _say(f"metrics: {Monitor(host, port, collect, trouble).url}/metrics")


def _say(line: str) -> None:
    click.echo(line, err=True)


def _quiet() -> None:
    """FLARE logs to the root logger; a supervisor speaks through :func:`_say`."""
    logging.basicConfig(level=logging.ERROR, format="%(levelname)s %(name)s: %(message)s")
    logging.getLogger("nvflare").setLevel(logging.CRITICAL)


def _leave() -> NoReturn:
    """End now: a FLARE session whose server died can leave threads that would keep the process."""
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)


@click.command()
@click.option("--plan", "plan_file", required=True, type=_FILE, help="Plan that all members agree on.")
@click.option("--site", "sites", required=True, multiple=True, help="Name of a member site; give one per site.")
@click.option("--out", required=True, type=_FOLDER, help="Folder to create.")
@click.option("--host", default="localhost", show_default=True, help="Host name under which sites reach the hub.")
@click.option("--port", default=0, show_default=True, help="TCP port of the hub; 0 picks a free one.")
def provision(plan_file: Path, sites: tuple[str, ...], out: Path, host: str, port: int) -> None:
    """Make the certificates and kits of a new federation."""
    from fed_backend.flare.provisioning import provision as make

    beside = start_file(plan_file)
    folder = make(load_plan(plan_file), sites, out, host, port, beside.read_bytes() if beside.is_file() else None)
    click.echo(f"hub kit:    {folder / 'hub'}")
    for site in sites:
        click.echo(f"site kit:   {folder / 'sites' / site}")
    click.echo(f"admin kit:  {folder / 'admin'}  (holds the root key: keep it safe)")


@click.group()
def hub() -> None:
    """The coordinating server of a federation."""


@hub.command("start")
@click.argument("kit", type=_FOLDER)
@click.option("--ready-file", type=_FILE, help="Written as JSON once the federation job runs.")
@_metrics_port
@_metrics_host
def hub_start(kit: Path, ready_file: Path | None, metrics_port: int | None, metrics_host: str) -> None:
    """Run the hub from its KIT until Ctrl-C or SIGTERM."""
    from fed_backend.flare.hub import Hub
    from fed_backend.flare.kit import load_kit
    from fed_backend.flare.metrics import hub_figures, hub_trouble

    stop_on_signals()
    _quiet()
    loaded = load_kit(kit, "hub")
    _say(f"hub of {loaded.plan.name!r} on {loaded.host}:{loaded.port}, waiting for {len(loaded.sites)} sites")
    try:
        _monitor(metrics_host, metrics_port, lambda: hub_figures(loaded), lambda: hub_trouble(loaded))
        Hub(loaded, ready_file, _say).run()
    except Stopped:
        _say("the hub has stopped")
        _leave()


@click.group()
def courier() -> None:
    """The process at a site that talks to the hub, or to its peers."""


@courier.command("start")
@click.argument("kit", type=_FOLDER)
@click.option("--site-url", required=True, help="Address of this site's server, such as http://127.0.0.1:8000.")
@click.option("--token-file", required=True, type=_FILE, help="courier.token in the site's state folder.")
@click.option(
    "--site-ca",
    type=_FILE,
    help="With https://: PEM file to trust instead of the public authorities: the site's authority, or the site's own.",
)
@click.option("--ready-file", type=_FILE, help="Written as JSON once whom it speaks to has answered.")
@_metrics_port
@_metrics_host
def courier_start(
    kit: Path,
    site_url: str,
    token_file: Path,
    site_ca: Path | None,
    ready_file: Path | None,
    metrics_port: int | None,
    metrics_host: str,
) -> None:
    """Run a site's courier from its KIT until Ctrl-C or SIGTERM.

    Under a plan with a hub it connects site server and hub; under a plan of peers (gcml) it needs no
    hub and contacts none: it listens for the peers that `fedseg peers` lists, and calls them.
    """
    from fed_backend.flare.kit import load_kit
    from fed_backend.flare.metrics import courier_figures, courier_trouble
    from fed_backend.methods import GOSSIP

    stop_on_signals()
    _quiet()
    loaded = load_kit(kit, "site")
    try:
        _monitor(metrics_host, metrics_port, lambda: courier_figures(loaded), lambda: courier_trouble(loaded))
        if loaded.plan.method.name in GOSSIP:
            from fed_backend.gossip.courier import GossipCourier

            _say(f"courier of {loaded.name!r} among its peers")
            GossipCourier(loaded, site_url, token_file, ready_file, _say, site_ca).run()
        else:
            from fed_backend.flare.courier import Courier

            _say(f"courier of {loaded.name!r} to the hub at {loaded.host}:{loaded.port}")
            Courier(loaded, site_url, token_file, ready_file, _say, site_ca).run()
        _say(f"{loaded.name!r} has left the federation: its courier ends, and does not start again from this kit")
    except Stopped:
        _say("the courier has stopped")
