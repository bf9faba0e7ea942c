"""A person's work in the page, in headless Chromium, with a real seat and a real site."""

from __future__ import annotations

import os
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import numpy as np
import pytest
import requests
from driver import AXIAL, CORONAL, SAGITTAL, SIZE, Person
from peers import Doorkeeper, SeatProcess, Site
from playwright.sync_api import expect

MIDDLE = slice(7, 9)
"""The slices beside the middle of the image; the axial view starts at one of them."""


def lesion(site: Site, case: str) -> tuple[int, int]:
    """The voxel (i, j) nearest to the middle of the lesion in the middle slices."""
    inside = np.argwhere(site.truth(case)[:, :, MIDDLE].any(axis=2))
    i, j = inside[np.abs(inside - inside.mean(axis=0)).sum(axis=1).argmin()]
    return int(i), int(j)


def test_only_who_has_the_whole_address_may_open_the_page(seat: SeatProcess) -> None:
    parts = urlsplit(seat.url)
    base = f"{parts.scheme}://{parts.netloc}"
    for path in ("/", "/?secret=guess", "/index.html", "/ws", "/assets/", "/?secret="):
        refused = requests.get(base + path, timeout=10)
        assert refused.status_code == 403, path
        assert "Open the whole address" in refused.text
    session = requests.Session()
    assert session.get(seat.url, timeout=10).status_code == 200
    (cookie,) = session.cookies
    assert cookie.has_nonstandard_attr("HttpOnly")
    assert cookie.get_nonstandard_attr("SameSite") == "Strict"
    assert parse_qs(parts.query)["secret"] == [cookie.value]
    assert parts.hostname == "127.0.0.1"


def test_the_page_can_be_loaded_again(person: Person, site: Site) -> None:
    person.connect(site)
    assert "secret" not in person.page.url
    person.page.reload()
    expect(person.page.locator("#cases")).to_contain_text("north-00")


def test_an_address_that_nobody_answers_is_told_with_the_next_step(person: Person) -> None:
    person.page.fill("#address", "http://127.0.0.1:9")
    person.press("connect")
    person.says("127.0.0.1:9")
    expect(person.page.locator("#notice .font-italic")).not_to_be_empty()
    expect(person.page.locator("#next")).to_be_disabled()


@pytest.mark.parametrize("way_out", ["Sign in", "Disconnect"])
def test_a_password_is_not_kept_for_other_pages(person: Person, seat: SeatProcess, way_out: str) -> None:
    card, page = person.page.locator("#sign-in-card"), person.page
    with Doorkeeper() as site:
        page.fill("#address", site.url)
        person.press("connect")
        page.fill("#user", "ada")
        page.fill("#password", "secret")
        expect(card).to_contain_text("The site asks who you are.")
        card.get_by_role("button", name=way_out).click()
        if way_out == "Sign in":
            person.says("Wrong name or password.")
            expect(page.locator("#password")).to_have_value("")
        other = page.context.new_page()
        other.goto(seat.url)
        expect(other.locator("#connect, #disconnect")).to_be_visible()
        assert other.evaluate("trame.state.get('user')") == "ada"  # what is shared
        assert other.evaluate("trame.state.get('password')") == ""
        other.close()
        if way_out == "Sign in":
            card.get_by_role("button", name="Disconnect").click()
        expect(page.locator("#connect")).to_be_visible()


def test_a_box_is_a_prompt(annotator: Person, site: Site, tmp_path: Path) -> None:
    annotator.open("north-00")
    inside = np.argwhere(site.truth("north-00")[:, :, MIDDLE].any(axis=2))
    (i0, j0), (i1, j1) = inside.min(axis=0), inside.max(axis=0)
    annotator.take("box")
    annotator.tap(i0, j0)
    annotator.page.mouse.move(*annotator.place((i0 + i1) / 2, (j0 + j1) / 2))
    annotator.tap(i1, j1)
    expect(annotator.page.locator("#answer")).to_contain_text("ms")
    annotator.until(lambda: annotator.red_at(*lesion(site, "north-00")), "the mask")
    assert not annotator.red_at(i0 - 6, j0 - 6)
    assert min(annotator.color_at(*lesion(site, "north-00"))) > 60  # the image can be seen through the mask

    annotator.slide(CORONAL, (j0 + j1 + 1) / 2 / SIZE[1])
    annotator.slide(SAGITTAL, 1 - (i0 + i1 + 1) / 2 / SIZE[0])  # from the patient's left to the right
    for view in (CORONAL, SAGITTAL):
        annotator.until(lambda view=view: annotator.red(view) > 20, "the mask in the other views")

    annotator.press("include")  # the picture for the documentation: a tool in hand, nothing under the mouse
    annotator.page.mouse.move(20, 700)
    expect(annotator.page.locator("#asking")).to_be_hidden()
    shots = Path(os.environ.get("FEDSEG_SHOTS", "") or tmp_path)
    annotator.page.screenshot(path=shots / "browser-seat.png")


