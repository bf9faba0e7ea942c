"""One real site server: sessions over HTTP, records, propagation, champions, restarts."""

from __future__ import annotations

import base64
import json
import os
import signal
import subprocess
import sys
import time
import zlib
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
import requests
from PIL import Image

from monailabel_app.imaging.files import read_volume
from monailabel_app.imaging.volume import Volume
from monailabel_app.interactive.wire import unpack

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[3]
SHAPE = (26, 30, 9)
Build = Callable[[str], Volume]


class Client:
    """What an annotator's program does."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.process: subprocess.Popen[bytes] | None = None
        self.url = ""

    def start(self, *options: str) -> None:
        ready = self.folder / "ready.json"
        ready.unlink(missing_ok=True)
        command = [sys.executable, "-m", "monailabel_app", "site", "start", "--studies", str(self.folder / "studies")]
        command += ["--state", str(self.folder / "state"), "--port", "0", "--ready-file", str(ready), "--name", "north"]
        command += ["--model", "sam", "--labels", "tumour=1,core=2", *options]
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
        with (self.folder / "server.log").open("ab") as log:
            self.process = subprocess.Popen(command, cwd=self.folder, env=environment, stdout=log, stderr=log)
        deadline = time.monotonic() + 200
        while not ready.exists():
            assert self.process.poll() is None, (self.folder / "server.log").read_text()[-3000:]
            assert time.monotonic() < deadline
            time.sleep(0.1)
        self.url = json.loads(ready.read_text())["url"]

    def stop(self, number: int = signal.SIGTERM) -> int:
        assert self.process is not None
        self.process.send_signal(number)
        return self.process.wait(30)

    def call(self, method: str, path: str, **options: Any) -> requests.Response:
        return requests.request(method, self.url + path, timeout=120, **options)

    def open(self, case: str, **body: Any) -> str:
        reply = self.call("POST", "/sessions", json={"image": case, **body})
        assert reply.status_code == 201, reply.text
        return str(reply.json()["session"])

    def prompt(self, session: str, **body: Any) -> tuple[dict[str, Any], np.ndarray | None]:
        reply = self.call("POST", f"/sessions/{session}/prompts", json=body)
        assert reply.status_code == 200, reply.text
        return unpack(reply.content)

    def refused(self, method: str, path: str, **options: Any) -> tuple[int, dict[str, str]]:
        reply = self.call(method, path, **options)
        told = reply.json()
        assert {"error", "detail", "hint"} <= told.keys()
        assert str(self.folder) not in reply.text
        return reply.status_code, told

    def eventually(self, path: str, holds: Callable[[dict[str, Any]], bool], seconds: float = 90) -> dict[str, Any]:
        deadline = time.monotonic() + seconds
        while True:
            told: dict[str, Any] = self.call("GET", path).json()
            if holds(told):
                return told
            assert time.monotonic() < deadline, told
            time.sleep(0.05)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    folder = tmp_path_factory.mktemp("interactive")
    studies = folder / "studies"
    studies.mkdir()
    i, j, k = np.ogrid[:26, :30, :9]
    inside = ((i - 12) / 7) ** 2 + ((j - 14) / 8) ** 2 + ((k - 4) / 3) ** 2 <= 1
    voxels = (np.random.default_rng(3).normal(100, 12, SHAPE) + 120 * inside).astype(np.float32)
    for name in ("one", "two", "three", "gone"):
        nib.save(nib.Nifti1Image(voxels, np.diag([-0.7, 0.7, 4.0, 1])), studies / f"{name}.nii.gz")
    nib.save(nib.Nifti1Image(np.zeros((6, 6, 4, 5), dtype=np.int16), np.eye(4)), studies / "time.nii.gz")
    holed = voxels.copy()
    holed[3, 3, 3] = np.nan
    nib.save(nib.Nifti1Image(holed, np.eye(4)), studies / "holed.nii.gz")
    Image.fromarray(np.random.default_rng(1).integers(0, 255, (40, 52, 3), dtype=np.uint8)).save(studies / "photo.png")
    header = nib.Nifti1Image(np.zeros((2, 2, 2), dtype=np.uint8), np.eye(4)).header
    header.set_data_shape((30000, 30000, 20000))
    (studies / "huge.nii").write_bytes(header.binaryblock + b"\0" * 4)
    client = Client(folder)
    client.start()
    yield client
    assert client.stop() == 0, (folder / "server.log").read_text()[-3000:]


def test_clicks_change_a_box_and_undo_takes_it_back(site: Client) -> None:
    session = site.open("one")
    header, voxels = site.prompt(session, foreground=[[12, 14, 4]])
    assert header["step"] == 1
    assert header["version"].startswith("sam-0000")
    assert header["slices"] == [4, 4]
    assert {"features", "decode", "total"} <= header["milliseconds"].keys()
    assert header["window"]["kind"] == "mr"
    assert voxels is not None
    assert set(np.unique(voxels)) <= {0, 1}
    again, _ = site.prompt(session, foreground=[[11, 14, 4]], label="core")
    assert again["features"] == ["memory"]
    as_json = site.call("POST", f"/sessions/{session}/undo", headers={"Accept": "application/json"}).json()
    raw = zlib.decompress(base64.b64decode(as_json["voxels"]))
    low, high = np.array(as_json["box"][:3]), np.array(as_json["box"][3:])
    assert len(raw) == np.prod(high - low + 1)
    for what, status in (("undo", 200), ("undo", 400), ("redo", 200), ("redo", 200), ("redo", 400)):
        assert site.call("POST", f"/sessions/{session}/{what}").status_code == status
    told = site.call("GET", f"/sessions/{session}").json()
    assert (told["undo"], told["redo"], told["shape"]) == (2, 0, list(SHAPE))
    assert site.call("DELETE", f"/sessions/{session}").json()["closed"]
    assert site.refused("GET", f"/sessions/{session}")[0] == 404


def test_a_case_id_stands_for_its_newest_session(site: Client) -> None:
    session = site.open("two")
    header, _ = site.prompt("two", axis="sagittal", box=[12, 8, 2, 12, 20, 6])
    assert header["session"] == session
    assert header["axis"] == "i"


def test_every_bad_request_is_answered_and_the_session_goes_on(site: Client) -> None:
    session = site.open("one")
    path = f"/sessions/{session}/prompts"
    for body, status in (
        ({"foreground": [[99, 0, 0]]}, 422),
        ({}, 400),
        ({"label": "liver", "foreground": [[1, 1, 1]]}, 422),
        ({"foreground": [[1, 1]]}, 422),
        ({"foreground": "everywhere"}, 422),
        ({"colour": 1}, 422),
        ({"scribbles": [{"box": [0, 0, 0, 1, 1, 0], "bits": "AAAA"}]}, 400),
    ):
        assert site.refused("POST", path, json=body)[0] == status
    for case, status, words in (
        ("nobody", 404, "no image"),
        ("time", 422, "axes"),
        ("holed", 422, "NaN"),
        ("huge", 413, "GiB"),
        ("../one", 400, "identifier"),
    ):
        code, told = site.refused("POST", "/sessions", json={"image": case})
        assert (code, words in told["detail"]) == (status, True), told
    assert (
        site.refused("POST", "/sessions", json={"image": "one", "window": {"mode": "preset", "preset": "lung"}})[0]
        == 400
    )
    assert site.refused("POST", f"/sessions/{session}/view", json={"index": 9})[0] == 400
    assert site.refused("GET", f"/sessions/{session}/propagate")[0] == 404
    assert site.prompt(session, foreground=[[12, 14, 4]])[0]["step"] == 1


def test_an_image_that_was_removed_or_replaced_is_told(site: Client) -> None:
    session = site.open("gone")
    site.prompt(session, foreground=[[12, 14, 4]])
    file = site.folder / "studies" / "gone.nii.gz"
    kept = file.read_bytes()
    file.unlink()
    assert site.refused("POST", f"/sessions/{session}/prompts", json={"foreground": [[12, 14, 4]]})[0] == 404
    assert site.call("POST", f"/sessions/{session}/undo").status_code == 200
    file.write_bytes(kept)
    assert site.refused("POST", f"/sessions/{session}/prompts", json={"foreground": [[12, 14, 4]]})[0] == 409


def test_nothing_of_a_deleted_image_is_left_to_the_next_one_of_its_name(site: Client, tmp_path: Path) -> None:
    for seed in (1, 2):
        voxels = np.random.default_rng(seed).normal(100, 12, SHAPE).astype(np.float32)
        nib.save(nib.Nifti1Image(voxels, np.eye(4)), tmp_path / f"{seed}.nii.gz")
        with (tmp_path / f"{seed}.nii.gz").open("rb") as file:
            added = site.call("PUT", "/datastore/image?image=again", files={"file": ("a.nii.gz", file)})
        assert added.status_code == 200, added.text
        session = site.open("again", initial=True)
        mask, _ = unpack(site.call("GET", f"/sessions/{session}/mask").content)
        assert mask["step"] == 0
        assert mask["box"] is None
        if seed == 1:
            features = site.folder / "state" / "embeddings" / read_volume(tmp_path / "1.nii.gz").identity[:32]
            site.prompt(session, foreground=[[12, 14, 4]])
            for index in range(SHAPE[2]):  # all features are computed: none comes after the image went
                while not site.call("POST", f"/sessions/{session}/view", json={"index": index}).json()["warm"]:
                    time.sleep(0.05)
            assert site.call("DELETE", "/datastore/image?id=again").status_code == 200
            assert not features.exists()
            assert site.refused("GET", f"/sessions/{session}")[0] == 404
    nib.save(nib.Nifti1Image(np.ones(SHAPE, np.uint8), np.eye(4)), tmp_path / "mask.nii.gz")
    with (tmp_path / "mask.nii.gz").open("rb") as file:
        saved = site.call("PUT", "/datastore/label?image=again&tag=final", files={"label": ("m.nii.gz", file)})
    kept = site.call("GET", f"/corrections/{saved.json()['correction']}").json()
    assert (kept["prompts"], kept["version_shown"]) == (0, None)


def test_a_colour_picture_is_prompted_as_it_is(site: Client) -> None:
    session = site.open("photo")
    header, _ = site.prompt(session, foreground=[[20, 20, 0]])
    assert header["window"]["kind"] == "colour"
    assert site.refused("POST", f"/sessions/{session}/prompts", json={"axis": "i", "foreground": [[1, 1, 0]]})[0] == 400


def test_propagation_reports_progress_and_is_one_step(site: Client) -> None:
    session = site.open("three")
    drawn = np.zeros((26, 30, 1), dtype=bool)
    drawn[6:19, 7:22] = True
    scribble = base64.b64encode(np.packbits(drawn).tobytes()).decode()
    for index in (2, 6):
        box = [0, 0, index, 25, 29, index]
        site.prompt(session, scribbles=[{"box": box, "bits": scribble}], background=[[0, 0, index], [25, 29, index]])
    before, _ = unpack(site.call("GET", f"/sessions/{session}/mask").content)
    started = site.call("POST", f"/sessions/{session}/propagate", json={})
    assert started.status_code == 202
    clicked, _ = site.prompt(session, label="core", foreground=[[12, 14, 0]], axis="k")  # served meanwhile
    assert clicked["step"] == before["step"] + 1
    done = site.eventually(f"/sessions/{session}/propagate", lambda told: told["state"] != "running")
    assert done["state"] == "done"
    assert done["first"] <= 3
    assert done["last"] >= 5
    assert done["step"] is not None
    header, voxels = unpack(site.call("GET", f"/sessions/{session}/changes", params={"since": done["since"]}).content)
    assert header["box"][2] <= 3 <= 5 <= header["box"][5]
    assert voxels is not None
    site.call("POST", f"/sessions/{session}/undo")
    undone, _ = unpack(site.call("GET", f"/sessions/{session}/mask").content)
    assert undone["undo"] == 3


def test_annotators_at_once_get_what_they_would_get_alone(site: Client) -> None:
    def work(number: int) -> bytes:
        session = site.open(("one", "two")[number % 2])
        for row in (10, 12, 14):
            site.prompt(session, foreground=[[row, 14, 4]], background=[[1, 1, 4]])
        header, voxels = unpack(site.call("GET", f"/sessions/{session}/mask").content)
        assert voxels is not None
        return json.dumps(header["box"]).encode() + voxels.tobytes()

    alone = work(0)
    with ThreadPoolExecutor(6) as pool:
        assert set(pool.map(work, range(6))) == {alone}


def test_prompts_and_the_mask_shown_belong_to_the_correction(site: Client, tmp_path: Path) -> None:
    session = site.open("one")
    header, voxels = site.prompt(session, scribbles=[{"box": [9, 9, 4, 15, 18, 4], "runs": [0, 70]}])
    image = nib.load(site.folder / "studies" / "one.nii.gz")
    mask = np.zeros(SHAPE, dtype=np.uint8)
    assert voxels is not None
    i0, j0, k0, i1, j1, k1 = header["box"]
    mask[i0 : i1 + 1, j0 : j1 + 1, k0 : k1 + 1] = voxels
    nib.save(nib.Nifti1Image(mask, image.affine), tmp_path / "mask.nii.gz")
    with (tmp_path / "mask.nii.gz").open("rb") as file:
        saved = site.call(
            "PUT", "/datastore/label", params={"image": "one", "tag": "final"}, files={"label": ("mask.nii.gz", file)}
        ).json()
    assert saved["dice_shown"] == pytest.approx(1.0)  # the mask on screen, not one of seconds ago
    stored = site.call("GET", "/corrections").json()["corrections"]
    told = next(one for one in stored if one["id"] == saved["correction"])
    assert told["prompts"] >= 1
    assert told["version_shown"] == header["version"]


def test_prompts_survive_kill_9_and_features_come_from_disk(site: Client) -> None:
    session = site.open("two")
    header, _ = site.prompt(session, foreground=[[12, 14, 5]], scribbles=[{"box": [3, 3, 5, 4, 4, 5], "runs": [0, 3]}])
    assert header["features"] != ["disk"]
    stored = site.folder / "state" / "embeddings"
    deadline = time.monotonic() + 60
    while len(list(stored.rglob("*.emb"))) < 2 * SHAPE[2]:  # of every slice: below the adapted blocks, and the result
        assert time.monotonic() < deadline
        time.sleep(0.05)
    site.stop(signal.SIGKILL)
    site.start()
    assert site.refused("POST", f"/sessions/{session}/prompts", json={"foreground": [[12, 14, 5]]})[0] == 404
    session = site.open("two", initial=True)
    again, _ = site.prompt(session, foreground=[[12, 14, 5]])
    assert again["features"][0] in {"disk", "memory", "joined"}
    import sqlite3

    with sqlite3.connect(site.folder / "state" / "site.sqlite") as records:
        rows = records.execute("SELECT author, prompts FROM prompts WHERE \"case\" = 'two' ORDER BY number").fetchall()
    last = json.loads(rows[-2][1])[0]
    assert last["foreground"] == [[12, 14, 5]]
    assert last["scribbles"] == [{"box": [3, 3, 5, 4, 4, 5], "runs": [0, 3], "positive": True}]
    assert last["axis"] == "k"


def test_openapi_names_the_addresses_beside_the_stock_ones(site: Client) -> None:
    paths = site.call("GET", "/openapi.json").json()["paths"]
    assert {"/sessions", "/sessions/{session}/prompts", "/session/"} <= paths.keys()


def test_features_stay_up_to_the_limit_that_the_site_is_given(tmp_path: Path) -> None:
    """6 GiB, of which no byte is on the disk: above the default, below the site's own limit."""
    (tmp_path / "studies").mkdir()
    folder = tmp_path / "state" / "embeddings" / ("0" * 32)
    folder.mkdir(parents=True)
    for name in "ab":
        with (folder / f"{name}.emb").open("wb") as file:
            file.truncate(3 * 2**30)
    client = Client(tmp_path)
    client.start("--features-limit", "8192")
    assert client.stop() == 0
    assert sorted(path.name for path in folder.iterdir()) == ["a.emb", "b.emb"]
