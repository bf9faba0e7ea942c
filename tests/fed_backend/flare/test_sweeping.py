"""What FLARE has sent does not stay in memory."""

from __future__ import annotations

import subprocess
import sys

import pytest

PROGRAM = """
import gc, sys, time, weakref
from nvflare.fuel.f3.streaming.blob_streamer import BlobStream
from nvflare.fuel.f3.streaming.byte_streamer import TxTask
from fed_backend.flare.sweeping import Sweeper

gc.disable()  # few objects: Python itself would not look for a long time
sweeper = Sweeper(0.01) if sys.argv[1] == "swept" else None
payload = BlobStream(bytes(10), {})
kept = weakref.ref(payload)
task = TxTask(None, 2**20, "fedseg", "piece", "hub", {}, payload, False, False, False)
del task, payload
if sweeper:
    for _ in range(16):
        sweeper.sent(0)
until = time.monotonic() + float(sys.argv[2])
while kept() is not None and time.monotonic() < until:
    time.sleep(0.01)
print("gone" if kept() is None else "kept")
"""


@pytest.mark.parametrize(("how", "found"), [("swept 20", "gone"), ("not 0.2", "kept")])
def test_a_payload_that_was_sent_is_given_back(how: str, found: str) -> None:
    """The second case is FLARE's cycle, which is the reason for the first: when it is gone, so may the sweeping be."""
    told = subprocess.run([sys.executable, "-c", PROGRAM, *how.split()], capture_output=True, text=True, check=True)
    assert told.stdout.strip() == found
