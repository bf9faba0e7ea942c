"""The report: exact keys, a page that stands alone, and pictures that show something."""

from __future__ import annotations

import base64
import io
import json
import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fed_backend.demo.plots import DARK, LIGHT, plot_rounds, plot_slice, plot_stages
from fed_backend.demo.report import human_bytes, render_html, write_report
from fed_backend.demo.results import RunResult, report_dict
from tests.demo.results import recorded_result


@pytest.fixture(scope="module")
def result() -> RunResult:
    return recorded_result()


@pytest.fixture(scope="module")
def page(result: RunResult) -> str:
    return render_html(result)


def test_report_json_has_exactly_the_promised_keys(result: RunResult, tmp_path: Path) -> None:
    write_report(result, tmp_path)
    report = json.loads((tmp_path / "report.json").read_text())
    assert set(report) == {
        "engine", "mutual_tls", "method", "model", "seed", "sites", "rounds", "seconds_total", "threshold_baseline",
    }  # fmt: skip
    for site in report["sites"]:
        assert set(site) == {
            "name", "cases", "dice_before", "dice_local", "dice_federated", "worst_case", "promoted", "refused",
        }  # fmt: skip
    for entry in report["rounds"]:
        assert set(entry) == {"round", "seconds", "bytes_up", "bytes_down", "dice"}
        assert set(entry["dice"]) == {site["name"] for site in report["sites"]}


def test_the_figures_are_means_and_minima_over_test_cases(result: RunResult) -> None:
    first, site = report_dict(result)["sites"][0], result.sites[0]
    assert first["cases"] == 3
    assert first["dice_local"] == pytest.approx(np.mean(list(site.dice["local"].values())), abs=1e-4)
    assert first["worst_case"] == pytest.approx(min(site.dice["federated"].values()), abs=1e-4)


def test_a_site_that_missed_a_round_has_no_dice_there(result: RunResult) -> None:
    rounds = [*result.rounds[:1], type(result.rounds[0])(2, 1.0, 5, 5, {"north": None, "coast": 0.5})]
    partial = RunResult(**{**vars(result), "rounds": rounds})
    assert report_dict(partial)["rounds"][1]["dice"] == {"north": None, "coast": 0.5}
    assert "–" in render_html(partial)


class Page(HTMLParser):
    """Collects links, checks that tags are closed in order."""

    VOID = frozenset({"meta", "img", "br", "source"})

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.sources: list[str] = []
        self.alternatives: list[str | None] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag not in self.VOID:
            self.open.append(tag)
        values = dict(attrs)
        self.sources += [value for key in ("src", "srcset", "href") if (value := values.get(key))]
        if tag == "img":
            self.alternatives.append(values.get("alt"))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_the_page_is_well_formed_and_stands_alone(page: str, result: RunResult) -> None:
    parser = Page()
    parser.feed(page)
    assert parser.open == []
    assert all(source.startswith("data:image/png;base64,") for source in parser.sources)
    assert "<script" not in page
    assert "$" not in re.sub(r"base64,[^\"]*", "", page), "a placeholder was left"
    assert all(parser.alternatives), "every picture has a text for those who do not see it"
    assert len(parser.alternatives) == 2 + len(result.sites) * (5 + 4)


def test_text_from_outside_is_escaped(page: str) -> None:
    assert "0.04 &lt;b&gt;" in page


def test_every_figure_of_the_table_is_on_the_page(page: str, result: RunResult) -> None:
    for site in result.sites:
        assert f"{site.mean('federated'):.3f}" in page
        assert f"{site.worst_case:.3f}" in page
    assert "prefers-color-scheme: dark" in page


def pixels(png: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(png)).convert("RGBA"))


def test_charts_differ_by_theme_and_have_no_background(result: RunResult) -> None:
    names = [site.name for site in result.sites]
    for draw in (
        lambda theme: plot_rounds(result.rounds, names, theme),
        lambda theme: plot_stages(result.sites, result.threshold_baseline, theme),
    ):
        light, dark = pixels(draw(LIGHT)), pixels(draw(DARK))
        assert light[0, 0, 3] == 0
        assert dark[light[..., 3] > 200][:, :3].mean() > light[light[..., 3] > 200][:, :3].mean() + 40


def test_a_slice_shows_image_mask_and_true_outline() -> None:
    image = np.full((40, 40), 0.3)
    mask, truth = np.zeros((40, 40), bool), np.zeros((40, 40), bool)
    mask[5:15, 5:15], truth[20:35, 20:35] = True, True
    plain, both = pixels(plot_slice(image, 1.0)), pixels(plot_slice(image, 2.0, mask, truth))
    assert plain.shape[0] == plain.shape[1]
    assert both.shape[0] == 2 * both.shape[1], "thick pixels are drawn tall"
    assert np.ptp(plain[..., :3]) == 0
    height, width = both.shape[:2]
    red, green, blue, _ = both[height // 4, width // 4].astype(int)
    assert red > green + 40
    assert red > blue + 20


def test_one_round_and_one_site_can_be_drawn() -> None:
    small = recorded_result(sites=1, rounds=1)
    assert base64.b64encode(b"\x89PNG").decode()[:5] in render_html(small)


@pytest.mark.parametrize(("count", "text"), [(0, "0 B"), (999, "999 B"), (1500, "1.5 kB"), (2_345_678, "2.3 MB")])
def test_human_bytes(count: int, text: str) -> None:
    assert human_bytes(count) == text
