"""A site server that survives kill -9 as a real one does: what was answered lies on disk and is answered again.

Run as ``site_peer.py`` is. ``ledger.jsonl`` has a line for every training done and every aggregate taken;
``update-RUN-ROUND`` and ``offer-RUN-ROUND`` are the bytes.
"""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path

from site_peer import Handler, Peer, serve

from fed_backend.errors import ReplayError
from fed_backend.payload import read_header


class LastingPeer(Peer):
    """Remembers across restarts."""

    def train(self, data: bytes) -> bytes:
        header = read_header(data)
        kept = self.folder / f"update-{header.federation_round}-{header.round}.safetensors"
        if not kept.exists():
            update = super().train(data)
            _write(kept, update)
            self._note("trained", header.federation_round, header.round, data)
            return update
        update = kept.read_bytes()
        if read_header(update).parent_sha256 != hashlib.sha256(data).hexdigest():
            raise ReplayError("another payload was already accepted for this round")
        return update

    def offer(self, data: bytes) -> dict[str, object]:
        header = read_header(data)
        kept = self.folder / f"offer-{header.federation_round}-{header.round}.safetensors"
        if not kept.exists():
            self._note("applied", header.federation_round, header.round, data)
        elif kept.read_bytes() != data:
            raise ReplayError("another payload was already accepted for this round")
        _write(kept, data)
        return super().offer(data)

    def _note(self, what: str, run: str, round_: int, data: bytes) -> None:
        with (self.folder / "ledger.jsonl").open("a") as ledger:
            entry = {"what": what, "run": run, "round": round_, "sha256": hashlib.sha256(data).hexdigest()}
            ledger.write(json.dumps(entry) + "\n")


def _write(path: Path, data: bytes) -> None:
    temporary = path.with_suffix(".tmp")
    temporary.write_bytes(data)
    os.replace(temporary, path)


if __name__ == "__main__":
    serve(Handler, LastingPeer)
