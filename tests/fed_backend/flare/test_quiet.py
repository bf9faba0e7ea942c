"""What travels is not written out as text on the way."""

from __future__ import annotations

import logging

import pytest
from nvflare.fuel.f3.cellnet.cell import Adapter
from nvflare.fuel.f3.streaming.stream_types import StreamFuture
from nvflare.fuel.utils.buffer_list import ConsumableBufferList

from fed_backend.flare.quiet import keep_payloads_unprinted


def test_a_payload_stays_out_of_what_flare_writes_about_it(caplog: pytest.LogCaptureFixture) -> None:
    keep_payloads_unprinted()
    future = StreamFuture(1, {})
    future.set_result(ConsumableBufferList([b"weights", b"of a hospital"]))
    with caplog.at_level(logging.DEBUG), pytest.raises(AttributeError):  # there is no cell to answer through
        Adapter(None, None, None).call(future)
    assert "incoming data=<2 chunks>" in caplog.text
    assert "hospital" not in caplog.text
