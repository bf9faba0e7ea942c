"""L0 and L2: every text of the panel goes through the translation, and the German catalogue has them all."""

from __future__ import annotations

import ast
import re
import string
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import catalogue
import pytest
from FedSegLib import language
from panel_driver import PanelDriver
from PySide6 import QtCore, QtWidgets
from site_peer import SitePeer, running_round

MODULE = Path(__file__).resolve().parents[2] / "SlicerFedSeg"
CATALOGUES = sorted((MODULE / "Resources/Translations").glob("*.ts"))
SOURCES = sorted([*(MODULE / "FedSegLib").rglob("*.py"), *(MODULE / "FedSegPanel").rglob("*.py")])


def holes(text: str) -> set[tuple[str, str]]:
    """Names and formats of what is filled in."""
    return {(name, form or "") for _, name, form, _ in string.Formatter().parse(text) if name is not None}


@pytest.mark.parametrize("path", CATALOGUES, ids=lambda path: path.stem)
def test_a_catalogue_has_every_text_and_no_other(path: Path) -> None:
    wanted = {(context, text) for context, texts in catalogue.contexts().items() for text in texts}
    found = catalogue.read(path)
    assert set(found) == wanted, "run SlicerFedSeg/Testing/catalogue.py, then translate what is new"
    assert not [text for text, translation in found.items() if not translation]


@pytest.mark.parametrize("path", CATALOGUES, ids=lambda path: path.stem)
def test_translations_fill_in_the_same_values(path: Path) -> None:
    by_text: dict[str, str] = {}
    for (context, text), translation in catalogue.read(path).items():
        if context == catalogue.CODE:
            assert holes(text) == holes(translation), text
        assert by_text.setdefault(text, translation) == translation, f"'{text}' is translated in two ways"
        assert (text[:1] == " ", text[-1:] == " ") == (translation[:1] == " ", translation[-1:] == " "), text


def test_a_catalogue_that_is_brought_up_to_date_keeps_its_translations(tmp_path: Path) -> None:
    before = catalogue.read(CATALOGUES[0])
    copy = tmp_path / CATALOGUES[0].name
    catalogue.write(copy, "de", before)
    assert copy.read_bytes() == CATALOGUES[0].read_bytes()
    (context, text), _ = next(iter(before.items()))
    catalogue.write(copy, "de", {key: value for key, value in before.items() if key != (context, text)})
    assert catalogue.read(copy)[(context, text)] == ""


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.relative_to(MODULE).as_posix())
def test_no_function_that_translates_uses_the_name_for_something_else(path: Path) -> None:
    for function in ast.walk(ast.parse(path.read_text())):
        if isinstance(function, ast.FunctionDef | ast.Lambda):
            inside = list(ast.walk(function))
            bound = any(isinstance(n, ast.Name) and n.id == "_" and isinstance(n.ctx, ast.Store) for n in inside)
            bound |= any(isinstance(n, ast.arg) and n.arg == "_" for n in inside)
            called = any(isinstance(n, ast.Call) and isinstance(n.func, ast.Name) and n.func.id == "_" for n in inside)
            assert not (bound and called), f"{path.name}:{function.lineno}"


# ---- a language in which every text is in brackets

DATA = {
    "north", "south", "west", "glioma", "fedavg", "gcml", "unet", "sam", "edema", "tumour", "random", "uncertainty",
    "case", "annotator", "reviewer", "admin", "http", "canned", "lost", "courier", "norm", "above", "the", "plan",
    "bound", "unet-0001", "slicer", "segment", "editor", "least", "certain",
}  # fmt: skip
"""Words that a site says, or Slicer: data."""


