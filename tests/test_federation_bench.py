"""The federation benchmark's tables: what they say of a site that joins, and of interrupted runs."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench.federation_rows import Outcome, Row, Setting, add, done, read, rows_of
from bench.federation_table import Table, kept, table

ALONE, TEST = {"p1": 0.50, "p2": 0.60}, 0.55


def rows(method: str, validated: dict[str, float], test: float, seed: int = 0) -> list[Row]:
    outcome = Outcome()
    outcome.validated(method, "north", validated)
    outcome.dice[method, "north", "test"] = test
    return rows_of(Setting("lgg-5site", "unet", 10, 30, seed), outcome)


@pytest.mark.parametrize(
    ("validated", "serves"),
    [
        ({"p1": 0.80, "p2": 0.90}, 0.4),  # far better wherever it was measured: the gate cannot know the test cases
        ({"p1": 0.52, "p2": 0.63}, TEST),  # better on average by less than two cases can show
        ({"p1": 0.99, "p2": 0.58}, TEST),  # one case gains much, the other loses
        ({"p1": 0.40, "p2": 0.40}, TEST),
    ],
)
def test_a_site_that_joins_keeps_its_own_model_unless_its_gate_is_sure(
    validated: dict[str, float], serves: float
) -> None:
    scores = Table([*rows("local-only", ALONE, TEST), *rows("fedavg", validated, 0.4)])
    assert kept(scores, "fedavg") == {("north", 0): serves}


def test_a_cell_below_the_sites_own_model_is_counted() -> None:
    lines = table([*rows("local-only", ALONE, TEST), *rows("fedavg", {"p1": 0.8, "p2": 0.9}, 0.4)])
    heads = [head.strip() for head in lines[0].split("|")]
    fedavg = dict(zip(heads, (cell.strip() for cell in lines[3].split("|")), strict=True))
    assert (fedavg["method"], fedavg["below alone"], fedavg["joined, below"]) == ("FedAvg", "1 of 1", "1 of 1")
    assert (fedavg["joined"], fedavg["mean"]) == ("0.400", "0.400")


def test_an_interrupted_run_goes_on_where_it_was(tmp_path: Path) -> None:
    file, setting = tmp_path / "federation.json", Setting("lgg-5site", "unet", 10, 30, 1)
    assert not done(read(file), setting, "fedavg", "test")
    add(file, rows("fedavg", ALONE, TEST, seed=1))
    add(file, rows("fedavg", ALONE, TEST, seed=0))
    add(file, rows("fedavg", ALONE, TEST, seed=1))  # two processes may have been at the same
    found = read(file)
    assert len(found) == 4
    assert done(found, setting, "fedavg", "test")
    assert not done(found, setting, "fedsca", "test")
    assert Table(found).validated("fedavg")["north", 1] == {"p1": {"mean": 0.5}, "p2": {"mean": 0.6}}
