"""Tests of the browser seat. They need its own environment: trame-slicer, slicer-core and playwright; and Chromium.

Run as ``python -m pytest tests/browser`` there. In the other environments everything here is left out of collection.
A real site server is started from the site's environment (``.venv``, or where FEDSEG_SITE_BIN says).
"""

from __future__ import annotations

import importlib.util
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

HERE = Path(__file__).resolve().parent
EXTENSION = HERE.parents[1] / "SlicerFedSeg"

if all(importlib.util.find_spec(name) for name in ("trame_slicer", "playwright")):
    sys.path[:0] = [str(HERE), str(EXTENSION), str(EXTENSION / "browser")]
    os.environ.setdefault("VTK_DEFAULT_OPENGL_WINDOW", "vtkOSOpenGLRenderWindow")
else:
    collect_ignore_glob = ["test_*.py"]


@pytest.fixture(scope="session")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """A real site with generated images."""
    from peers import Site

    with Site(tmp_path_factory.mktemp("site")) as running:
        yield running


@pytest.fixture(scope="session")
def seat(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """A real seat."""
    from peers import SeatProcess

    running = SeatProcess(tmp_path_factory.mktemp("seat"))
    running.start()
    yield running
    assert running.stop() == 0, running.log
    assert "Traceback" not in running.log


@pytest.fixture(scope="session")
def chromium() -> Iterator[Any]:
    """Headless Chromium."""
    import shutil

    from playwright.sync_api import sync_playwright

    found = (shutil.which(name) for name in ("chromium", "chromium-browser", "google-chrome"))
    program = os.environ.get("CHROMIUM") or next(filter(None, found), None)
    if program is None:
        pytest.fail("Chromium is not installed: python3 tools/bootstrap.py chromium")
    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=program)
        yield browser
        browser.close()


@pytest.fixture
def page(chromium: Any) -> Iterator[Any]:
    """An empty page of a person of its own."""
    context = chromium.new_context(viewport={"width": 1440, "height": 860})
    yield context.new_page()
    context.close()


@pytest.fixture
def person(page: Any, seat: Any) -> Iterator[Any]:
    """Somebody who has just opened the page and agreed to nothing; the seat is connected to no site."""
    from driver import Person

    somebody = Person(page, seat)
    yield somebody
    assert not somebody.faults
    somebody.leave()


@pytest.fixture
def annotator(person: Any, site: Any) -> Any:
    """Somebody connected to the site."""
    person.connect(site)
    return person
