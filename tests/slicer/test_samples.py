"""L4: sample volumes: made here, registered with their checksums, fetched as Slicer's Sample Data module does."""

from __future__ import annotations

import hashlib
import sys
import threading
import types
import urllib.request
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import sample_data
from FedSegLib.samples import RELEASE, SAMPLES


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: Any) -> None:
        """Keep quiet."""


@pytest.fixture
def release(tmp_path: Path) -> Iterator[str]:
    """The release's files on loopback."""
    folder = tmp_path / "release"
    folder.mkdir()
    for number in (1, 2):
        (folder / f"fedseg-lesion-{number}.nrrd").write_bytes(sample_data.sample_file(number))
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(folder))) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()
        thread.join()


class Logic:
    """Slicer's SampleDataLogic: takes what the original takes, and nothing else."""

    sources: list[dict[str, Any]]

    @classmethod
    def registerCustomSampleDataSource(
        cls, category: str = "Custom", sampleName: Any = None, uris: Any = None, fileNames: Any = None,
        nodeNames: Any = None, customDownloader: Any = None, thumbnailFileName: Any = None,
        loadFileType: str = "VolumeFile", loadFiles: Any = None, loadFileProperties: Any = None, checksums: Any = None,
    ) -> None:  # fmt: skip
        cls.sources.append({key: value for key, value in locals().items() if key != "cls"})


@pytest.fixture
def registered(qapp: Any, scene: Any, monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """What the module registers when Slicer has started."""
    import FedSeg
    import slicer
    from standins.scripted import Description

    Logic.sources = []
    module = types.ModuleType("SampleData")
    module.SampleDataLogic = Logic  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "SampleData", module)
    monkeypatch.setattr(slicer.app, "started", [])
    FedSeg.FedSeg(Description())
    assert Logic.sources == []  # nothing happens before Slicer has started
    for call in slicer.app.started:
        call()
    return Logic.sources


def fetch(source: dict[str, Any], base: str, folder: Path) -> Path:
    """Download and verify as the Sample Data module does: the algorithm and the digest are in the checksum."""
    algorithm, digest = source["checksums"].split(":")
    content = urllib.request.urlopen(source["uris"].replace(RELEASE, base), timeout=10).read()
    if hashlib.new(algorithm.lower(), content).hexdigest() != digest:
        raise ValueError("the checksum does not fit")
    path = folder / source["fileNames"]
    path.write_bytes(content)
    return path


def test_samples_are_fetched_verified_and_loaded(
    registered: list[dict[str, Any]], release: str, tmp_path: Path, scene: Any
) -> None:
    import slicer

    assert [source["sampleName"] for source in registered] == [sample.name for sample in SAMPLES]
    for number, source in enumerate(registered, 1):
        assert source["category"] == "FedSeg"
        assert source["uris"].startswith("https://")
        assert Path(source["thumbnailFileName"]).is_file()
        path = fetch(source, release, tmp_path)
        node = slicer.modules.volumes.logic().AddArchetypeVolume(str(path), source["nodeNames"], 0)
        voxels = slicer.util.arrayFromVolume(node).transpose(2, 1, 0)
        assert np.array_equal(voxels, sample_data.sample(number))
        assert (voxels > 380).sum() > 300, "there is a lesion to be seen"


def test_a_file_that_was_changed_is_refused(registered: list[dict[str, Any]], release: str, tmp_path: Path) -> None:
    path = tmp_path / "release" / "fedseg-lesion-1.nrrd"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    with pytest.raises(ValueError, match="checksum"):
        fetch(registered[0], release, tmp_path)
