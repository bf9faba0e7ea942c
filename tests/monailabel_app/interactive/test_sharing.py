"""Memory, flights, turns and the order of fetching ahead: the parts that threads share."""

from __future__ import annotations

import threading

import numpy as np
import pytest
import torch

from monailabel_app.errors import Cancelled, SiteError
from monailabel_app.inference.embeddings.flights import Flight, Flights
from monailabel_app.inference.embeddings.key import FeatureKey, adapter_digest
from monailabel_app.inference.embeddings.memory import MemoryStore
from monailabel_app.inference.embeddings.prefetch import outwards
from monailabel_app.inference.embeddings.priority import PATIENCE_S, Turns
from monailabel_app.models.encoder import first_adapted_block

WAIT_S = 10.0


def test_memory_drops_what_was_used_longest_ago() -> None:
    store = MemoryStore(limit=3 * 40)
    for name in "abc":
        store.put(name, torch.zeros(10))
    store.get("a")
    store.put("d", torch.zeros(10))
    assert [name in store for name in "abcd"] == [True, False, True, True]
    assert store.nbytes == 120


def test_one_entry_is_kept_whatever_its_size() -> None:
    store = MemoryStore(limit=8)
    store.put("large", torch.zeros(100))
    assert store.get("large") is not None


def test_duplicate_requests_compute_once() -> None:
    flights: Flights[int] = Flights()
    begun, go = threading.Event(), threading.Event()
    computed: list[int] = []

    def compute(flight: Flight[int]) -> int:
        computed.append(1)
        begun.set()
        assert go.wait(WAIT_S)
        return 7

    results: list[tuple[int, bool]] = []
    threads = [
        threading.Thread(target=lambda: results.append(flights.run("slice", compute, urgent=True))) for _ in range(8)
    ]
    threads[0].start()
    assert begun.wait(WAIT_S)
    for thread in threads[1:]:
        thread.start()
    go.set()
    for thread in threads:
        thread.join(WAIT_S)
    assert [value for value, _ in results] == [7] * 8
    assert len(computed) == sum(not joined for _, joined in results)


def test_a_waiting_click_makes_background_work_urgent() -> None:
    turns = Turns()
    flights: Flights[str] = Flights(turns.recheck)
    begun = threading.Event()
    click_waits = threading.Event()

    def slow(flight: Flight[str]) -> str:
        begun.set()
        assert click_waits.wait(WAIT_S)
        while not flight.urgent:
            turns.step_aside(lambda: flight.urgent)
        return "features"

    background = threading.Thread(target=lambda: flights.run("slice", slow, urgent=False))
    background.start()
    assert begun.wait(WAIT_S)
    with turns.urgent():
        click_waits.set()
        assert flights.run("slice", lambda flight: "again", urgent=True) == ("features", True)
    background.join(WAIT_S)


def test_an_error_reaches_everyone_and_the_next_request_tries_again() -> None:
    flights: Flights[int] = Flights()

    def fail(flight: Flight[int]) -> int:
        raise SiteError("no")

    with pytest.raises(SiteError, match="no"):
        flights.run("slice", fail, urgent=True)
    assert flights.run("slice", lambda flight: 1, urgent=True) == (1, False)


def test_a_waiter_takes_over_what_was_given_up() -> None:
    flights: Flights[int] = Flights()
    begun, go = threading.Event(), threading.Event()

    def give_up(flight: Flight[int]) -> int:
        begun.set()
        assert go.wait(WAIT_S)
        raise Cancelled("given up")

    def leader() -> None:
        with pytest.raises(Cancelled):
            flights.run("slice", give_up, urgent=False)

    thread = threading.Thread(target=leader)
    thread.start()
    assert begun.wait(WAIT_S)
    results: list[tuple[int, bool]] = []
    waiter = threading.Thread(target=lambda: results.append(flights.run("slice", lambda f: 5, urgent=True)))
    waiter.start()
    go.set()
    thread.join(WAIT_S)
    waiter.join(WAIT_S)
    assert results == [(5, False)]


def test_background_work_waits_while_somebody_is_served_but_not_forever() -> None:
    turns = Turns()
    passed = threading.Event()

    def work() -> None:
        turns.step_aside()
        passed.set()

    with turns.urgent():
        thread = threading.Thread(target=work)
        thread.start()
        assert not passed.wait(PATIENCE_S / 3)
        assert passed.wait(WAIT_S)  # its patience ended
    thread.join(WAIT_S)


def test_the_current_slice_first_then_two_ahead_for_one_behind() -> None:
    assert list(outwards(10, 100, 0, 3)) == [10, 11, 9, 12, 8, 13, 7]
    assert list(outwards(10, 100, 1, 6)) == [10, 11, 12, 13, 9, 14, 15, 16, 8]
    assert list(outwards(10, 100, -1, 3)) == [10, 9, 8, 7, 11]
    assert list(outwards(0, 2, -1, 3)) == [0, 1]


KEY = FeatureKey("i", 2, 3, "w", "b", "neck", "a", "float32")


@pytest.mark.parametrize(
    "change", [{"image": "x"}, {"axis": 1}, {"index": 4}, {"window": "x"}, {"base": "x"}, {"layer": "block-3"},
               {"adapter": "x"}, {"numeric": "bfloat16"}],
)  # fmt: skip
def test_whatever_features_depend_on_changes_the_key(change: dict[str, object]) -> None:
    assert FeatureKey(**{**KEY.__dict__, **change}).digest != KEY.digest
    assert FeatureKey(**KEY.__dict__).digest == KEY.digest


def test_only_the_encoder_below_a_layer_counts() -> None:
    tensors = {
        "image_encoder.blocks.3.attn.qkv.lora_A": np.ones((2, 2)),
        "image_encoder.blocks.5.attn.qkv.lora_A": np.ones((2, 2)),
        "mask_decoder.mask_tokens.weight": np.ones(3),
        "default_prompt.tumour": np.ones(3),
    }
    upper = {**tensors, "image_encoder.blocks.5.attn.qkv.lora_A": np.zeros((2, 2))}
    decoder = {**tensors, "mask_decoder.mask_tokens.weight": np.zeros(3)}
    assert adapter_digest(tensors, below=3) == ""
    assert adapter_digest(tensors, below=5) == adapter_digest(upper, below=5) != ""
    assert adapter_digest(tensors) == adapter_digest(decoder)
    assert adapter_digest(tensors) != adapter_digest(upper)
    assert first_adapted_block(tensors, 6) == 3
    assert first_adapted_block({"mask_decoder.x": 1}, 6) == 6
    assert first_adapted_block({"image_encoder.pos_embed": 1}, 6) == 0
