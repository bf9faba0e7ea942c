"""Downloads that break off, lie, or find no room."""

from __future__ import annotations

import hashlib
import resource
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from filelock import FileLock

from monailabel_app.errors import Conflict, StateError, Unavailable
from monailabel_app.models.download import download
from tests.monailabel_app.models.file_server import FileServer, serve

BODY = np.random.default_rng(3).bytes(3_000_000)
DIGEST = f"sha256:{hashlib.sha256(BODY).hexdigest()}"


@pytest.fixture
def server() -> Iterator[FileServer]:
    with serve(BODY) as running:
        yield running


def _get(server: FileServer, target: Path, **options: object) -> list[float]:
    waits: list[float] = []
    download(server.url, target, **{"digest": DIGEST, "wait": waits.append, **options})  # type: ignore[arg-type]
    return waits


def test_a_file_comes_with_progress_and_only_once(server: FileServer, tmp_path: Path) -> None:
    target, seen = tmp_path / "new" / "base.pth", []
    _get(server, target, received=lambda here, total: seen.append((here, total)))
    assert target.read_bytes() == BODY
    assert seen == sorted(seen)
    assert seen[-1] == (len(BODY), len(BODY))
    assert {p.name for p in target.parent.iterdir()} <= {"base.pth", "base.pth.lock"}
    _get(server, target)
    assert len(server.asked) == 1


def test_md5_is_taken_too(server: FileServer, tmp_path: Path) -> None:
    _get(server, tmp_path / "base.pth", digest=f"md5:{hashlib.md5(BODY).hexdigest()}")
    assert (tmp_path / "base.pth").read_bytes() == BODY


def test_goes_on_where_it_broke_off(server: FileServer, tmp_path: Path) -> None:
    server.cut = [1_200_000, 700_000]
    _get(server, tmp_path / "base.pth")
    assert (tmp_path / "base.pth").read_bytes() == BODY
    assert server.asked[0] == ""
    starts = [int(asked.removeprefix("bytes=").removesuffix("-")) for asked in server.asked[1:]]
    assert len(starts) == 2
    assert 0 < starts[0] < starts[1] < len(BODY)


def test_goes_on_in_a_later_process(server: FileServer, tmp_path: Path) -> None:
    server.cut = [2_000_000]
    with pytest.raises(Unavailable, match="did not send") as caught:
        _get(server, tmp_path / "base.pth", attempts=0)
    assert "what has come is kept" in caught.value.hint
    assert not (tmp_path / "base.pth").exists()
    _get(server, tmp_path / "base.pth")
    assert server.asked[1].startswith("bytes=")
    assert (tmp_path / "base.pth").read_bytes() == BODY


def test_starts_over_where_the_server_has_no_ranges(server: FileServer, tmp_path: Path) -> None:
    server.cut, server.ranges = [1_500_000], False
    _get(server, tmp_path / "base.pth")
    assert (tmp_path / "base.pth").read_bytes() == BODY


def test_starts_over_where_the_file_has_changed(server: FileServer, tmp_path: Path) -> None:
    server.cut = [2_000_000]
    with pytest.raises(Unavailable):
        _get(server, tmp_path / "base.pth", attempts=0)
    server.body, server.etag = BODY[::-1], '"second"'
    _get(server, tmp_path / "base.pth", digest=f"sha256:{hashlib.sha256(BODY[::-1]).hexdigest()}")
    assert (tmp_path / "base.pth").read_bytes() == BODY[::-1]


def test_a_part_longer_than_the_file_is_dropped(server: FileServer, tmp_path: Path) -> None:
    (tmp_path / "base.pth.part").write_bytes(BODY + b"more")
    (tmp_path / "base.pth.part.from").write_text(server.etag)
    _get(server, tmp_path / "base.pth")
    assert (tmp_path / "base.pth").read_bytes() == BODY


def test_wrong_digest_leaves_nothing(server: FileServer, tmp_path: Path) -> None:
    with pytest.raises(Unavailable, match="another digest"):
        _get(server, tmp_path / "base.pth", digest="sha256:" + "0" * 64)
    assert not list(tmp_path.glob("base.pth")) + list(tmp_path.glob("*.part"))


def test_waits_longer_while_the_server_is_busy_and_gives_up(server: FileServer, tmp_path: Path) -> None:
    server.statuses = [503, 503, 429, 200]
    waits = _get(server, tmp_path / "base.pth")
    assert waits == [1.0, 2.0, 4.0]
    server.statuses = [503] * 9
    with pytest.raises(Unavailable, match="HTTPError"):
        _get(server, tmp_path / "other.pth", attempts=3)
    assert len(server.statuses) == 6


def test_a_missing_file_is_not_asked_for_again(server: FileServer, tmp_path: Path) -> None:
    server.statuses = [404]
    with pytest.raises(Unavailable, match="HTTPError"):
        _get(server, tmp_path / "base.pth")
    assert len(server.asked) == 1


def test_full_disk(server: FileServer, tmp_path: Path) -> None:
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, before[1]))
    try:
        with pytest.raises(StateError, match="cannot be written") as caught:
            _get(server, tmp_path / "base.pth")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert "free some space" in caught.value.hint
    assert str(tmp_path) not in str(caught.value)
    _get(server, tmp_path / "base.pth")
    assert server.asked[1].startswith("bytes=")


def test_folder_that_cannot_be_made(server: FileServer, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(StateError, match="cannot be written"):
        _get(server, tmp_path / "file" / "base.pth")


def test_one_download_at_a_time(server: FileServer, tmp_path: Path) -> None:
    with FileLock(tmp_path / "base.pth.lock"), pytest.raises(Conflict, match="already"):
        _get(server, tmp_path / "base.pth")


def test_only_http(tmp_path: Path) -> None:
    with pytest.raises(Unavailable, match="no address"):
        download("file:///etc/hosts", tmp_path / "base.pth", digest=DIGEST)
