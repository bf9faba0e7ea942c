"""L0 and L2: the work list, its states and pictures, opening, editing again and skipping."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import site_peer
from case_desk import edit
from FedSegLib import cases
from FedSegLib.cases import CaseState, Correction
from FedSegLib.errors import ProtocolError
from panel_driver import PanelDriver
from site_peer import SitePeer
from volume_files import nrrd


def correction(case: str, author: str, dice: float | None = 0.9) -> Correction:
    return Correction(case, author, dice)


@pytest.mark.parametrize(
    ("submitted", "final", "opened", "state"),
    [
        ([], False, set(), CaseState.NEW),
        ([], False, {"a"}, CaseState.IN_WORK),
        ([], True, set(), CaseState.SUBMITTED),  # a stock server tells only that there is a label
        ([correction("a", "ada")], True, {"a"}, CaseState.SUBMITTED),
        ([correction("a", "ada"), correction("a", "ada")], True, set(), CaseState.SUBMITTED),
        ([correction("a", "ada"), correction("a", "bob")], True, set(), CaseState.REVIEWED),
        ([correction("a", "ada"), correction("a", "bob"), correction("a", "ada")], True, set(), CaseState.SUBMITTED),
        ([correction("b", "ada"), correction("b", "bob")], False, set(), CaseState.NEW),
    ],
)
def test_states(submitted: list[Correction], final: bool, opened: set[str], state: CaseState) -> None:
    (row,) = cases.work_list({"a": final}, submitted, frozenset(opened))
    assert row.state is state
    assert row.finished == (state in (CaseState.SUBMITTED, CaseState.REVIEWED))


def test_rows_are_sorted_as_people_count() -> None:
    known = dict.fromkeys(["case-10", "Case-9", "case-2", "10", "9b"], False)
    assert [row.id for row in cases.work_list(known, [], frozenset())] == ["9b", "10", "case-2", "Case-9", "case-10"]


@pytest.mark.parametrize("body", [b"[]", b'{"objects": 3}', b'{"objects": {"a": 1}}'])
def test_a_strange_index_is_refused(body: bytes) -> None:
    with pytest.raises(ProtocolError):
        cases.index(body)


def column(panel: PanelDriver, number: int) -> list[str]:
    table = panel.ui.casesTable
    return [table.item(row, number).text() for row in range(table.rowCount)]


def listed(panel: PanelDriver, peer: SitePeer) -> None:
    panel.connect(peer.url)
    panel.until(lambda: panel.ui.casesTable.rowCount == len(peer.known), "for the work list")


def test_the_list_shows_states_and_pictures(panel: PanelDriver, peer: SitePeer) -> None:
    peer.finals["case-10"] = nrrd(site_peer.mask(), site_peer.AFFINE)
    peer.corrections = [{"case": "case-10", "author": "ada", "dice_shown": 0.83}]
    listed(panel, peer)
    assert column(panel, 0) == ["case-01", "case-02", "case-10"]
    assert column(panel, 1) == ["new", "new", "submitted"]
    assert column(panel, 2) == ["–", "–", "0.83"]
    assert "by ada" in panel.ui.casesTable.item(2, 1).toolTip()
    panel.until(lambda: not panel.ui.casesTable.item(2, 0).icon().isNull(), "for the pictures")
    panel.open_case()
    assert column(panel, 1)[0] == "in work"
    panel.shoot("05-work-list")


def choose(panel: PanelDriver, row: int) -> None:
    panel.ui.casesTable.selectRow(row)
    panel.process()


def test_a_finished_case_is_opened_with_its_mask_and_edited_again(panel: PanelDriver, peer: SitePeer) -> None:
    peer.finals["case-10"] = nrrd(site_peer.mask(1), site_peer.AFFINE)
    listed(panel, peer)
    assert not panel.ui.openButton.enabled
    choose(panel, 2)
    panel.click(panel.ui.openButton)
    panel.until(lambda: panel.view.case is not None and panel.view.case.id == "case-10", "for the case")
    assert "Opened again" in panel.ui.caseLabel.text
    canvas = panel.widget.controller.live._canvas
    assert np.array_equal(canvas.labels().transpose(2, 1, 0), site_peer.mask(1))
    panel.segment()  # another mask
    panel.click(panel.ui.nextButton)
    assert "'case-10' is not submitted" in panel.says


@pytest.mark.parametrize(
    ("shift", "value", "says"), [(5.0, 2, "voxels away from the image"), (0.0, 9, "holds the values [9]")]
)
def test_a_finished_case_whose_mask_does_not_fit_is_opened_without_it(
    panel: PanelDriver, peer: SitePeer, shift: float, value: int, says: str
) -> None:
    affine = site_peer.AFFINE.copy()
    affine[0, 3] += shift
    peer.finals["case-10"] = nrrd(np.where(site_peer.mask() > 0, value, 0).astype(np.uint8), affine)
    listed(panel, peer)
    choose(panel, 2)
    panel.click(panel.ui.openButton)
    panel.until(lambda: says in panel.says, "for the refusal")
    assert panel.ui.caseLabel.text == "case-10"  # neither submitted nor opened again
    panel.segment()
    panel.widget.controller.connection.agree()
    panel.click(panel.ui.submitButton)
    panel.until(lambda: "is submitted" in panel.says, "for the receipt")


def trim(panel: PanelDriver) -> None:
    """Take voxels from the tumour by hand, as the Segment Editor does."""
    import slicer

    left = (site_peer.mask(0) == 5) & (site_peer.mask(1) == 5)
    edit(slicer.mrmlScene, panel.widget.controller.casework.case, "tumour", left)


def test_what_is_edited_after_a_submission_is_not_left_by_accident(panel: PanelDriver, peer: SitePeer) -> None:
    listed(panel, peer)
    panel.open_case()
    panel.segment()
    panel.widget.controller.connection.agree()
    peer.hold("PUT", "/datastore/label")
    panel.click(panel.ui.submitButton)
    peer.wait_for("PUT", "/datastore/label")
    trim(panel)  # while it is being sent
    peer.gates.pop(("PUT", "/datastore/label")).set()
    panel.until(lambda: "is submitted" in panel.says, "for the receipt")
    panel.click(panel.ui.nextButton)
    assert "'case-01' has changed since it was submitted" in panel.says
    panel.click(panel.ui.submitButton)
    panel.until(lambda: "is submitted" in panel.says, "for the receipt")
    panel.open_case()
    panel.until(lambda: panel.view.case.id == "case-02", "for the next case")


def test_a_reopened_case_is_left_at_once_unless_it_was_edited(panel: PanelDriver, peer: SitePeer) -> None:
    peer.finals["case-10"] = nrrd(site_peer.mask(1), site_peer.AFFINE)
    listed(panel, peer)
    for row, case in ((2, "case-10"), (0, "case-01"), (2, "case-10")):
        choose(panel, row)
        panel.click(panel.ui.openButton)
        panel.until(lambda name=case: panel.view.case is not None and panel.view.case.id == name, f"for {case}")
    trim(panel)
    panel.click(panel.ui.nextButton)
    assert "'case-10' has changed since it was submitted" in panel.says


def test_a_double_click_opens(panel: PanelDriver, peer: SitePeer) -> None:
    listed(panel, peer)
    choose(panel, 1)
    panel.widget.sections[2].ui.casesTable.cellActivated.emit(1, 0)
    panel.until(lambda: panel.view.case is not None and panel.view.case.id == "case-02", "for the case")


def test_a_skipped_case_is_not_offered_again(panel: PanelDriver, peer: SitePeer) -> None:
    listed(panel, peer)
    assert not panel.ui.skipButton.enabled
    panel.open_case()
    peer.cases[:] = ["case-01"] * 3  # the strategy sticks to it
    panel.click(panel.ui.skipButton)
    panel.until(lambda: panel.view.case.id == "case-02", "for another case")
    assert "you skipped 'case-01'" in panel.ui.caseLabel.text


def test_the_list_follows_a_submission(panel: PanelDriver, peer: SitePeer) -> None:
    listed(panel, peer)
    panel.open_case()
    panel.segment()
    panel.widget.controller.connection.agree()
    panel.click(panel.ui.submitButton)
    panel.until(lambda: "is submitted" in panel.says, "for the receipt")
    peer.finals["case-01"] = b"x"
    peer.corrections = [{"case": "case-01", "author": "ada", "dice_shown": 0.91}]
    panel.click(panel.ui.refreshButton)
    panel.until(lambda: column(panel, 1)[0] == "submitted", "for the list")


def test_a_stock_servers_cases_are_listed_without_pictures(panel: PanelDriver, stock_peer: SitePeer) -> None:
    stock_peer.finals["case-02"] = nrrd(site_peer.mask(), site_peer.AFFINE)
    listed(panel, stock_peer)
    assert column(panel, 1) == ["new", "submitted", "new"]
    paths = {item.path for item in stock_peer.received}
    assert not {path for path in paths if "thumbnail" in path or "corrections" in path or "sessions" in path}


def test_a_case_without_a_picture_is_still_listed(panel: PanelDriver, peer: SitePeer, scene: Any) -> None:
    peer.refuse("GET", "/datastore/image/thumbnail", 422, detail="It cannot be read.")
    listed(panel, peer)
    panel.until(lambda: len(panel.widget.controller.worklist.pictures) == 3, "for the answers")
    assert panel.ui.casesTable.item(0, 0).icon().isNull()
    assert panel.says == ""