def test_from_the_first_click_to_the_correction(annotator: Person, site: Site) -> None:
    page = annotator.page
    annotator.press("next")
    expect(page.locator("#case-line")).to_contain_text("Chosen because")
    case = page.locator("#case-line").inner_text().split()[0]
    annotator.until(lambda: all(annotator.view(view).std() > 20 for view in (AXIAL, CORONAL, SAGITTAL)), "the slices")
    assert annotator.red(AXIAL) == 0
    target = lesion(site, case)

    annotator.press("include")
    expect(page.locator("#consent")).to_contain_text(site.url)
    annotator.answer("agree")
    annotator.tap(*target)
    expect(page.locator("#answer")).to_contain_text("sam-0000")
    annotator.until(lambda: annotator.red(AXIAL) > 300, "the mask")
    assert annotator.red(SAGITTAL) == 0 or annotator.red(SAGITTAL) < annotator.red(AXIAL)  # it is on one slice

    annotator.press("undo")
    annotator.until(lambda: annotator.red(AXIAL) == 0, "the mask to go")
    annotator.press("redo")
    annotator.until(lambda: annotator.red(AXIAL) > 300, "the mask to come back")

    stroke = (20, 80), (30, 80)  # outside the head
    annotator.press("paint")
    annotator.draw(*stroke)
    annotator.until(lambda: annotator.red_at(25, 80), "the stroke")
    annotator.press("undo")
    annotator.until(lambda: not annotator.red_at(25, 80), "the stroke to go")
    assert annotator.red(AXIAL) > 300
    annotator.press("redo")
    annotator.until(lambda: annotator.red_at(25, 80), "the stroke to come back")
    annotator.press("erase")
    annotator.draw((29, 80), (34, 80))
    annotator.until(lambda: not annotator.red_at(30, 80), "the end of the stroke to go")
    assert annotator.red_at(22, 80)

    annotator.press("submit")
    annotator.says(f"'{case}' is submitted.")
    (correction,) = site.corrections(case)
    assert correction["prompts"] >= 1
    mask = site.submitted(case)
    assert mask[target][MIDDLE].any()
    assert mask[22, 80, MIDDLE].any()
    assert not mask[30, 80].any()
    assert set(np.unique(mask)) == {0, 1}
    expect(page.locator("#cases .case-row", has_text=case)).to_contain_text("submitted")


def test_nothing_is_sent_without_consent(annotator: Person, site: Site) -> None:
    annotator.open("north-01")
    annotator.press("include")
    annotator.answer("decline")
    annotator.says("Nothing was sent.")
    annotator.tap(48, 48)
    annotator.press("paint")
    annotator.draw((40, 48), (50, 48))
    annotator.until(lambda: annotator.red(AXIAL) > 50, "the stroke")
    annotator.press("submit")
    annotator.answer("decline")
    assert site.corrections("north-01") == []
    expect(annotator.page.locator("#answer")).to_be_empty()


def test_an_empty_mask_is_sent_only_when_it_is_meant(annotator: Person, site: Site) -> None:
    annotator.open("north-02")
    annotator.press("submit")
    annotator.says("tick 'Nothing to mark'")
    annotator.page.locator("#nothing").check()
    annotator.press("submit")
    annotator.answer("agree")
    annotator.says("'north-02' is submitted.")
    assert not site.submitted("north-02").any()


def test_a_painted_mask_is_not_left_by_accident(annotator: Person) -> None:
    annotator.open("north-01")
    annotator.press("paint")
    annotator.draw((40, 48), (50, 48))
    annotator.until(lambda: annotator.red(AXIAL) > 50, "the stroke")
    annotator.press("next")
    annotator.says("The mask of 'north-01' is not submitted.")
    annotator.press("next")
    expect(annotator.page.locator("#case-line")).to_contain_text("Chosen because")
    annotator.until(lambda: annotator.red(AXIAL) == 0, "the mask to go")


def test_the_second_structure_has_its_own_colour(annotator: Person) -> None:
    annotator.open("north-01")
    annotator.page.locator(".v-select", has=annotator.page.locator("#structure")).click()
    annotator.page.get_by_role("option", name="oedema").click()
    annotator.press("paint")
    annotator.draw((40, 48), (50, 48))
    annotator.until(lambda: (annotator.view(AXIAL)[..., 2] > annotator.view(AXIAL)[..., 0] + 40).sum() > 50, "blue")
    assert annotator.red(AXIAL) == 0


@pytest.mark.slow
def test_a_mask_for_a_site_that_is_gone_arrives_later(annotator: Person, site: Site) -> None:
    annotator.open("north-01")
    annotator.take("include")
    annotator.press("paint")
    annotator.draw((40, 48), (50, 48))
    annotator.until(lambda: annotator.red(AXIAL) > 50, "the stroke")
    site.stop()
    annotator.press("submit")
    annotator.says("is kept on this computer")
    expect(annotator.page.locator("#waiting")).to_contain_text("north-01")
    site.start()
    expect(annotator.page.locator("#waiting")).to_be_hidden()
    assert len(site.corrections("north-01")) == 1
