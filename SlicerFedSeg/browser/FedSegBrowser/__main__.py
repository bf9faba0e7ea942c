"""``python -m FedSegBrowser``: one annotator's seat in a browser."""

from __future__ import annotations

import argparse
import json
import os
import secrets
import socket
import sys
from pathlib import Path
from typing import Any


def arguments(given: list[str]) -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(prog="FedSegBrowser", description="FedSeg in a web page, for one annotator.")
    parser.add_argument("--site", default="", help="address of the site; the last one used if not given")
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (default: this computer only)")
    parser.add_argument("--port", type=int, default=8080, help="0 takes a free port")
    parser.add_argument("--keep", type=Path, default=Path.home() / ".local/share/fedseg-browser",
                        help="folder for settings and for masks that wait to be sent")  # fmt: skip
    parser.add_argument("--ca-file", type=Path, help="certificate authority of the site, PEM; remembered")
    parser.add_argument("--ready-file", type=Path, help="written once the page can be opened: JSON with pid and url")
    chosen = parser.parse_args(given)
    if chosen.ca_file is not None and not chosen.ca_file.is_file():
        parser.error(f"there is no file {chosen.ca_file}")
    if not _free(chosen.host, chosen.port):
        parser.error(f"port {chosen.port} of {chosen.host} is taken: choose another with --port, or 0 for any")
    return chosen


def _free(host: str, port: int) -> bool:
    """True when a server can listen there."""
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError:
            return False
    return True


def tell_ready(url: str, ready_file: Path | None) -> None:
    """Say where the page is."""
    print(f"Open this address in a browser (it is the key to the page; do not pass it on):\n\n  {url}\n", flush=True)
    if ready_file is not None:
        waiting = ready_file.with_suffix(".new")
        waiting.touch(mode=0o600)
        waiting.write_text(json.dumps({"pid": os.getpid(), "url": url}))
        waiting.replace(ready_file)


def main(given: list[str]) -> int:
    """Serve the page until Ctrl-C."""
    chosen = arguments(given)
    if not os.environ.get("DISPLAY"):
        os.environ.setdefault("VTK_DEFAULT_OPENGL_WINDOW", "vtkOSOpenGLRenderWindow")
    sys.argv = sys.argv[:1]  # trame reads it, too
    from trame.app import get_server
    from trame_server.utils.asynchronous import create_task

    from .gate import Gate
    from .page import Page
    from .seat import Seat

    server: Any = get_server("fedseg", client_type="vue3")
    token = secrets.token_urlsafe(24)
    server.cli.set_defaults(authKey=token)
    seat = Seat(server, chosen.keep, chosen.site)
    if chosen.ca_file is not None:
        seat.controller.settings.set_text("ca_file", str(chosen.ca_file.resolve()))
    Page(server, seat)

    running: list[Any] = []  # the loop itself holds tasks weakly

    def bound(wslink: Any) -> None:
        Gate(token).install(wslink.app)

    def ready(**_: Any) -> None:
        running.append(create_task(seat.run()))
        tell_ready(f"http://{chosen.host}:{server.port}/?secret={token}", chosen.ready_file)

    server.controller.on_server_bind.add(bound)
    server.controller.on_server_ready.add(ready)
    try:
        server.start(host=chosen.host, port=chosen.port, open_browser=False, show_connection_info=False, timeout=0)
    finally:
        seat.close()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
