"""``report.html``: one self-contained page, and ``report.json`` beside it."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterable, Sequence
from html import escape
from importlib.resources import files
from pathlib import Path
from string import Template

import numpy as np

from fed_backend.demo import plots
from fed_backend.demo.results import STAGES, Overlay, RunResult, SiteResult, report_dict

__all__ = ["human_bytes", "render_html", "write_report"]


def write_report(result: RunResult, out: Path) -> None:
    """Write ``report.json`` and ``report.html`` into ``out``."""
    (out / "report.json").write_text(json.dumps(report_dict(result), indent=2) + "\n", encoding="utf-8")
    (out / "report.html").write_text(render_html(result), encoding="utf-8")


def human_bytes(count: float) -> str:
    """Bytes in decimal units: ``1.2 MB``."""
    for unit in ("B", "kB", "MB", "GB"):
        if abs(count) < 1000 or unit == "GB":
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1000
    raise AssertionError("unreachable")


def render_html(result: RunResult) -> str:
    """The page: no scripts, no external files; follows the reader's light or dark setting."""
    page = Template((files("fed_backend.demo") / "report.html").read_text(encoding="utf-8"))
    names = [site.name for site in result.sites]
    return page.substitute(
        title=f"Federated segmentation at {len(names)} sites",
        lead=_lead(result),
        facts=_facts(result),
        site_table=_site_table(result),
        stage_plot=_chart(lambda theme: plots.plot_stages(result.sites, result.threshold_baseline, theme), "Test Dice"),
        round_plot=_chart(lambda theme: plots.plot_rounds(result.rounds, names, theme), "Dice per round"),
        round_table=_round_table(result),
        test_pictures=_pictures(result.overlays, "test"),
        annotation_pictures=_pictures(result.overlays, "annotation"),
        settings="".join(f"<dt>{escape(name)}</dt><dd>{escape(value)}</dd>" for name, value in result.settings),
        case_table=_case_table(result.sites),
        version_table=_version_table(result.sites),
        correction_table=_correction_table(result),
    )


def _lead(result: RunResult) -> str:
    before, local, federated = (np.mean([site.mean(stage) for site in result.sites]) for stage in STAGES)
    return (
        f"Mean Dice over sites: {before:.2f} with the base, {local:.2f} after local learning, "
        f"{federated:.2f} after {len(result.rounds)} federated rounds; the best global threshold reaches "
        f"{result.threshold_baseline:.2f}."
    )


def _facts(result: RunResult) -> str:
    sent = sum(entry.bytes_up for entry in result.rounds)
    facts = (
        (result.engine, "federation engine"),
        ("checked" if result.mutual_tls else "NOT confirmed", "mutual TLS: no certificate, no connection"),
        (result.method, "method"),
        (result.model, "model"),
        (human_bytes(sent), "sent by all sites"),
        (f"{result.seconds_total / 60:.1f} min", f"in total, seed {result.seed}"),
    )
    return "".join(
        f'<div class="fact"><b>{escape(value)}</b><span>{escape(name)}</span></div>' for value, name in facts
    )


def _table(head: Sequence[str], rows: Iterable[Sequence[str]], text: Sequence[int] = (), total: bool = False) -> str:
    """An HTML table; cells are HTML already. ``text``: columns set left; ``total``: the last row is a sum."""

    def cell(tag: str, index: int, content: str) -> str:
        return f'<{tag} class="text">{content}</{tag}>' if index in text else f"<{tag}>{content}</{tag}>"

    body = [list(row) for row in rows]
    lines = ["".join(cell("th", n, escape(title)) for n, title in enumerate(head))]
    lines += ["".join(cell("td", n, content) for n, content in enumerate(row)) for row in body]
    marks = ["<tr>"] * len(lines)
    if total and body:
        marks[-1] = '<tr class="total">'
    return "<table>" + "".join(f"{mark}{line}</tr>" for mark, line in zip(marks, lines, strict=True)) + "</table>"


def _change(value: float, reference: float) -> str:
    difference = value - reference
    kind = "up" if difference > 0.0005 else "down" if difference < -0.0005 else ""
    return f'{value:.3f} <span class="{kind}">{difference:+.3f}</span>'


