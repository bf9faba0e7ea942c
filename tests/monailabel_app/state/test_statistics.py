"""Figures of a site: by version, by day, and in one sentence."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from monailabel_app.cli import site as command
from monailabel_app.learning.statistics import statistics
from monailabel_app.learning.statistics_plot import plot
from monailabel_app.state.corrections import Correction
from monailabel_app.state.site import SiteState


def correction(number: int, version: str | None, dice: float | None, **more: Any) -> Correction:
    values: dict[str, Any] = {
        "id": f"c{number}",
        "case": f"case{number}",
        "author": "ann",
        "submitted_at": f"2026-03-0{1 + number // 2}T10:00:0{number}.000Z",
        "seconds": None,
        "image": "x.nii.gz",
        "image_sha256": "0",
        "mask_sha256": "1",
        "model_shown": "unet" if version else None,
        "version_shown": version,
        "dice_shown": dice,
        "prompts": 0,
        "part": "train",
    }
    return Correction(**{**values, **more})


def test_a_site_without_corrections_has_no_figures() -> None:
    found = statistics([])
    assert (found["days"], found["versions"], found["cases"]) == ([], [], [])
    assert found["summary"] == "No correction started from a mask of this site yet."


def test_figures_by_version_and_day() -> None:
    found = statistics(
        [
            correction(0, None, None, seconds=300),
            correction(1, "unet-0000-aaaaaa", 0.4, seconds=200, prompts=4),
            correction(2, "unet-0001-bbbbbb", 0.8, seconds=50, prompts=1),
            correction(3, "unet-0001-bbbbbb", 0.9, seconds=None, prompts=2),
        ]
    )
    assert found["days"] == [
        {"day": "2026-03-01", "corrections": 2, "total": 2},
        {"day": "2026-03-02", "corrections": 2, "total": 4},
    ]
    assert [v["version"] for v in found["versions"]] == ["none", "unet-0000-aaaaaa", "unet-0001-bbbbbb"]
    assert found["versions"][2] == {
        "version": "unet-0001-bbbbbb",
        "model": "unet",
        "corrections": 2,
        "dice_shown": 0.85,
        "seconds": 50,
        "clicks": 1.5,
    }
    assert found["versions"][0]["dice_shown"] is None
    assert found["cases"][1]["clicks"] == 4
    assert found["summary"] == (
        "Masks of unet-0001-bbbbbb agree with what was submitted by Dice 0.85; those of unet-0000-aaaaaa by 0.40; "
        "a case takes 50 s (median), 300 s without a mask to start from."
    )


def test_a_dice_that_nobody_measured_does_not_break_the_sentence() -> None:
    assert "unet-0000-aaaaaa" in statistics([correction(0, "unet-0000-aaaaaa", 0.5)])["summary"]


def picture(path: Path) -> np.ndarray:
    return np.asarray(Image.open(path).convert("RGB")).astype(int)


def coloured(image: np.ndarray, colour: tuple[int, int, int]) -> int:
    return int((np.abs(image - colour).max(axis=2) < 12).sum())


def test_the_figures_are_drawn_by_version(tmp_path: Path) -> None:
    one, two = "unet-0000-aaaaaa", "unet-0001-bbbbbb"
    few = [correction(0, one, 0.4, seconds=200.0, prompts=4)]
    plot(statistics(few), tmp_path / "few.png")
    plot(statistics([*few, correction(3, two, 0.9, seconds=40.0, prompts=1)]), tmp_path / "more.png")
    plot(statistics([]), tmp_path / "none.png")
    orange = (213, 94, 0)
    assert coloured(picture(tmp_path / "few.png"), orange) == 0
    assert coloured(picture(tmp_path / "more.png"), orange) > 200, "the second version has a colour of its own"
    assert picture(tmp_path / "none.png").shape == picture(tmp_path / "few.png").shape


@pytest.mark.parametrize("target", ["figures.png", "absent/figures.png"])
def test_the_command_says_and_draws_them(state: SiteState, images: Any, tmp_path: Path, target: str) -> None:
    images.add("a")
    version = "unet-0000-aaaaaa"
    state.prompts.record_shown("a", "unet", version, np.zeros((36, 40, 6), np.uint8))
    images.submit(state, "a")
    ran = CliRunner().invoke(command, ["statistics", "--state", str(state.folder), "--plot", str(tmp_path / target)])
    if target.startswith("absent"):
        assert ran.exit_code == 2
        assert "cannot be written" in ran.output
    else:
        assert ran.exit_code == 0, ran.output
        assert f"{version}: 1 corrections, Dice shown 0" in ran.output
        assert (tmp_path / target).read_bytes()[:4] == b"\x89PNG"
