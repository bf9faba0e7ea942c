"""Versions leave and enter a site as files, and old ones go; what serves is never touched."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.numpy import save

from monailabel_app.errors import AdapterError, Conflict
from monailabel_app.state.retention import lineage, prune
from monailabel_app.state.site import SiteState
from monailabel_app.state.version_files import export_version, import_version
from monailabel_app.state.versions import NewVersion, Version, VersionStore

BASE = "b" * 64


def tensors(value: float) -> dict[str, Any]:
    return {"w": np.full((2, 3), value, np.float32)}


def make(store: VersionStore, parent: str, value: float, **more: Any) -> Version:
    record = NewVersion(origin="learning", parent=parent, base_sha256=BASE, seed=7, metrics={"loss": 1.5}, **more)
    return store.create(tensors(value), record)


@pytest.fixture
def store(state: SiteState) -> VersionStore:
    found = state.versions("unet")
    found.ensure_base(tensors(0), BASE)
    return found


def test_a_version_goes_to_another_site_as_it_is_and_serves_only_by_hand(store: VersionStore, tmp_path: Any) -> None:
    made = make(store, store.base(), 2)
    other = VersionStore(tmp_path / "other", "unet")
    other.ensure_base(tensors(0), BASE)
    arrived = import_version(other, export_version(store, made.id), "ann")
    assert np.array_equal(other.load(arrived.id)["w"], store.load(made.id)["w"])
    assert (arrived.origin, arrived.parent, arrived.seed, arrived.metrics) == ("import", other.base(), 7, {"loss": 1.5})
    assert arrived.settings["imported"] == {"id": made.id, "origin": "learning", "sha256": made.sha256, "by": "ann"}
    assert other.champion() == other.base()
    assert other.state_of(arrived.id)[0] == "candidate"


def test_a_file_for_another_base_model_or_layout_is_refused(store: VersionStore, tmp_path: Any) -> None:
    data = export_version(store, make(store, store.base(), 2).id)
    for folder, model, base, content in (
        ("a", "unet", "c" * 64, tensors(0)),
        ("b", "sam", BASE, tensors(0)),
        ("c", "unet", BASE, {"w": np.zeros((3, 2), np.float32)}),
        ("d", "unet", BASE, {**tensors(0), "v": np.zeros(1, np.float32)}),
    ):
        other = VersionStore(tmp_path / folder, model)
        other.ensure_base(content, base)
        with pytest.raises((Conflict, AdapterError)):
            import_version(other, data, "ann")
        assert len(other.list()) == 1


def forged(store: VersionStore, content: dict[str, Any], **changes: Any) -> bytes:
    record = json.loads(store.get(store.base()).model_dump_json())
    return save(content, {"format": "fedseg-version/1", "record": json.dumps({**record, **changes})})


def test_damaged_and_forged_files_are_refused_and_nothing_is_kept(store: VersionStore) -> None:
    whole = export_version(store, make(store, store.base(), 2).id)
    count = len(store.list())
    not_finite = {"w": np.full((2, 3), np.nan, np.float32)}
    bad = [b"", b"\x00" * 8, b"PK\x03\x04", whole[:-1], whole[: len(whole) // 2], b"\xff" * 100]
    bad += [forged(store, tensors(9)), forged(store, not_finite), save(tensors(1)), forged(store, tensors(0), model=3)]
    for data in bad:
        with pytest.raises((AdapterError, Conflict)):
            import_version(store, data, "ann")
    assert len(store.list()) == count


def test_only_what_leads_nowhere_is_deleted(store: VersionStore) -> None:
    base = store.base()
    first = make(store, base, 1)
    store.promote(first.id, "better")
    refused = make(store, first.id, 2)
    second = make(store, first.id, 3)
    store.promote(second.id, "better")
    spare = [make(store, second.id, 4 + n) for n in range(3)]
    assert [v.id for v in lineage(store.list(), second.id)] == [second.id, first.id, base]
    assert prune(store, keep_last=10) == []
    assert prune(store, keep_last=2) == [refused.id, spare[0].id]
    assert [v.id for v in store.list()] == [base, first.id, second.id, spare[1].id, spare[2].id]
    assert store.rollback("back") == first.id, "the way back stays open"
    assert prune(store, keep_last=1) == [spare[1].id], "what the newest version descends from stays too"
    with pytest.raises(Conflict, match="serves"):
        store.remove(first.id)
    assert np.array_equal(store.load(store.champion())["w"], tensors(1)["w"])
    new = make(store, first.id, 9)
    assert int(new.id.split("-")[1]) > int(spare[2].id.split("-")[1]), "numbers are not used twice"


@settings(max_examples=25, deadline=None)
@given(st.data())
def test_whatever_happened_before_the_champion_and_its_way_back_stay(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    store = VersionStore(tmp_path_factory.mktemp("store"), "unet")
    store.ensure_base(tensors(0), BASE)
    for number in range(data.draw(st.integers(1, 7))):
        parent = data.draw(st.sampled_from([v.id for v in store.list()]))
        made = make(store, parent, number + 1)
        if data.draw(st.booleans()):
            store.promote(made.id, "x")
        if data.draw(st.booleans()):
            prune(store, data.draw(st.integers(1, 4)))
    keep = data.draw(st.integers(1, 4))
    before = store.list()
    champion, newest = store.champion(), {v.id for v in before[-keep:]}
    way_back = {v.id for v in lineage(before, champion)}
    deleted = set(prune(store, keep))
    assert not deleted & (way_back | newest | {champion})
    assert {v.id for v in before} - deleted == {v.id for v in store.list()}
    store.promote(data.draw(st.sampled_from([v.id for v in store.list()])), "any that is left may be promoted")
    for version in store.list():  # whichever is promoted by hand, the way back is there
        store.promote(version.id, "by hand")
        while store.champion() != store.base():
            store.rollback("back")