def _site_table(result: RunResult) -> str:
    head = ["site", "test cases", "base", "after local learning", "after federation", "worst case"]
    head += ["promoted", "refused", "sent", "trained"]
    rows = [_site_row(site) for site in result.sites]
    sites = result.sites
    before, local, federated = (float(np.mean([site.mean(stage) for site in sites])) for stage in STAGES)
    rows.append(
        [
            "all sites",
            str(sum(len(site.dice["before"]) for site in sites)),
            f"{before:.3f}",
            _change(local, before),
            _change(federated, local),
            f"{min(site.worst_case for site in sites):.3f}",
            str(sum(site.promoted for site in sites)),
            str(sum(site.refused for site in sites)),
            human_bytes(sum(site.bytes_sent for site in sites)),
            f"{sum(site.seconds for site in sites):.0f} s",
        ]
    )
    return _table(head, rows, total=True)


def _site_row(site: SiteResult) -> list[str]:
    before, local, federated = (site.mean(stage) for stage in STAGES)
    return [
        escape(site.name),
        str(len(site.dice["before"])),
        f"{before:.3f}",
        _change(local, before),
        _change(federated, local),
        f"{site.worst_case:.3f}",
        str(site.promoted),
        str(site.refused),
        human_bytes(site.bytes_sent),
        f"{site.seconds:.0f} s",
    ]


def _round_table(result: RunResult) -> str:
    names = [site.name for site in result.sites]
    rows = []
    for entry in result.rounds:
        values = [entry.dice.get(name) for name in names]
        cells = ["–" if value is None else f"{value:.3f}" for value in values]
        traffic = [human_bytes(entry.bytes_up), human_bytes(entry.bytes_down)]
        rows.append([str(entry.round), f"{entry.seconds:.1f}", *traffic, *cells])
    return _table(["round", "seconds", "up", "down", *(f"Dice {name}" for name in names)], rows)


def _case_table(sites: Sequence[SiteResult]) -> str:
    rows = [
        [escape(site.name), escape(case), *(f"{site.dice[stage][case]:.3f}" for stage in STAGES)]
        for site in sites
        for case in sorted(site.dice["before"])
    ]
    return _table(["site", "case", "base", "after local learning", "after federation"], rows, text=(1,))


def _version_table(sites: Sequence[SiteResult]) -> str:
    rows = [[escape(site.name), escape(name), escape(why)] for site in sites for name, why in site.reasons]
    return _table(["site", "version", "reason"], rows, text=(1, 2))


def _correction_table(result: RunResult) -> str:
    rows = []
    for site, made in result.annotations.items():
        for item in made:
            prompted = "–" if item.slice_prompted is None else f"{item.slice_prompted:.3f}"
            figures = [f"{item.dice_shown:.3f}", f"{item.slice_shown:.3f}", prompted]
            rows.append([escape(site), escape(item.case), escape(item.part), *figures])
    head = ["site", "case", "part", "automatic mask", "its worst slice", "that slice prompted"]
    return _table(head, rows, text=(1, 2))


def _data_uri(png: bytes) -> str:
    return "data:image/png;base64," + base64.b64encode(png).decode("ascii")


def _chart(draw: plots.Draw, title: str) -> str:
    light, dark = (_data_uri(draw(theme)) for theme in (plots.LIGHT, plots.DARK))
    return (
        f'<picture><source srcset="{dark}" media="(prefers-color-scheme: dark)">'
        f'<img src="{light}" alt="{escape(title)}"></picture>'
    )


def _pictures(overlays: Sequence[Overlay], kind: str) -> str:
    return "".join(_strip(overlay) for overlay in overlays if overlay.kind == kind)


def _strip(overlay: Overlay) -> str:
    panels: list[tuple[str, bytes, float | None]] = [("image", plots.plot_slice(overlay.image, overlay.aspect), None)]
    for title, mask, score in overlay.masks:
        known = title in {"truth", "final"}
        truth = None if known else overlay.truth
        panels.append((title, plots.plot_slice(overlay.image, overlay.aspect, mask, truth), None if known else score))
    cells = []
    for title, png, score in panels:
        figure = "" if score is None else f" <b>{score:.2f}</b>"
        alternative = f"{title}, {overlay.case}"
        cells.append(
            f'<figure><img src="{_data_uri(png)}" alt="{escape(alternative)}">'
            f"<figcaption>{escape(title)}{figure}</figcaption></figure>"
        )
    head = f"<h3>{escape(overlay.site)} · {escape(overlay.case)}</h3>"
    return f'<div class="card case">{head}<div class="strip">{"".join(cells)}</div></div>'
