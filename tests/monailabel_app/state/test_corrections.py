"""Corrections: every good one is kept as it was meant, no bad one leaves a trace."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest

from monailabel_app.errors import GeometryError, ImageError, LabelError, NotFound, SiteError, StateError
from monailabel_app.imaging.files import read_mask, read_volume
from monailabel_app.labels import of_values
from monailabel_app.models.base import Prompts
from monailabel_app.state.corrections import Correction, Submission
from monailabel_app.state.site import SiteState

LABELS = {"tumour": 1}


def truth(images: Any, case: str) -> np.ndarray:
    return np.asarray(nib.load(images.truth / f"{case}.nii.gz").dataobj)


def test_a_correction_keeps_mask_shown_prompts_author_and_digests(state: SiteState, images: Any) -> None:
    images.add("case1")
    shown = np.zeros_like(truth(images, "case1"))
    state.prompts.record_shown("case1", "sam", "sam-0001-aaaaaa", shown)
    prompts = [Prompts("tumour", foreground=[(12, 13, 2)]), Prompts("tumour", box=(8, 9, 2, 20, 20, 2))]
    state.prompts.record_prompts("case1", "sam", "sam-0001-aaaaaa", prompts, author="ann")
    kept = images.submit(state, "case1", author="Ann Müller")
    assert (kept.case, kept.author, kept.version_shown, kept.dice_shown) == (
        "case1",
        "Ann Müller",
        "sam-0001-aaaaaa",
        0.0,
    )
    assert kept.prompts == 2
    assert state.prompts.of_correction(kept.id)[0]["foreground"] == [[12, 13, 2]]
    np.testing.assert_array_equal(state.corrections.load(kept)[1], truth(images, "case1"))
    assert (state.folder / "corrections" / kept.id / "shown.nii.gz").is_file()


TWO = {"tumour": 1, "oedema": 2}


def partly(state: SiteState, images: Any, annotated: list[str] | None, mask: np.ndarray) -> Correction:
    path = images.mask("partly", mask)
    return state.corrections.submit(Submission("a", images.add("a"), path, "ann", annotated=annotated), TWO)


def test_of_labels_that_were_not_annotated_a_correction_says_nothing(state: SiteState, images: Any) -> None:
    images.add("a")
    mask = truth(images, "a")
    state.prompts.record_shown("a", "unet", "unet-0000-aaaaaa", mask)
    mixed = np.where(mask > 0, mask, 2).astype(np.uint8)  # whatever a model put there, nobody looked at it
    kept = partly(state, images, ["tumour"], mixed)
    assert kept.annotated == {"tumour": 1}
    assert kept.dice_shown == 1.0
    loaded = state.corrections.load(kept)
    assert loaded.annotated == frozenset({1})
    np.testing.assert_array_equal(loaded.labels, mixed)
    everything = partly(state, images, ["oedema", "tumour"], mixed)
    assert everything.annotated == TWO
    assert state.corrections.load(everything).annotated == frozenset({1, 2})


def test_a_correction_says_nothing_of_a_label_that_the_schema_gets_later(state: SiteState, images: Any) -> None:
    case = state.corrections.load(images.submit(state, "a"))
    assert of_values(TWO, case.annotated) == {"tumour": 1}


@pytest.mark.parametrize(("annotated", "said"), [(["liver"], "'liver' is not in the schema"), ([], "no label")])
def test_an_annotated_label_must_be_in_the_schema(
    state: SiteState, images: Any, annotated: list[str], said: str
) -> None:
    images.add("a")
    with pytest.raises(LabelError, match=said):
        partly(state, images, annotated, truth(images, "a"))
    assert state.corrections.list() == []


def test_prompts_and_mask_shown_belong_to_one_correction_only(state: SiteState, images: Any) -> None:
    images.add("case1")
    state.prompts.record_shown("case1", "unet", "unet-0000-aaaaaa", truth(images, "case1"))
    state.prompts.record_prompts("case1", "sam", "v", [Prompts("tumour", foreground=[(1, 1, 1)])])
    first, second = images.submit(state, "case1"), images.submit(state, "case1")
    assert (first.dice_shown, first.prompts) == (1.0, 1)
    assert (second.dice_shown, second.version_shown, second.prompts) == (None, None, 0)


def test_what_was_shown_and_prompted_on_an_image_is_not_of_the_next_one_of_its_name(
    state: SiteState, images: Any
) -> None:
    path = images.add("case1")
    image, content = read_volume(path).identity, path.read_bytes()
    state.prompts.record_shown("case1", "unet", "unet-0000-aaaaaa", truth(images, "case1"), image)
    state.prompts.record_prompts("case1", "sam", "v", [Prompts("tumour", foreground=[(1, 1, 1)])], image=image)
    path.write_bytes(images.add("case2").read_bytes())
    other = images.submit(state, "case1")
    assert (other.version_shown, other.dice_shown, other.prompts) == (None, None, 0)
    assert state.prompts.given(other.id) == ()
    path.write_bytes(content)
    state.prompts.record_shown("case1", "unet", "unet-0000-aaaaaa", truth(images, "case1"), image)
    back = images.submit(state, "case1")
    assert (back.dice_shown, back.prompts) == (1.0, 1), "the one that they were given on"


def test_the_newest_correction_of_a_case_counts_and_all_are_kept(state: SiteState, images: Any) -> None:
    state.splits.import_split({"a": "train", "b": "train", "c": "validation"})
    old = images.submit(state, "a")
    for case in "bc":
        images.submit(state, case)
    new = images.submit(state, "a", images.mask("other", np.zeros((36, 40, 6), np.uint8)))
    assert state.corrections.newest("train")[0].id == new.id
    assert [c.case for c in state.corrections.newest("train")] == ["a", "b"]
    assert [c.case for c in state.corrections.newest("validation")] == ["c"]
    assert old.id in [c.id for c in state.corrections.list()]
    assert state.corrections.load(new)[1].sum() == 0


def test_a_mask_in_another_axis_order_is_kept_in_the_images_own(state: SiteState, images: Any) -> None:
    images.add("a")
    stored = nib.load(images.truth / "a.nii.gz")
    flipped = images.truth / "flipped.nii.gz"
    nib.save(stored.as_reoriented(nib.orientations.axcodes2ornt("PLS")), flipped)
    kept = images.submit(state, "a", flipped)
    np.testing.assert_array_equal(state.corrections.load(kept)[1], truth(images, "a"))


@pytest.mark.parametrize(
    ("kind", "error"),
    [
        ("shape", GeometryError),
        ("affine", GeometryError),
        ("value", LabelError),
        ("bytes", ImageError),
        ("missing", ImageError),
    ],
)
def test_a_mask_that_does_not_fit_changes_nothing(
    state: SiteState, images: Any, snapshot: Callable[[], object], kind: str, error: type[SiteError]
) -> None:
    images.add("a")
    shape = (36, 40, 6)
    shifted = np.diag([1.0, 1.0, 3.0, 1.0])
    shifted[0, 3] = 40
    bad = {
        "shape": lambda: images.mask("bad", np.zeros((36, 40, 7), np.uint8)),
        "affine": lambda: images.mask("bad", np.zeros(shape, np.uint8), shifted),
        "value": lambda: images.mask("bad", np.full(shape, 9, np.uint8)),
        "bytes": lambda: _write(images.truth / "bad.nii.gz", b"no image"),
        "missing": lambda: images.truth / "absent.nii.gz",
    }[kind]()
    before = snapshot()
    with pytest.raises(error) as caught:
        images.submit(state, "a", bad)
    assert str(images.truth) not in str(caught.value)
    assert snapshot() == before
    images.submit(state, "a")


def _write(path: Path, data: bytes) -> Path:
    path.write_bytes(data)
    return path


def test_records_that_cannot_be_written_leave_no_files(
    state: SiteState, images: Any, snapshot: Callable[[], object]
) -> None:
    images.add("a")
    state.database.execute(
        "CREATE TRIGGER full BEFORE INSERT ON corrections BEGIN SELECT RAISE(ABORT, 'disk full'); END"
    )
    before = snapshot()
    with pytest.raises(StateError, match="disk full"):
        images.submit(state, "a")
    assert snapshot() == before
    assert list((state.folder / "corrections").iterdir()) == []
    state.database.execute("DROP TRIGGER full")
    images.submit(state, "a")


@pytest.mark.parametrize("name", ["", "a\nb", "x" * 300, "nul\x00"])
def test_unusable_names_are_refused(state: SiteState, images: Any, snapshot: Callable[[], object], name: str) -> None:
    images.add("a")
    before = snapshot()
    for case, author in ((name, "ann"), ("a", name)):
        with pytest.raises(SiteError, match="no usable name"):
            state.corrections.submit(
                Submission(case, images.studies / "a.nii.gz", images.truth / "a.nii.gz", author), LABELS
            )
    assert snapshot() == before


def test_names_that_look_like_paths_stay_names(state: SiteState, images: Any, tmp_path: Path) -> None:
    images.add("a")
    case = "../../outside"
    state.prompts.record_shown(case, "unet", "v", truth(images, "a"))
    kept = state.corrections.submit(
        Submission(case, images.studies / "a.nii.gz", images.truth / "a.nii.gz", "../../author"), LABELS
    )
    assert (kept.case, kept.dice_shown) == (case, 1.0)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["state", "studies", "truth"]


def test_an_image_outside_the_studies_is_not_found(state: SiteState, images: Any) -> None:
    images.add("a")
    outside = images.truth / "a.nii.gz"
    with pytest.raises(NotFound, match="not among the site's studies"):
        state.corrections.submit(Submission("a", outside, outside, "ann"), LABELS)
    (images.studies / "link.nii.gz").symlink_to(outside)
    with pytest.raises(NotFound):
        state.corrections.submit(Submission("a", images.studies / "link.nii.gz", outside, "ann"), LABELS)


def test_a_damaged_mask_or_a_changed_image_is_named_and_left_out(state: SiteState, images: Any) -> None:
    damaged, changed, good = (images.submit(state, case) for case in "abc")
    (state.folder / "corrections" / damaged.id / "mask.nii.gz").write_bytes(b"damaged")
    images.add("b", (36, 40, 7))
    assert [c.id for c in state.corrections.usable([damaged, changed, good])] == [good.id]
    with pytest.raises(StateError, match="case 'a'"):
        state.corrections.load(damaged)
    with pytest.raises(ImageError, match=r"case 'b'.*changed"):
        state.corrections.load(changed)


def test_after_a_restart_every_correction_is_there_and_leftovers_are_gone(tmp_path: Path, images: Any) -> None:
    with SiteState(tmp_path / "state", images.studies) as state:
        kept = [images.submit(state, case) for case in "ab"]
        half = state.folder / "corrections" / "c20200101T000000000Z-00000000"
        half.mkdir()
        (half / "mask.nii.gz").write_bytes(b"the row was never written")
        (state.folder / "corrections" / ".tmp-1").mkdir()
    with SiteState(tmp_path / "state", images.studies) as again:
        assert again.corrections.list() == kept
        assert sorted(f.name for f in (again.folder / "corrections").iterdir()) == sorted(c.id for c in kept)
        assert read_mask(again.corrections.mask(kept[0])).array.sum() > 0


def test_one_folder_has_one_server(tmp_path: Path, images: Any) -> None:
    from monailabel_app.errors import Conflict

    with SiteState(tmp_path / "state", images.studies):
        with pytest.raises(Conflict, match="in use by another running site"):
            SiteState(tmp_path / "state", images.studies)
        SiteState(tmp_path / "state", images.studies, own=False).close()
    SiteState(tmp_path / "state", images.studies).close()


def test_records_of_a_newer_program_are_refused(tmp_path: Path, images: Any) -> None:
    with SiteState(tmp_path / "state", images.studies) as state:
        state.database.execute("PRAGMA user_version = 999")
    with pytest.raises(StateError, match="version 999"):
        SiteState(tmp_path / "state", images.studies)


def test_a_file_that_is_no_database_is_named(tmp_path: Path, images: Any) -> None:
    (tmp_path / "state").mkdir()
    (tmp_path / "state" / "site.sqlite").write_bytes(b"not a database at all" * 100)
    with pytest.raises(StateError, match="cannot be read or written"):
        SiteState(tmp_path / "state", images.studies)
