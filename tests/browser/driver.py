"""Drives the page as a person does: real clicks in Chromium, and what is then to be seen."""

from __future__ import annotations

import io
import time
from collections.abc import Callable
from typing import Any

import numpy as np
from peers import SeatProcess, Site
from PIL import Image
from playwright.sync_api import Page, expect

PATIENCE_SECONDS = 60.0
expect.set_options(timeout=PATIENCE_SECONDS * 1000)
SIZE = (96, 96, 16)
SPACING = (2.0, 2.0, 7.0)
"""Of the generated images; their array axes are R, A, S, and they lie around the origin."""

Picture = np.ndarray[Any, Any]
AXIAL, CORONAL, SAGITTAL = range(3)


class Person:
    """Somebody in front of the page.

    Args:
        page: playwright's. seat: what serves it.
    """

    def __init__(self, page: Page, seat: SeatProcess) -> None:
        self.page = page
        self._seat = seat
        self.faults: list[str] = []
        page.on("pageerror", lambda error: self.faults.append(str(error)))
        page.on("request", lambda request: self._note_foreign(request.url))
        page.goto(seat.url)
        expect(page.locator("#connect, #disconnect")).to_be_visible()

    def _note_foreign(self, url: str) -> None:
        if not url.startswith(("http://127.0.0.1:", "data:", "blob:")):
            self.faults.append(f"asked {url}")

    def connect(self, site: Site) -> None:
        """Type the address, press Connect and wait for the work list."""
        self.page.fill("#address", site.url)
        self.page.click("#connect")
        expect(self.page.locator("#cases")).to_contain_text("north-00")

    def open(self, case: str) -> None:
        """Click a case in the work list and wait for its image."""
        self.page.locator("#cases .case-row", has_text=case).click()
        expect(self.page.locator("#case-line")).to_contain_text(case)
        self.until(lambda: self.view(CORONAL).std() > 20 and self.view(AXIAL).std() > 20, "the slices")

    def leave(self) -> None:
        """Withdraw the consent and disconnect, so that the next person starts anew."""
        if not self.page.locator("#disconnect").is_visible():
            return
        self.press("settings")
        withdraw = self.page.locator("#withdraw")
        expect(withdraw).to_be_visible()
        if withdraw.is_enabled():
            withdraw.click()
            expect(withdraw).to_be_disabled()
        self.page.keyboard.press("Escape")
        expect(withdraw).to_be_hidden()
        self.press("disconnect")
        again = self.page.locator("#notice", has_text="do the same again to leave it")
        expect(self.page.locator("#connect").or_(again)).to_be_visible()
        if again.is_visible():
            self.press("disconnect")
        expect(self.page.locator("#connect")).to_be_visible()

    def answer(self, consent: str) -> None:
        """Read what is asked before anything is sent, and "agree" or "decline"."""
        expect(self.page.locator("#consent")).to_contain_text("The masks you submit")
        self.press(consent)
        expect(self.page.locator("#consent")).to_be_hidden()

    def take(self, tool: str) -> None:
        """Take a pointing tool and agree to what is asked."""
        self.press(tool)
        self.answer("agree")

    def press(self, name: str) -> None:
        """Click a button or a tool."""
        self.page.locator(f"#{name}").click()

    def says(self, text: str) -> None:
        """Wait for a message."""
        expect(self.page.locator("#notice")).to_contain_text(text)

    def place(self, i: float, j: float) -> tuple[float, float]:
        """Where in the page a voxel of the middle axial slice is; the whole image fills the view."""
        box = self._box(AXIAL)
        scale = min(box["width"] / (SIZE[0] * SPACING[0]), box["height"] / (SIZE[1] * SPACING[1]))
        right = (i - (SIZE[0] - 1) / 2) * SPACING[0]
        front = (j - (SIZE[1] - 1) / 2) * SPACING[1]
        # the patient's right is on the left, the front is above
        return box["x"] + box["width"] / 2 - right * scale, box["y"] + box["height"] / 2 - front * scale

    def tap(self, i: float, j: float) -> None:
        """Click on a voxel of the middle axial slice."""
        self.page.mouse.move(*self.place(i, j))
        self.page.mouse.down()
        self.page.mouse.up()

    def draw(self, start: tuple[float, float], end: tuple[float, float]) -> None:
        """Draw from voxel to voxel with the left button."""
        self.page.mouse.move(*self.place(*start))
        self.page.mouse.down()
        self.page.mouse.move(*self.place(*end), steps=8)
        self.page.mouse.up()

    def slide(self, number: int, fraction: float) -> None:
        """Click on the slider of a slice view, at a fraction of its length."""
        track = self.page.locator(".layout-grid-item").nth(number).locator(".v-slider__container")
        box = track.bounding_box()
        assert box is not None
        self.page.mouse.click(box["x"] + fraction * box["width"], box["y"] + box["height"] / 2)

    def view(self, number: int) -> Picture:
        """One slice view as [row, column, rgb], without its rim (name and slider)."""
        box = self._box(number)
        clip = {"x": box["x"] + 8, "y": box["y"] + 24, "width": box["width"] - 16, "height": box["height"] - 72}
        shot = self.page.screenshot(clip=clip)  # type: ignore[arg-type]
        return np.asarray(Image.open(io.BytesIO(shot)).convert("RGB"), dtype=np.int16)

    def red(self, number: int) -> int:
        """How many pixels of a slice view are tinted by the structure 'lesion'."""
        picture = self.view(number)
        return int(((picture[..., 0] > picture[..., 1] + 40) & (picture[..., 0] > picture[..., 2] + 40)).sum())

    def color_at(self, i: float, j: float) -> tuple[float, float, float]:
        """Red, green and blue (0..255) of a voxel of the middle axial slice."""
        x, y = self.place(i, j)
        shot = self.page.screenshot(clip={"x": x - 2, "y": y - 2, "width": 4, "height": 4})
        red, green, blue = np.asarray(Image.open(io.BytesIO(shot)).convert("RGB"), dtype=float).mean(axis=(0, 1))
        return float(red), float(green), float(blue)

    def red_at(self, i: float, j: float) -> bool:
        """True when a voxel of the middle axial slice is tinted by the structure 'lesion'."""
        red, green, blue = self.color_at(i, j)
        return red > green + 30 and red > blue + 30

    def until(self, condition: Callable[[], Any], what: str) -> None:
        """Look at the page until a condition holds."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        while not condition():
            assert time.monotonic() < deadline, f"waited in vain for {what}; the seat says:\n{self._seat.log}"
            self.page.wait_for_timeout(50)

    def _box(self, number: int) -> Any:
        return self.page.locator(".layout-grid-item").nth(number).bounding_box()
