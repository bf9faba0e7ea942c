"""L0: addresses, consent, states, words, grids - the plain values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from FedSegLib import words
from FedSegLib.address import parse_address
from FedSegLib.consent import WORDING, Consent, ConsentBook, consent_text
from FedSegLib.errors import (
    ActionNotPossible,
    BadAddress,
    ConsentMissing,
    EmptyMask,
    GeometryMismatch,
    LabelMismatch,
    ProtocolError,
)
from FedSegLib.grid import Grid, changed_box, merge_labels, split_labels
from FedSegLib.multipart import parse_multipart
from FedSegLib.progress import Federation, Learning, LearningResult, Plan, Round, SiteProgress
from FedSegLib.protocol import Label, LabelSchema, Model, SiteInfo, site_info
from FedSegLib.settings import Settings
from FedSegLib.state import CONNECTED, Action, Busy, CaseView, Phase, View, allowed, move, notice_of, why_not
from site_peer import multipart

SCHEMA = LabelSchema((Label("edema", 2, (1, 2, 3)), Label("tumour", 5, (4, 5, 6))))
SITE = SiteInfo(
    "Canned", "0.8.5", "0.1.0", "north", "annotator", SCHEMA,
    (Model("unet", True, False), Model("sam", True, True)), ("random",), True,
)  # fmt: skip
LEARNING = Learning("training", "1", "unet", 0.5, 95, "", (), None)


class MemoryStore(dict[str, str]):
    """A Store that forgets."""

    def get(self, key: str) -> str | None:  # type: ignore[override]
        return super().get(key)

    def set(self, key: str, value: str) -> None:
        self[key] = value

    def remove(self, key: str) -> None:
        self.pop(key, None)


@pytest.mark.parametrize(
    ("typed", "url", "private"),
    [
        (" http://127.0.0.1:8000/ ", "http://127.0.0.1:8000", True),
        ("localhost:8000", "http://localhost:8000", True),
        ("Site.Hospital.example", "https://site.hospital.example", True),
        ("http://site.hospital.example:8000/monai/", "http://site.hospital.example:8000/monai", False),
        ("http://[::1]:80", "http://[::1]:80", True),
    ],
)
def test_addresses(typed: str, url: str, private: bool) -> None:
    address = parse_address(typed)
    assert (address.url, address.private) == (url, private)


@pytest.mark.parametrize(
    "typed",
    ["", "ftp://x", "http://", "http://a b", "http://x:99999", "http://me:pw@x", "http://x/?q=1", "http://x/#f"],
)
def test_what_is_no_address(typed: str) -> None:
    with pytest.raises(BadAddress) as caught:
        parse_address(typed)
    assert caught.value.hint


def test_consent_is_per_server_kept_and_revocable() -> None:
    store = MemoryStore()
    here, there = parse_address("http://127.0.0.1:1"), parse_address("http://127.0.0.1:2")
    book = ConsentBook(store, lambda: "2026-01-01T00:00:00+00:00")
    assert book.find(here) is None
    book.give(here).check(here)
    again = ConsentBook(store, lambda: "later").find(here)
    assert again == Consent(here.url, "2026-01-01T00:00:00+00:00")
    assert book.find(there) is None
    with pytest.raises(ConsentMissing):
        again.check(there)
    book.withdraw(here)
    assert book.find(here) is None


def test_consent_to_another_wording_or_a_damaged_one_does_not_count() -> None:
    here = parse_address("http://127.0.0.1:1")
    for kept in (f'{{"given_at": "x", "wording": {WORDING - 1}}}', "nonsense", "[]", '{"wording": 1}'):
        store = MemoryStore({f"consent/{here.url}": kept})
        assert ConsentBook(store, lambda: "").find(here) is None


def test_the_consent_text_says_what_goes_where() -> None:
    text = consent_text(parse_address("http://site.example:8000"), "north")
    where = "'north' at http://site.example:8000"
    for part in ("masks you submit", "points, boxes, outlines and strokes", where, "NOT encrypted"):
        assert part in text
    assert "Image voxels are not sent" in text
    assert "NOT encrypted" not in consent_text(parse_address("https://site.example"), "north")
    assert "not a FedSeg site" in consent_text(parse_address("https://site.example"), "")


def test_settings_keep_the_newest_server_first() -> None:
    settings = Settings(MemoryStore({"servers": "damaged"}))
    assert settings.servers == []
    for url in ("a", "b", "a"):
        settings.remember_server(url)
    assert settings.servers == ["a", "b"]
    settings.set_text("author", " Ada ")
    assert settings.author == "Ada"
    settings.set_text("author", "")
    assert settings.author == ""
    assert settings.ca_file is None


def view(phase: Phase, **changes: object) -> View:
    return View(phase=phase, site=SITE, model="unet", case=CaseView("case-01"), **changes)  # type: ignore[arg-type]


def test_the_main_path_exists_and_shortcuts_do_not() -> None:
    path = [Phase.OFFLINE, Phase.CONNECTING, Phase.READY, Phase.FETCHING, Phase.OPEN, Phase.SEGMENTING, Phase.OPEN,
            Phase.SUBMITTING, Phase.OPEN, Phase.FETCHING]  # fmt: skip
    now = View()
    for before, after in pairwise(path):
        assert now.phase is before
        now = move(now, after)
    for phase in (Phase.SEGMENTING, Phase.OPEN, Phase.READY):
        with pytest.raises(ActionNotPossible):
            move(View(), phase)


@pytest.mark.parametrize("phase", sorted(CONNECTED, key=lambda p: p.name))
def test_from_every_connected_phase_one_can_leave_and_be_signed_out(phase: Phase) -> None:
    assert move(view(phase), Phase.OFFLINE).phase is Phase.OFFLINE
    assert move(view(phase), Phase.SIGN_IN).phase is Phase.SIGN_IN


@pytest.mark.parametrize("phase", list(Phase))
def test_what_cannot_be_done_says_why(phase: Phase) -> None:
    now = view(phase, busy=Busy("Fetching …"))
    for action in Action:
        reason = why_not(now, action)
        assert (reason is None) == (action in allowed(now))
        assert reason is None or len(reason) > 10


def test_what_the_role_the_model_and_the_server_allow() -> None:
    now = view(Phase.OPEN)
    assert Action.PROMPT not in allowed(now)
    assert Action.PROMPT in allowed(replace(now, model="sam"))
    viewer = replace(now, site=replace(SITE, role="viewer"))
    assert not {Action.SUBMIT, Action.LEARN, Action.START_ROUND} & allowed(viewer)
    stock = replace(now, site=replace(SITE, fedseg=None))
    assert {Action.SEGMENT, Action.SUBMIT} <= allowed(stock)
    assert "stock MONAI Label" in (why_not(stock, Action.LEARN) or "")
    running = replace(now, learning=LEARNING)
    assert Action.STOP_LEARNING in allowed(running)
    assert Action.LEARN not in allowed(running)
    assert Action.LEARN not in allowed(replace(now, asking=frozenset({Action.LEARN})))
    assert Action.SUBMIT not in allowed(replace(now, consent_text="May I?"))


def test_an_unforeseen_error_becomes_a_message() -> None:
    notice = notice_of(KeyError("x"))
    assert "KeyError" in notice.text
    assert notice.hint


@pytest.mark.parametrize(
    ("seconds", "text"), [(3, "a few seconds"), (44, "about 40 s"), (170, "about 3 min"), (7200, "about 2 h")]
)
def test_time_left_in_words(seconds: float, text: str) -> None:
    assert words.seconds_in_words(seconds) == text


def test_learning_in_words() -> None:
    assert "about 2 min left" in words.learning_words(LEARNING)
    assert words.learning_words(replace(LEARNING, message="step 3 of 60")) == "Step 3 of 60: about 2 min left."
    assert (
        words.learning_words(replace(LEARNING, state="cancelled", message="by Ada")) == "Learning was stopped: by Ada"
    )
    taken = LearningResult("unet-0002", True, "Better on 3 cases.", 0.7, 0.75)
    done = replace(LEARNING, state="done", result=taken)
    assert words.learning_words(done) == "unet-0002 serves now (Dice 0.70 → 0.75). Better on 3 cases."
    assert "was not taken" in words.learning_words(replace(done, result=replace(taken, promoted=False)))
    assert "out of memory" in words.learning_words(replace(LEARNING, state="failed", message="out of memory"))


def test_rounds_in_words() -> None:
    plan = Plan("glioma", "fedavg", "unet", 3)
    run = Round("r", "running", "south", "fedavg", 3, 1, "", (), ())
    text = words.federation_words(Federation(True, plan, False, False, "r"), run)
    assert "courier is not connected" in text
    assert "Round 1 of 3 is running. Started by south." in text
    assert words.round_words(replace(run, state="failed", reason="Quorum lost.")) == (
        "Failed. Quorum lost. Started by south."
    )
    assert words.site_state_words(SiteProgress("a", "failed", 0.1, "lost", None, None)) == "failed: lost"
    assert words.site_state_words(SiteProgress("a", "training", 0.42, "", None, None)) == "training 42%"
    assert "no federation" in words.federation_words(Federation(False, None, False, False, None), None)


def grid(shape: tuple[int, int, int] = (4, 5, 6), shift: float = 0.0) -> Grid:
    affine = np.diag([0.5, 0.5, 3.0, 1.0])
    affine[0, 3] = shift
    return Grid(shape, affine)


def test_grids_agree_up_to_rounding_only() -> None:
    grid().check_same(grid(shift=0.0005), "mask")
    with pytest.raises(GeometryMismatch, match=r"0\.20 voxels away"):
        grid().check_same(grid(shift=0.1), "The mask")
    with pytest.raises(GeometryMismatch, match="4×5×7 voxels; the image has 4×5×6"):
        grid().check_same(grid((4, 5, 7)), "The mask")
    grid().check_same(grid(shift=9), "mask", positions=False)


def test_changed_box_is_the_smallest() -> None:
    old = np.zeros((4, 5, 6), np.uint8)
    new = old.copy()
    assert changed_box(old, new) is None
    new[1, 2, 3] = new[2, 4, 3] = 1
    assert changed_box(old, new) == (slice(1, 3), slice(2, 5), slice(3, 4))


def test_labels_split_and_merge_by_name() -> None:
    labels = np.array([[[0, 7, 9]]])
    masks = split_labels(labels, {"tumour": 7, "edema": 9}, SCHEMA)
    assert merge_labels(masks, SCHEMA).tolist() == [[[0, 5, 2]]]


@pytest.mark.parametrize(("names", "value"), [({"liver": 1}, 1), ({"edema": 2}, 3)])
def test_labels_outside_the_schema_are_refused(names: Mapping[str, int], value: int) -> None:
    with pytest.raises(LabelMismatch):
        split_labels(np.full((1, 1, 1), value), names, SCHEMA)


def test_empty_and_overlapping_masks_are_refused() -> None:
    empty, full = np.zeros((1, 2, 2), bool), np.ones((1, 2, 2), bool)
    with pytest.raises(EmptyMask, match="edema or tumour"):
        merge_labels({"edema": empty}, SCHEMA)
    assert not merge_labels({"edema": empty}, SCHEMA, allow_empty=True).any()
    with pytest.raises(LabelMismatch, match="'edema' and 'tumour' share 4 voxels"):
        merge_labels({"edema": full, "tumour": full}, SCHEMA)


def test_multipart_keeps_every_byte() -> None:
    content = bytes(range(256)) * 3 + b"\r\n--almost\r\n\r\n"
    body, content_type = multipart({"a": 1}, content, "mask.nii.gz")
    parts = parse_multipart(content_type, body)
    assert parts["image"].content == content
    assert parts["image"].filename == "mask.nii.gz"
    assert parts["params"].content == b'{"a": 1}'


@pytest.mark.parametrize("cut", range(1, 12))
def test_multipart_cut_anywhere_near_its_end_is_refused(cut: int) -> None:
    body, content_type = multipart({}, b"mask", "m.nrrd")
    with pytest.raises(ProtocolError):
        parse_multipart(content_type, body[: -cut - 2])


@pytest.mark.parametrize(
    "content_type", ["", "application/json", "multipart/form-data", "multipart/form-data; boundary="]
)
def test_multipart_without_boundary_is_refused(content_type: str) -> None:
    with pytest.raises(ProtocolError):
        parse_multipart(content_type, b"--x--")


def test_stock_label_lists_and_doubtful_schemas() -> None:
    info = site_info(b'{"models": {}, "labels": ["background", "liver", "spleen"]}')
    assert info.schema.values() == {"liver": 1, "spleen": 2}
    for labels in ('{"a": 1, "b": 1}', '{"a": -1}', '{"a": 70000}', '{"a": "1"}'):
        with pytest.raises(ProtocolError):
            site_info(f'{{"models": {{}}, "labels": {labels}}}'.encode())
