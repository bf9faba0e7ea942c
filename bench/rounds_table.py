"""The results of ``make bench-rounds`` as tables."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

Tables = dict[str, dict[str, dict[str, Any]]]
KEYS = ("overhead_ms", "bare_flare_ms", "overhead_ratio", "start_seconds", "hub_rss_mb", "wire_ratio")
PUTS = ("plain_put_ms", "durable_put_ms")
GOSSIP = ("exchange_ms", "whole_ms", *PUTS, "exchange_ratio", "whole_ratio")
SECURE = ("secure_ms", "plain_ms")
COST = ("update_mb", "site_ms", "check_ms", "average_ms_per_site")

HEAD = """# Rounds and exchanges

`make bench-rounds`. Hub, couriers and sites are real processes on one machine, over mutual TLS on loopback; the sites
train in no time. Figures are medians.

**Overhead** is a whole round but for the training: request, tensors down (large ones only if the site was not offered
them before, for either side), update up, checks, average, checkpoint,
offer, and the sites' servers behind their couriers. **Bare FLARE** is a job that only moves the same tensors between
FLARE's server and as many clients, polling 20 times a second. **Start** is from the click at a site to the first
training. **Hub memory** is the most that all processes of the hub hold above their idle; in payloads beside it."""
WIRE = "**Wire** is all that passes between hub and couriers from the click to the end of a run, over its payloads."
EXCHANGE = """**Exchange** is from a payload on the sender's disk until the receiver has checked, stored and accepted
it. **Whole** is from lending the model to the known outcome, with the site servers at both ends, each of which gives or
gets the payload once more. **Plain PUT** is the same bytes from disk to a dozen lines behind uvicorn with the same TLS
settings, which write them to a file; **durable**, with fsync. An exchange needs none: a visit that is lost is sent
again."""
COSTS = """**Encodings**: what a site needs to make an update, and the hub to check one and to average it. `privacy` is
float32 with differential privacy."""
SECURE_SUMS = """**Secure sums**: a round whose updates the hub sees as a sum only, and the same without; what the parts
of a secure sum take alone is in `secure.md`."""


def collect(cells: Mapping[str, Mapping[str, Any]]) -> Tables:
    """Key -> payload in MB -> sites, way or encoding -> figure; keys without a cell are empty."""
    tables: Tables = {key: {} for key in (*KEYS, *GOSSIP, *COST, *SECURE)}
    for name, cell in cells.items():
        _, payload, which = name.split("/")
        more = {}
        if "plain_put_ms" in cell:
            more = {f"{k}_ratio": cell[f"{k}_ms"] / cell["plain_put_ms"] for k in ("exchange", "whole")}
        for key, value in {**cell, **more}.items():
            if key in tables:
                tables[key].setdefault(payload, {})[which] = float(f"{value:.4g}")
    return tables


def table(tables: Tables) -> str:
    """Markdown, with what each figure is."""
    parts = [
        HEAD,
        _rows(
            ("payload", "sites", "overhead", "bare FLARE", "ratio", "start", "hub memory", "in payloads"),
            [
                (
                    f"{payload} MB",
                    sites,
                    _shown(tables, "overhead_ms", payload, sites, " ms"),
                    _shown(tables, "bare_flare_ms", payload, sites, " ms"),
                    _shown(tables, "overhead_ratio", payload, sites),
                    _shown(tables, "start_seconds", payload, sites, " s"),
                    _shown(tables, "hub_rss_mb", payload, sites, " MB"),
                    f"{memory / float(payload):.1f}",
                )
                for payload, row in tables["hub_rss_mb"].items()
                for sites, memory in sorted(row.items(), key=lambda item: int(item[0]))
            ],
        ),
        WIRE,
        _rows(
            ("payload", "sites", "wire / payload"),
            [(f"{p} MB", n, f"{v:.3f}") for p, row in tables["wire_ratio"].items() for n, v in row.items()],
        ),
        EXCHANGE,
        _rows(
            ("payload", "way", "exchange", "whole", "plain PUT", "durable PUT", "exchange / plain", "whole / plain"),
            [
                (
                    f"{payload} MB",
                    way,
                    f"{value:.0f} ms",
                    _shown(tables, "whole_ms", payload, way, " ms"),
                    *(_shown(tables, key, payload, way, " ms") for key in PUTS),
                    _shown(tables, "exchange_ratio", payload, way),
                    _shown(tables, "whole_ratio", payload, way),
                )
                for payload, row in tables["exchange_ms"].items()
                for way, value in row.items()
            ],
        ),
        COSTS,
        _rows(
            ("payload", "encoding", "update", "site", "hub: check", "hub: average"),
            [
                (
                    f"{payload} MB",
                    name,
                    f"{value:.1f} MB",
                    _shown(tables, "site_ms", payload, name, " ms"),
                    _shown(tables, "check_ms", payload, name, " ms"),
                    _shown(tables, "average_ms_per_site", payload, name, " ms"),
                )
                for payload, row in tables["update_mb"].items()
                for name, value in row.items()
            ],
        ),
        SECURE_SUMS,
        _rows(
            ("payload", "sites", "secure", "plain"),
            [
                (f"{payload} MB", sites, f"{value:.0f} ms", _shown(tables, "plain_ms", payload, sites, " ms"))
                for payload, row in tables["secure_ms"].items()
                for sites, value in row.items()
            ],
        ),
    ]
    return "\n\n".join(parts) + "\n"


def _rows(head: tuple[str, ...], rows: list[tuple[str, ...]]) -> str:
    return "\n".join(f"| {' | '.join(row)} |" for row in (head, tuple("---" for _ in head), *rows))


def _shown(tables: Tables, key: str, payload: str, which: str, unit: str = "") -> str:
    value = tables[key].get(payload, {}).get(which)
    if value is None:
        return ""
    return f"{value:.0f}{unit}" if value >= 100 else f"{value:.3g}{unit}"
