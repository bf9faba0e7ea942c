"""L4: the extension as Slicer's build system and the Extensions Index see it."""

from __future__ import annotations

import ast
import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
MODULE = ROOT / "SlicerFedSeg"
STUB = MODULE / "Testing" / "cmake"
SOURCES = [
    MODULE / "FedSeg.py",
    *(path for part in ("FedSegLib", "FedSegPanel", "Testing") for path in sorted((MODULE / part).rglob("*.py"))),
]
CATALOGUE = MODULE / "FedSeg.json"


@pytest.mark.skipif(not (shutil.which("cmake") and shutil.which("cc")), reason="cmake or a compiler is missing")
def test_the_extension_configures(tmp_path: Path) -> None:
    done = subprocess.run(
        ["cmake", "-S", str(ROOT), "-B", str(tmp_path), f"-DSlicer_DIR={STUB}", "-DBUILD_TESTING=ON"],
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    scripts = len(list((MODULE / "FedSegLib").rglob("*.py"))) + len(list((MODULE / "FedSegPanel").glob("*.py"))) + 1
    resources = sum(path.is_file() for path in (MODULE / "Resources").rglob("*"))
    assert f"module FedSeg: {scripts} scripts, {resources} resources" in done.stdout
    assert "test FedSeg.py" in done.stdout


@pytest.mark.skipif(not (shutil.which("cmake") and shutil.which("cc")), reason="cmake or a compiler is missing")
def test_a_file_that_is_missing_stops_the_build(tmp_path: Path) -> None:
    copy = tmp_path / "source"
    shutil.copytree(MODULE, copy / "SlicerFedSeg", ignore=shutil.ignore_patterns("__pycache__", ".mypy_cache"))
    shutil.copy(ROOT / "CMakeLists.txt", copy)
    (copy / "SlicerFedSeg" / "FedSegLib" / "grid.py").unlink()
    done = subprocess.run(
        ["cmake", "-S", str(copy), "-B", str(tmp_path / "build"), f"-DSlicer_DIR={STUB}"],
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode != 0
    assert "FedSegLib/grid.py is named" in done.stderr


def test_the_catalogue_entry_is_what_the_index_asks_for() -> None:
    entry = json.loads(CATALOGUE.read_text())
    assert set(entry) == {
        "$schema", "build_dependencies", "build_subdirectory", "category", "scm_revision", "scm_url", "tier",
    }  # fmt: skip
    assert entry["$schema"].endswith("slicer-extension-catalog-entry-schema-v1.0.1.json#")
    assert re.fullmatch(r"https://github\.com/[\w-]+/Slicer\w+\.git", entry["scm_url"])
    assert entry["tier"] in (1, 3, 5)
    assert isinstance(entry["build_dependencies"], list)
    text = (ROOT / "CMakeLists.txt").read_text()
    assert f'set(EXTENSION_CATEGORY "{entry["category"]}")' in text
    assert CATALOGUE.stem in text
    assert not CATALOGUE.stem.startswith("Slicer")


def test_name_pictures_and_links_are_what_the_index_asks_for() -> None:
    """Its pull-request checks: name, category, https links, an icon of 128x128, screenshots that are pictures."""
    text = (ROOT / "CMakeLists.txt").read_text()
    values = dict(re.findall(r'^set\(EXTENSION_(\w+) "([^"]*)"\)', text, re.MULTILINE))
    name = re.search(r"^project\((\w+)\)$", text, re.MULTILINE)
    assert name is not None
    assert name[1] == CATALOGUE.stem
    assert "slicer" not in name[1].lower()
    assert "extension" not in values["DESCRIPTION"].lower()[:20]
    assert 40 < len(values["DESCRIPTION"]) < 400
    assert "\n" not in values["DESCRIPTION"]
    assert values["CONTRIBUTORS"]
    for url in [values["HOMEPAGE"], values["ICONURL"], *values["SCREENSHOTURLS"].split()]:
        assert url.startswith("https://")
    pictures = [ROOT / url.split("/main/", 1)[1] for url in (values["ICONURL"], *values["SCREENSHOTURLS"].split())]
    sizes = [_png_size(path) for path in pictures]
    assert sizes[0] == (128, 128)
    assert all(min(size) >= 200 for size in sizes[1:])


def _png_size(path: Path) -> tuple[int, int]:
    data = path.read_bytes()
    assert data[:8] == b"\x89PNG\r\n\x1a\n", path.name
    return int.from_bytes(data[16:20]), int.from_bytes(data[20:24])


def test_what_the_catalogue_entry_says_of_the_repository_is_what_the_extension_says() -> None:
    entry = json.loads(CATALOGUE.read_text())
    text = (ROOT / "CMakeLists.txt").read_text()
    assert f'set(EXTENSION_HOMEPAGE "{entry["scm_url"].removesuffix(".git")}")' in text
    assert entry["scm_revision"] in re.findall(r"raw\.githubusercontent\.com/[\w-]+/[\w-]+/([\w.-]+)/", text)
    assert (ROOT / entry["build_subdirectory"] / "CMakeLists.txt").is_file()


def test_nothing_is_sent_without_consent_by_any_call_of_the_client() -> None:
    """Methods that upload take the consent, or are made only after a question for this one time."""
    from FedSegLib import client

    asked_each_time = {"add_image"}
    for node in ast.walk(ast.parse(Path(client.__file__).read_text())):
        if isinstance(node, ast.FunctionDef) and any(
            isinstance(part, ast.keyword) and part.arg == "upload" for part in ast.walk(node)
        ):
            taken = {argument.arg for argument in [*node.args.args, *node.args.kwonlyargs]}
            assert "consent" in taken or node.name in asked_each_time, node.name


def test_the_licence_is_there() -> None:
    assert "Apache License" in (ROOT / "LICENSE").read_text() or "MIT" in (ROOT / "LICENSE").read_text()


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.relative_to(MODULE).as_posix())
def test_nothing_works_at_import(path: Path) -> None:
    """Statements at file scope define things; they call nothing but makers of constants."""
    harmless = {
        "frozenset", "re.compile", "struct.Struct", "TypeVar", "Statistics", "vars", "dict", "tuple", "float", "np.eye",
        "mark", "Sample", "Path(__file__).resolve", "Path",
    }  # fmt: skip
    for node in ast.parse(path.read_text()).body:
        value = node.value if isinstance(node, ast.Assign | ast.AnnAssign | ast.Expr) else None
        for call in ast.walk(value) if value is not None else ():
            if isinstance(call, ast.Call):
                assert ast.unparse(call.func) in harmless, f"{path.name}:{call.lineno} calls {ast.unparse(call.func)}"


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.relative_to(MODULE).as_posix())
def test_nothing_dangerous_is_called(path: Path) -> None:
    for call in ast.walk(ast.parse(path.read_text())):
        if isinstance(call, ast.Call):
            name = ast.unparse(call.func)
            assert name not in ("eval", "exec", "os.system", "pickle.loads", "pickle.load"), name
            assert not any(word.arg == "shell" for word in call.keywords)
            assert not any(word.arg == "verify" for word in call.keywords)
