"""The audit log: nothing passes without an entry, and nobody changes one without being noticed."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from fed_backend.cli import fedseg
from monailabel_app.errors import AuditError, NotFound, StateError
from monailabel_app.state.audit import GENESIS, AuditLog, Entry, read_audit, verify
from monailabel_app.state.database import Database


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "state"


@pytest.fixture
def database(folder: Path) -> Iterator[Database]:
    folder.mkdir()
    database = Database(folder / "site.sqlite")
    yield database
    database.close()


def fill(log: AuditLog, count: int = 5) -> list[Entry]:
    return [log.append("received", "courier", "train", data=bytes([n]), round=n) for n in range(count)]


def tamper(folder: Path, statement: str) -> None:
    """As somebody with the file and sqlite would: the triggers dropped first."""
    with sqlite3.connect(folder / "site.sqlite") as connection:
        connection.execute("DROP TRIGGER audit_is_never_changed")
        connection.execute("DROP TRIGGER audit_is_never_shortened")
        connection.execute(statement)
    connection.close()


def test_an_entry_says_what_moved_when_and_for_whom(database: Database) -> None:
    log = AuditLog(database, clock=lambda: "2026-01-02T03:04:05Z")
    first = log.append("asked", "dr-lee", "start 3 rounds of fedavg", plan_sha256="a" * 64, federation_round="r1")
    second = log.append("sent", "courier", "train", data=b"payload", federation_round="r1", round=2)
    assert (first.seq, first.previous, first.sha256, first.bytes) == (1, GENESIS, None, None)
    assert (second.seq, second.previous, second.bytes, second.round) == (2, first.hash, 7, 2)
    assert second.sha256 == "239f59ed55e737c77147cf55ad0c1b030b6d7ee748a7426952f9b852d5a935e5"
    assert log.list() == [first, second]
    assert log.list(after=1) == [second]
    assert log.head() == verify(log.list()) == (2, second.hash)


def test_what_was_written_cannot_be_changed_or_removed_through_the_site(database: Database) -> None:
    entries = fill(AuditLog(database))
    for statement in ("UPDATE audit SET who = 'nobody'", "DELETE FROM audit WHERE seq = 5"):
        with pytest.raises(StateError, match="append-only"):
            database.execute(statement)
    assert AuditLog(database).list() == entries


@pytest.mark.parametrize(
    ("statement", "found"),
    [
        ("UPDATE audit SET bytes = 9 WHERE seq = 3", "entry 3 of .* was changed"),
        ("UPDATE audit SET who = 'dr-lee' WHERE seq = 1", "entry 1 of .* was changed"),
        ("DELETE FROM audit WHERE seq = 2", "entry 2 is missing"),
        ("DELETE FROM audit WHERE seq = 1", "entry 1 is missing"),
    ],
)
def test_a_change_behind_the_sites_back_is_found(database: Database, folder: Path, statement: str, found: str) -> None:
    fill(AuditLog(database))
    tamper(folder, statement)
    with pytest.raises(AuditError, match=found):
        verify(read_audit(folder))


def test_a_log_written_anew_or_cut_at_its_end_is_found_by_a_hash_noted_before(database: Database, folder: Path) -> None:
    noted = fill(AuditLog(database))[-1].hash
    AuditLog(database).append("paused", "dr-lee", "rounds")
    assert verify(read_audit(folder), head=noted).entries == 6
    tamper(folder, "DELETE FROM audit WHERE seq >= 5")
    assert verify(read_audit(folder)).entries == 4
    with pytest.raises(AuditError, match="removed or written anew"):
        verify(read_audit(folder), head=noted)


@given(st.data())
def test_every_value_of_every_entry_is_covered_by_its_hash(data: Any) -> None:
    facts = (1, "2026", "sent", "courier", "ab", 3, "cd", "r", 0, "train", GENESIS)
    entry = Entry(*facts, hash=Entry(*facts, hash="").expected_hash())
    name = data.draw(st.sampled_from(["at", "event", "who", "sha256", "plan_sha256", "federation_round", "note"]))
    other = data.draw(st.one_of(st.none(), st.text(max_size=4)).filter(lambda value: value != getattr(entry, name)))
    with pytest.raises(AuditError, match="was changed"):
        verify([replace(entry, **{name: other})])


def test_the_command_checks_a_running_site_and_names_what_is_wrong(database: Database, folder: Path) -> None:
    entries = fill(AuditLog(database))
    runner = CliRunner()
    good = runner.invoke(fedseg, ["audit", "verify", str(folder), "--head", entries[1].hash])
    assert (good.exit_code, good.output) == (0, f"5 entries, unbroken; head {entries[-1].hash}\n")
    shown = runner.invoke(fedseg, ["audit", "show", str(folder)])
    assert len(shown.output.splitlines()) == 5
    tamper(folder, "UPDATE audit SET bytes = 0 WHERE seq = 4")
    bad = runner.invoke(fedseg, ["audit", "verify", str(folder)])
    assert bad.exit_code == 2
    assert "entry 4" in bad.output
    with pytest.raises(NotFound):
        list(read_audit(folder / "elsewhere"))


def test_where_the_log_cannot_be_written_nothing_goes_on(database: Database) -> None:
    log = AuditLog(database)
    database.execute("DROP TABLE audit")
    with pytest.raises(StateError):
        log.append("sent", "courier", "train", data=b"x")
