"""The figures of :mod:`bench.interactive` beside their goals, as Markdown."""

from __future__ import annotations

from typing import Any

__all__ = ["table"]

_ROWS = (
    ("warm click, end to end over HTTP", "warm_click_ms", "ms", ""),
    ("bare decoder, in process", "decoder_ms", "ms", ""),
    ("warm click / bare decoder", "warm_ratio", "", "<= 1.5"),
    ("MONAI Label sam_2d click (hiera-tiny)", "monailabel_click_ms", "ms", ""),
    ("speed-up against MONAI Label", "speedup_vs_monailabel", "", ">= 20"),
    ("click on a cold slice", "cold_click_ms", "ms", ""),
    ("cold click / bare encoder and decoder", "cold_ratio", "", "<= 1.15"),
    ("the same against the bare network with the site's memory setting", "cold_ratio_kept_memory", "", ""),
    ("the same against the float32 encoder", "cold_ratio_float32", "", ""),
    ("warm hits while paging, 3 slices/s", "paging_warm_share", "", ">= 0.95"),
    ("bytes of a reply", "reply_bytes", "bytes", ""),
    ("bytes of MONAI Label's reply", "stock_reply_bytes", "bytes", ""),
    ("share of MONAI Label's reply", "reply_share", "", "<= 0.01"),
    ("p95 of 8 annotators / 1, a click a second each", "p95_ratio_8_users", "", "<= 4"),
    ("the same without pauses", "p95_ratio_8_users_no_pause", "", ""),
    ("longest click while the champion changes", "switch_stall_ms", "ms", "<= 200"),
    ("p99 of /info/ while encoding", "info_p99_ms", "ms", "<= 50"),
)


def table(found: dict[str, Any]) -> str:
    """Figures and goals."""
    where = ", ".join(f"{key} {value}" for key, value in found["machine"].items())
    lines = ["# Interactive segmentation: how long an annotator waits", "", f"`make bench-interactive` on {where}.", ""]
    lines += ["| sam_tiny, 512 x 512 x 200 | measured | goal | |", "|---|---|---|---|"]
    for words, key, unit, goal in _ROWS:
        if key in found:
            lines.append(f"| {words} | {_text(found[key])} {unit} | {goal} | {_verdict(found[key], goal)} |")
    if vit := found.get("vit_b"):
        lines += ["", "| ViT-B shape, 1024 pixels, random weights | measured | goal | |", "|---|---|---|---|"]
        for words, key, unit, goal in _ROWS:
            if key in vit:
                lines.append(f"| {words} | {_text(vit[key])} {unit} | {goal} | {_verdict(vit[key], goal)} |")
    if stages := found.get("cold_stages_ms"):
        lines += ["", "Where a click on a cold slice spends its time, medians:", "", "| stage | ms |", "|---|---|"]
        lines += [f"| {stage} | {value:.2f} |" for stage, value in stages.items()]
    return "\n".join(lines) + "\n"


def _text(value: float) -> str:
    return f"{value:,.0f}" if value >= 1000 else f"{value:.3g}"


def _verdict(value: float, goal: str) -> str:
    if not goal:
        return ""
    relation, limit = goal.split()
    met = value <= float(limit) if relation == "<=" else value >= float(limit)
    return "met" if met else "not met"
