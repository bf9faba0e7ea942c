"""L4: what is shipped, what is imported where, and that the .ui and the icons are what Slicer expects."""

from __future__ import annotations

import ast
import re
import sys
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
MODULE = ROOT / "SlicerFedSeg"
LIBRARY = sorted((MODULE / "FedSegLib").rglob("*.py"))
PANEL = sorted((MODULE / "FedSegPanel").rglob("*.py"))
SHIPPED = [MODULE / "FedSeg.py", *LIBRARY, *PANEL]
FORMS = sorted((MODULE / "Resources/UI").glob("*.ui"))


def file_scope_imports(path: Path) -> set[str]:
    """Top-level packages imported when the file is imported; ``if TYPE_CHECKING`` does not run."""
    found: set[str] = set()
    for node in ast.parse(path.read_text()).body:
        if isinstance(node, ast.Import):
            found |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            found.add(node.module.split(".")[0])
    return found


def all_imports(path: Path) -> set[str]:
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            found.add(node.module.split(".")[0])
    return found


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.relative_to(MODULE).as_posix())
def test_imports_stay_in_their_layer(path: Path) -> None:
    allowed = set(sys.stdlib_module_names) | {"numpy"}
    if path.name == "FedSeg.py":
        allowed |= {"slicer", "vtk", "qt", "ctk", "FedSegLib", "FedSegPanel"}
    if path.parent.name == "FedSegPanel":
        allowed |= {"slicer", "vtk", "qt", "ctk", "FedSegLib"}
    if path.parent.name == "scene":
        allowed |= {"slicer", "vtk"}
    assert file_scope_imports(path) <= allowed
    inside = {"transport.py": {"requests", "urllib3"}, "FedSeg.py": {"SampleData"}}.get(path.name, set())
    assert all_imports(path) <= allowed | inside


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.relative_to(MODULE).as_posix())
def test_files_stay_readable(path: Path) -> None:
    lines = path.read_text().splitlines()
    assert len(lines) < 400
    assert ast.get_docstring(ast.parse("\n".join(lines)))


def test_the_manifest_names_every_shipped_file_and_nothing_else() -> None:
    manifest = (MODULE / "CMakeLists.txt").read_text().replace("${MODULE_NAME}", "FedSeg")
    named = set(re.findall(r"^\s+((?:FedSegLib|FedSegPanel|Resources)/\S+|FedSeg\.py)$", manifest, re.MULTILINE))
    resources = {path for path in (MODULE / "Resources").rglob("*") if path.is_file()}
    assert named == {path.relative_to(MODULE).as_posix() for path in [*SHIPPED, *resources]}


def test_the_extension_describes_itself() -> None:
    text = (ROOT / "CMakeLists.txt").read_text()
    assert re.search(r"^project\(FedSeg\)$", text, re.MULTILINE)
    values = dict(re.findall(r'^set\(EXTENSION_(\w+) "([^"]*)"\)', text, re.MULTILINE))
    assert values["CATEGORY"] == "Active Learning"
    assert {"HOMEPAGE", "CONTRIBUTORS", "DESCRIPTION", "ICONURL", "SCREENSHOTURLS", "DEPENDS"} <= set(values)
    for url in [values["ICONURL"], *values["SCREENSHOTURLS"].split()]:
        assert (ROOT / url.split("/main/", 1)[1]).is_file()
    assert re.search(r"include\(\$\{Slicer_EXTENSION_GENERATE_CONFIG\}\)", text)
    assert re.search(r"include\(\$\{Slicer_EXTENSION_CPACK\}\)", text)


def widgets_of(form: Path) -> list[ET.Element]:
    return list(ET.parse(form).getroot().iter("widget"))


def test_widget_names_are_unique_in_the_whole_panel() -> None:
    named = [str(element.get("name")) for form in FORMS for element in widgets_of(form)]
    assert len(named) == len(set(named))


@pytest.mark.parametrize("form", FORMS, ids=lambda path: path.stem)
def test_every_widget_of_a_form_is_used_and_every_used_widget_exists(form: Path) -> None:
    named = {str(element.get("name")) for element in widgets_of(form)}
    text = (MODULE / "FedSegPanel" / f"{form.stem.lower()}.py").read_text()
    used = set(re.findall(r"\bui\.(\w+)", text)) | set(re.findall(r'"(\w+Button)"', text))
    assert used <= named
    passive = {"Caption", "Panel", "Section", "Frame", "Title"}
    assert not {name for name in named - used if not any(name.endswith(part) for part in passive)}


def test_every_button_says_what_it_does() -> None:
    for element in (element for form in FORMS for element in widgets_of(form)):
        if element.get("class") in ("QPushButton", "QToolButton"):
            texts = {item.get("name"): item.findtext("string") for item in element.findall("property")}
            assert texts.get("text"), element.get("name")
            assert texts.get("toolTip"), element.get("name")


def test_the_icon_has_the_size_that_catalogues_ask_for() -> None:
    data = (MODULE / "Resources/Icons/FedSeg.png").read_bytes()
    assert data[:8] == b"\x89PNG\r\n\x1a\n"
    assert (int.from_bytes(data[16:20]), int.from_bytes(data[20:24])) == (128, 128)
    assert ET.parse(MODULE / "Resources/Icons/FedSeg.svg").getroot().tag.endswith("svg")


def test_every_error_of_the_library_is_drawn_in_its_tree() -> None:
    from FedSegLib import errors

    drawn = re.findall(r"[├└]── (\w+)", errors.__doc__ or "")
    classes = {
        name for name, item in vars(errors).items() if isinstance(item, type) and item.__module__ == errors.__name__
    }
    assert set(drawn) | {"FedSegError"} == classes
