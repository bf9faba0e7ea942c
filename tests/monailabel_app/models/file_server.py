"""An HTTP server on the loopback interface that sends one file, well or badly."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class FileServer:
    """What is served, how, and what was asked for.

    Attributes:
        body: the file.
        etag: its validator.
        ranges: whether ranges are honoured.
        cut: bytes after which each of the next replies breaks off, first to last; then none does.
        statuses: statuses of the next replies, first to last; then 200 or 206.
        asked: Range header of every request, "" without one.
        url: address.
    """

    def __init__(self, body: bytes) -> None:
        self.body = body
        self.etag = '"first"'
        self.ranges = True
        self.cut: list[int] = []
        self.statuses: list[int] = []
        self.asked: list[str] = []
        self.url = ""


@contextmanager
def serve(body: bytes) -> Iterator[FileServer]:
    """Serve ``body`` until the block ends."""
    state = FileServer(body)

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked = self.headers.get("Range", "")
            state.asked.append(asked)
            if state.statuses and (status := state.statuses.pop(0)) != 200:
                self.send_error(status)
                return
            first = 0
            if asked and state.ranges and self.headers.get("If-Range") == state.etag:
                first = int(asked.removeprefix("bytes=").removesuffix("-"))
                if first >= len(state.body):
                    self.send_error(416)
                    return
            rest = state.body[first:]
            self.send_response(206 if first else 200)
            self.send_header("ETag", state.etag)
            self.send_header("Content-Length", str(len(rest)))
            if first:
                self.send_header("Content-Range", f"bytes {first}-{len(state.body) - 1}/{len(state.body)}")
            self.end_headers()
            self.wfile.write(rest[: state.cut.pop(0)] if state.cut else rest)
            self.close_connection = True

        def log_message(self, format: str, *args: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
        thread.start()
        state.url = f"http://127.0.0.1:{server.server_address[1]}/base.pth"
        try:
            yield state
        finally:
            server.shutdown()
            thread.join()
