"""Quick while busy, described, guarded."""

from __future__ import annotations

import statistics
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import requests

pytestmark = pytest.mark.slow

Until = Callable[..., Any]


def test_info_is_quick_while_an_inference_and_a_training_run(
    site: Any,
    truth: Callable[[str, Path, Path], Path],
    until: Until,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert site.save("ras", truth("ras", site.studies, tmp_path)).status_code == 200
    requests.post(f"{site.url}/learning", json={"model": "unet", "steps": 5000}, timeout=30).raise_for_status()
    until(lambda: site.get("/learning").json()["progress"] > 0)
    done = threading.Event()
    inferences: list[float] = []

    def keep_busy() -> None:
        while not done.is_set():
            start = time.perf_counter()
            assert site.infer("zlarge").status_code == 200
            inferences.append(time.perf_counter() - start)

    busy = threading.Thread(target=keep_busy)
    busy.start()
    try:
        seconds = []
        with requests.Session() as session:
            session.get(f"{site.url}/info/", timeout=30)
            while len(seconds) < 150 or not inferences:
                start = time.perf_counter()
                assert session.get(f"{site.url}/info/", timeout=30).status_code == 200
                seconds.append(time.perf_counter() - start)
                time.sleep(0.02)
        assert site.get("/learning").json()["state"] == "training"
    finally:
        done.set()
        busy.join()
        requests.delete(f"{site.url}/learning", timeout=30)
    until(lambda: site.get("/learning").json()["state"] == "cancelled")
    median, p95 = statistics.median(seconds) * 1000, statistics.quantiles(seconds, n=20)[-1] * 1000
    with capsys.disabled():
        print(f"\n/info/ while inferring and training: median {median:.1f} ms, p95 {p95:.1f} ms, n = {len(seconds)}, "
              f"inference {statistics.median(inferences):.2f} s")  # fmt: skip
    assert median < 30, "40 ms is what Nagle's algorithm costs"
    assert p95 < 250, "even a loaded test machine answers quickly"


def test_openapi_is_a_superset_of_the_stock_one(site: Any) -> None:
    from monailabel.app import app as stock

    ours, theirs = site.get("/openapi.json").json(), stock.openapi()
    for path, operations in theirs["paths"].items():
        for method, operation in operations.items():
            mine = ours["paths"].get(path, {}).get(method)
            assert mine is not None, f"{method.upper()} {path} is missing"
            wanted = {(p["in"], p["name"]) for p in operation.get("parameters", [])}
            have = {(p["in"], p["name"]) for p in mine.get("parameters", [])}
            assert wanted <= have, f"{method.upper()} {path} lacks {wanted - have}"
    assert {"/learning", "/versions", "/corrections", "/federation"} <= set(ours["paths"])


def test_pages_of_monai_label_are_there(site: Any) -> None:
    assert "swagger" in site.get("/").text.lower()
    assert site.get("/docs").status_code == 200
    assert site.get("/info").json()["name"] == site.get("/info/").json()["name"]


def test_the_stock_login_flow(guarded: Any) -> None:
    from monailabel.client import MONAILabelClient
    from monailabel.client.client import MONAILabelClientException

    client = MONAILabelClient(guarded.url)
    assert client.auth_enabled()
    assert not client.auth_valid_token()
    with pytest.raises(MONAILabelClientException):
        client.info()
    with pytest.raises(MONAILabelClientException):
        client.auth_token("ada", "a guess")
    client.update_auth(client.auth_token("ada", "ada secret"))
    assert client.auth_valid_token()
    assert client.info()["fedseg"]["role"] == "admin"


def token_of(site: Any, name: str) -> dict[str, str]:
    reply = requests.post(
        f"{site.url}/auth/token",
        data={"username": name, "password": f"{name} secret", "grant_type": "password"},
        timeout=30,
    )
    return {"Authorization": f"Bearer {reply.json()['access_token']}"}


def test_each_role_may_do_what_the_ones_below_may(
    guarded: Any, truth: Callable[[str, Path, Path], Path], tmp_path: Path
) -> None:
    ann, vic = token_of(guarded, "ann"), token_of(guarded, "vic")
    mask = truth("ras", guarded.studies, tmp_path).read_bytes()

    def attempt(method: str, path: str, who: dict[str, str] | None, **options: Any) -> int:
        return requests.request(method, guarded.url + path, headers=who, timeout=60, **options).status_code

    assert attempt("GET", "/info/", None) == 401
    assert attempt("GET", "/versions", None) == 401
    assert attempt("GET", "/versions", vic) == 200
    assert attempt("POST", "/infer/unet?image=ras", vic) == 403
    assert attempt("POST", "/infer/unet?image=ras&output=json", ann) == 200
    files = {"label": ("m.nii.gz", mask)}
    assert attempt("PUT", "/datastore/label?image=ras&tag=final", vic, files=files) == 403
    assert attempt("PUT", "/datastore/label?image=ras&tag=draft", ann, files=files) in {200, 422}
    version = requests.get(f"{guarded.url}/versions", headers=vic, timeout=30).json()["champion"]["unet"]
    assert attempt("POST", f"/versions/{version}/promote", ann, json={"reason": "x"}) == 403
    assert attempt("DELETE", "/datastore/image?id=ras", ann) == 403
    assert attempt("POST", "/federation/train", None, data=b"x") == 401
    assert attempt("GET", "/federation/courier/requests", vic) == 401


def test_cases_of_one_patient_share_a_part_and_it_is_shown(guarded: Any) -> None:
    parts = requests.get(f"{guarded.url}/learning/gate", headers=token_of(guarded, "vic"), timeout=30).json()["parts"]
    assert (parts["lps"], parts["thick"]) == ("validation", "validation")


def test_nothing_to_learn_from_and_the_author_is_the_caller(guarded: Any, tmp_path: Path) -> None:
    import nibabel as nib
    import numpy as np

    refused = requests.post(f"{guarded.url}/train/unet", headers=token_of(guarded, "ada"), timeout=30)
    assert (refused.status_code, refused.json()["error"]) == (409, "Conflict")
    assert "no corrected training case" in refused.json()["detail"]

    image = nib.load(guarded.studies / "lps.nii.gz")
    nib.save(nib.Nifti1Image(np.ones(image.shape, np.uint8), image.affine), tmp_path / "m.nii.gz")
    ann = token_of(guarded, "ann")
    reply = requests.put(
        f"{guarded.url}/datastore/label?image=lps&tag=final",
        headers=ann,
        files={"label": ("m.nii.gz", (tmp_path / "m.nii.gz").read_bytes())},
        data={"params": '{"author": "somebody else"}'},
        timeout=60,
    )
    assert reply.status_code == 200, reply.text
    found = requests.get(f"{guarded.url}/corrections", headers=ann, timeout=30).json()["corrections"]
    assert [c["author"] for c in found if c["case"] == "lps"] == ["ann"]


def test_kill_9_in_the_middle_of_learning_loses_nothing(
    guarded: Any, restart: Callable[[Any], Any], until: Until, tmp_path: Path
) -> None:
    """The last test of this site: it is killed, and another one takes over its state."""
    import nibabel as nib
    import numpy as np
    import psutil

    ada = token_of(guarded, "ada")
    image = nib.load(guarded.studies / "ras.nii.gz")
    mask = np.zeros(image.shape, np.uint8)
    mask[6:14, 8:18, 2:6] = 1
    nib.save(nib.Nifti1Image(mask, image.affine), tmp_path / "m.nii.gz")
    saved = requests.put(
        f"{guarded.url}/datastore/label?image=ras&tag=final",
        headers=ada,
        files={"label": ("m.nii.gz", (tmp_path / "m.nii.gz").read_bytes())},
        timeout=60,
    )
    assert saved.json()["part"] == "train"
    requests.post(f"{guarded.url}/learning", headers=ada, json={"steps": 5000}, timeout=30).raise_for_status()
    until(lambda: requests.get(f"{guarded.url}/learning", headers=ada, timeout=30).json()["progress"] > 0)
    before = {p: requests.get(guarded.url + p, headers=ada, timeout=30).json() for p in ("/corrections", "/versions")}
    learner = psutil.Process(guarded.process.pid).children()
    assert learner
    guarded.process.kill()
    guarded.process.wait(10)
    _, alive = psutil.wait_procs(learner, timeout=10)
    assert not alive, "the learner must not outlive its site"

    again = restart(guarded)
    assert {path: again.get(path).json() for path in before} == before
    learning = again.get("/learning").json()
    assert learning["state"] == "failed"
    assert "stopped" in learning["message"]
    assert again.infer("ras").status_code == 200
    kept = again.get("/datastore/label", params={"label": "ras", "tag": "final"})
    (tmp_path / "back.nii.gz").write_bytes(kept.content)
    assert np.array_equal(np.asarray(nib.load(tmp_path / "back.nii.gz").dataobj), mask)


def test_a_small_picture_of_every_case(site: Any) -> None:
    for case in ("oblique", "picture"):
        reply = site.get("/datastore/image/thumbnail", params={"image": case, "size": 48})
        assert (reply.status_code, reply.headers["content-type"]) == (200, "image/png")
        assert reply.content[:8] == b"\x89PNG\r\n\x1a\n"
    assert site.get("/datastore/image/thumbnail", params={"image": "../x"}).status_code in (400, 404)
    assert site.get("/datastore/image/thumbnail", params={"image": "zbroken"}).status_code == 422
    assert site.get("/datastore/image/thumbnail", params={"image": "ras", "size": 5000}).status_code == 422