@pytest.fixture
def bracketed(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    import FedSeg

    monkeypatch.setattr(FedSeg, "speak", lambda resource: language.use(lambda text: f"⟦{text}⟧"))
    yield
    language.use(None)


@pytest.fixture
def bracketed_panel(bracketed: None, panel: PanelDriver) -> PanelDriver:
    return panel


def texts_of(panel: PanelDriver) -> Iterator[str]:
    """Everything that a person can read in the panel, tooltips of what is hidden now included."""
    for child in QtWidgets.QWidget.findChildren(panel.frame, QtWidgets.QWidget):
        yield QtWidgets.QWidget.toolTip(child)
        if (
            isinstance(child, QtWidgets.QLabel | QtWidgets.QAbstractButton)
            or type(child).__name__ == "ctkCollapsibleButton"
        ):
            yield str(QtCore.QObject.property(child, "text"))
        elif isinstance(child, QtWidgets.QLineEdit):
            yield QtWidgets.QLineEdit.placeholderText(child)
        elif isinstance(child, QtWidgets.QComboBox):
            yield from (child.itemText(at) for at in range(QtWidgets.QComboBox.count(child)))
        elif isinstance(child, QtWidgets.QTableWidget):
            yield from _table_texts(child)


def _table_texts(table: Any) -> Iterator[str]:
    kind = QtWidgets.QTableWidget
    for column in range(kind.columnCount(table)):
        header = kind.horizontalHeaderItem(table, column)
        yield header.text() if header is not None else ""
        for row in range(kind.rowCount(table)):
            item = kind.item(table, row, column)
            yield from (item.text(), item.toolTip()) if item is not None else ()


def untranslated(panel: PanelDriver) -> set[str]:
    """Texts with words that are neither in brackets nor data."""
    found = set()
    for text in texts_of(panel):
        rest = text
        while (shorter := re.sub(r"⟦[^⟦⟧]*⟧", " ", rest)) != rest:
            rest = shorter
        words = re.findall(r"[A-Za-z]{3,}", rest)
        if any(word.lower() not in DATA for word in words):
            found.add(text)
    return found


def test_no_text_is_left_in_english(bracketed_panel: PanelDriver, peer: SitePeer, monkeypatch: Any) -> None:
    from FedSegLib import watching

    for name in ("RUNNING_SECONDS", "IDLE_SECONDS", "FAILED_SECONDS"):
        monkeypatch.setattr(watching, name, 0.1)
    panel, ui = bracketed_panel, bracketed_panel.ui
    assert not untranslated(panel)
    peer.role = "admin"
    peer.round = running_round()
    peer.federation["rounds"] = [
        {"id": "r1", "state": "running", "method": "fedavg", "rounds": 3, "started_by": "south"}
    ]
    peer.federation["plan"]["approved"] = None
    panel.connect(peer.url)
    panel.until(lambda: ui.sitesTable.rowCount == 3 and panel.view.cases, "for the site's state")
    assert not untranslated(panel)
    panel.click(ui.approveButton)
    assert not untranslated(panel)
    panel.click(ui.agreeButton)
    panel.until(lambda: ui.leaveButton.visible, "for the agreement")
    panel.click(ui.learnButton)
    panel.until(lambda: ui.learningBar.visible, "for the learner")
    panel.open_case()
    panel.segment()
    assert not untranslated(panel)
    panel.choose(ui.modelBox, "sam")
    panel.click(ui.submitButton)
    assert ui.consentFrame.visible
    assert not untranslated(panel)
    panel.click(ui.agreeButton)
    panel.until(lambda: panel.view.case.submitted, "for the receipt")
    assert not untranslated(panel)
    peer.refuse("PUT", "/datastore/label", 503)
    panel.click(ui.submitButton)
    panel.until(lambda: panel.view.waiting, "for the refusal")
    assert not untranslated(panel)


def test_the_panel_speaks_german_where_slicer_does(german: PanelDriver, peer: SitePeer) -> None:
    assert german.ui.connectButton.text == "Verbinden"
    german.connect(peer.url)
    german.until(lambda: german.ui.casesTable.rowCount == 3, "for the work list")
    german.open_case()
    german.segment()
    assert "Gewählt, weil" in german.ui.caseLabel.text
    assert german.ui.casesTable.item(0, 1).text() in ("neu", "in Arbeit")
    german.click(german.ui.submitButton)
    assert "werden an den Standort 'north'" in german.ui.consentLabel.text
    german.click(german.ui.agreeButton)
    german.until(lambda: "ist eingereicht" in german.says, "for the receipt")
    german.shoot("23-german")


def test_a_language_without_a_catalogue_is_english(qapp: Any, panel: PanelDriver, tmp_path: Path) -> None:
    settings = QtCore.QSettings()
    settings.setValue("Internationalization/Enabled", True)
    settings.setValue("language", "xx")
    settings.sync()
    other = PanelDriver(qapp, tmp_path)
    try:
        assert other.ui.connectButton.text == "Connect"
    finally:
        other.close()
        settings.clear()


def test_what_a_catalogue_lacks_stays_english() -> None:
    language.use({"a": "b"})
    try:
        assert (language.tr("a"), language.tr("c"), language.tr("")) == ("b", "c", "")
    finally:
        language.use(None)
    assert language.tr("a") == "a"
