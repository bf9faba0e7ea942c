"""What travels is not written out as text on the way."""

from __future__ import annotations

import io
import logging

import pytest
from nvflare.fuel.f3.cellnet.cell import Adapter
from nvflare.fuel.f3.streaming.stream_types import StreamFuture
from nvflare.fuel.utils.buffer_list import ConsumableBufferList

from fed_backend.flare.quiet import keep_payloads_unprinted


def test_a_payload_stays_out_of_what_flare_writes_about_it() -> None:
    keep_payloads_unprinted()
    future = StreamFuture(1, {})
    future.set_result(ConsumableBufferList([b"weights", b"of a hospital"]))
    adapter, written = Adapter(None, None, None), io.StringIO()
    adapter.logger = logging.Logger("alone", logging.DEBUG)
    adapter.logger.addHandler(logging.StreamHandler(written))
    with pytest.raises(AttributeError):  # there is no cell to answer through
        adapter.call(future)
    assert "incoming data=<2 chunks>" in written.getvalue()
    assert "hospital" not in written.getvalue()
