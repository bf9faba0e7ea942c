"""Whatever a client sends wrongly: a status, what is wrong, what to do; and nothing has changed."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
import requests

pytestmark = pytest.mark.slow


def explained(reply: requests.Response, status: int, error: str, *said: str) -> None:
    """The reply is ``status`` with ``{error, detail, hint}`` that says what; it names no server path."""
    assert reply.status_code == status, reply.text
    body = reply.json()
    assert set(body) == {"error", "detail", "hint"}
    assert body["error"] == error
    assert body["hint"]
    for text in said:
        assert text in body["detail"]
    assert "/tmp/" not in reply.text
    assert "Traceback" not in reply.text


@pytest.fixture(autouse=True)
def unchanged(site: Any) -> Iterator[None]:
    """Bad input leaves corrections, versions and the list of images as they were."""

    def state() -> Any:
        versions, objects = site.get("/versions").json(), site.get("/datastore/?output=all").json()["objects"]
        return site.get("/corrections").json(), versions, objects, sorted(p.name for p in site.studies.iterdir())

    before = state()
    yield
    assert state() == before


def infer(site: Any, model: str = "unet", params: str = "{}", **query: str) -> requests.Response:
    return requests.post(f"{site.url}/infer/{model}", params=query, data={"params": params}, timeout=60)


def test_unknown_image_and_model(site: Any) -> None:
    explained(infer(site, image="nobody"), 404, "NotFound", "'nobody'")
    explained(infer(site, "resnet", image="ras"), 404, "NotFound", "'resnet'")
    explained(infer(site), 400, "SiteError", "names no image")
    explained(requests.post(f"{site.url}/train/resnet", timeout=30), 404, "NotFound", "'resnet'")
    explained(requests.post(f"{site.url}/activelearning/oracle", timeout=30), 404, "NotFound", "'oracle'")
    explained(infer(site, image="", session_id="0" * 36), 404, "NotFound", "session")


@pytest.mark.parametrize("image", ["../site.sqlite", "/etc/hostname", "..", "a/b", "a\\b", "ras\x00"])
def test_ids_that_are_paths(site: Any, image: str, tmp_path: Path) -> None:
    explained(infer(site, image=image), 400, "SiteError", "is not an identifier")
    explained(site.get("/datastore/image", params={"image": image}), 400, "SiteError", "is not an identifier")
    mask = tmp_path / "m.nii.gz"
    mask.write_bytes(b"")
    explained(site.save(image, mask), 400, "SiteError", "is not an identifier")
    explained(site.save("ras", mask, tag=image), 400, "SiteError", "is not an identifier")
    reply = requests.put(
        f"{site.url}/datastore/image", params={"image": image}, files={"file": ("a.nii.gz", b"x")}, timeout=30
    )
    explained(reply, 400, "SiteError", "is not an identifier")


def test_a_sent_file_name_is_no_path_either(site: Any) -> None:
    data = (site.studies / "ras.nii.gz").read_bytes()
    reply = requests.put(f"{site.url}/datastore/image", files={"file": ("../../../ras.nii.gz", data)}, timeout=30)
    explained(reply, 409, "Conflict", "'ras'")


@pytest.mark.parametrize(
    "path", ["/session/..%2f..", "/session/%2e%2e", "/versions/..%2f..%2fsite.sqlite/report", "/infer/..%2fx?image=ras"]
)
def test_paths_in_addresses(site: Any, path: str) -> None:
    for method in ("GET", "DELETE", "POST"):
        reply = requests.request(method, site.url + path, timeout=30)
        assert reply.status_code in {404, 422}, (method, reply.text)
        assert set(reply.json()) == {"error", "detail", "hint"}


@pytest.mark.parametrize(
    ("params", "said"),
    [
        ("{", "is not JSON"),
        ("[1]", "is a JSON list"),
        ('{"foreground": [[1, 2]]}', "foreground.0"),
        ('{"foreground": [["a", 2, 3]]}', "foreground.0.0"),
        ('{"box": [1, 2, 3]}', "box"),
        ('{"foreground": "all"}', "foreground"),
        ('{"result_extension": ".exe"}', "result_extension"),
        ("[" * 100_000, "is not JSON"),
    ],
)
def test_broken_params(site: Any, params: str, said: str) -> None:
    explained(infer(site, "sam", params, image="ras"), 400, "SiteError", said)


def test_prompts_that_cannot_be_meant(site: Any) -> None:
    outside = json.dumps({"label": "tumour", "foreground": [[10, 12, 400]]})
    explained(infer(site, "sam", outside, image="ras"), 422, "GeometryError", "(10, 12, 400)")
    explained(
        infer(site, "sam", '{"label": "bone", "foreground": [[1, 1, 1]]}', image="ras"), 422, "LabelError", "'bone'"
    )
    explained(infer(site, "sam", '{"foreground": [[1, 1, 1]]}', image="ras"), 422, "LabelError", "no label")
    reply = infer(site, "unet", '{"label": "tumour", "foreground": [[1, 1, 1]]}', image="ras")
    assert reply.status_code in {400, 422}
    assert "prompts" in reply.json()["detail"]
    explained(infer(site, params='{"version": "unet-9999-abcdef"}', image="ras"), 404, "NotFound", "unet-9999-abcdef")
    explained(infer(site, params='{"version": "../../x"}', image="ras"), 404, "NotFound")


def test_an_image_file_that_cannot_be_read(site: Any) -> None:
    explained(infer(site, image="zbroken"), 422, "ImageError", "zbroken.nii.gz")
    assert site.get("/info/").status_code == 200


def test_masks_that_do_not_fit(site: Any, tmp_path: Path) -> None:
    image = nib.load(site.studies / "ras.nii.gz")
    good = np.zeros(image.shape, np.uint8)
    table: list[tuple[Any, Any, str, str]] = [
        (good[:, :, :-1], image.affine, "GeometryError", "voxels"),
        (good, np.diag([2.0, 2.0, 2.0, 1.0]), "GeometryError", "spacing"),
        (good, image.affine + np.array([[0, 0, 0, 5.0], *[[0.0] * 4] * 3]), "GeometryError", "voxels away"),
        (good + 7, image.affine, "LabelError", "7"),
        (good.astype(np.float32) + 0.5, image.affine, "ImageError", "fractions"),
    ]
    for tag in ("final", "draft"):
        for voxels, affine, error, said in table:
            path = tmp_path / "mask.nii.gz"
            nib.save(nib.Nifti1Image(voxels, affine), path)
            explained(site.save("ras", path, tag=tag), 422, error, said)
        (tmp_path / "junk.nii.gz").write_bytes(b"no mask")
        explained(site.save("ras", tmp_path / "junk.nii.gz", tag=tag), 422, "ImageError")
        (tmp_path / "mask.exe").write_bytes(b"MZ")
        explained(site.save("ras", tmp_path / "mask.exe", tag=tag), 422, "ImageError", "'mask.exe'")


def test_params_of_a_label(site: Any, tmp_path: Path) -> None:
    path = tmp_path / "mask.nii.gz"
    image = nib.load(site.studies / "ras.nii.gz")
    nib.save(nib.Nifti1Image(np.zeros(image.shape, np.uint8), image.affine), path)
    explained(site.save("ras", path, seconds=-3), 400, "SiteError", "seconds")
    explained(site.save("ras", path, author="x" * 300), 400, "SiteError", "author")
    missing = requests.put(f"{site.url}/datastore/label", params={"image": "ras"}, timeout=30)
    explained(missing, 422, "ValidationError", "label")
    explained(site.save("ras", path, annotated=["liver"]), 422, "LabelError", "'liver' is not in the schema")
    explained(site.save("ras", path, annotated=[]), 422, "LabelError", "no label")
    explained(site.save("nobody", path), 404, "NotFound", "'nobody'")


def test_uploads_above_the_limit(site: Any) -> None:
    """The limit of this site is 4 MiB; announced and streamed bodies are both refused."""
    big = b"\0" * (5 * 2**20)

    def pieces() -> Iterator[bytes]:
        for start in range(0, len(big), 2**16):
            yield big[start : start + 2**16]

    announced = requests.put(f"{site.url}/datastore/image?image=big", files={"file": ("big.nii", big)}, timeout=60)
    explained(announced, 413, "TooLarge", "4 MiB")
    kind = {"Content-Type": "multipart/form-data; boundary=x"}
    try:
        streamed = requests.put(f"{site.url}/datastore/image?image=big", data=pieces(), headers=kind, timeout=60)
    except requests.ConnectionError:
        pass  # the site may close before the whole body is sent
    else:
        assert streamed.status_code in {400, 413}
    assert site.get("/info/").status_code == 200


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("POST", "/reload", 403),
        ("GET", "/proxy/dicom/wado/x", 404),
        ("GET", "/logs/", 404),
        ("GET", "/model/unet", 403),
        ("PUT", "/model/unet", 403),
        ("DELETE", "/model/unet", 403),
        ("POST", "/batch/infer/unet", 404),
        ("POST", "/scoring/dice", 404),
        ("POST", "/infer/wsi_v2/unet", 404),
        ("DELETE", "/info/", 404),
        ("GET", "/nothing/here", 404),
    ],
)
def test_what_is_closed_says_why(site: Any, method: str, path: str, status: int) -> None:
    reply = requests.request(method, site.url + path, timeout=30)
    explained(reply, status, "Forbidden" if status == 403 else "NotFound")


def test_another_origin_may_not_act_as_the_local_admin(site: Any) -> None:
    reply = site.get("/info/", headers={"Origin": "https://evil.example"})
    explained(reply, 403, "Forbidden")
    assert "access-control-allow-origin" not in {name.lower() for name in reply.headers}


def test_a_second_server_on_the_same_state_is_refused(site: Any, tmp_path: Path) -> None:
    command = [
        sys.executable,
        "-m",
        "monailabel_app",
        "site",
        "start",
        "--studies",
        str(site.studies),
        "--name",
        "other",
    ]
    command += ["--port", "0", "--state", str(site.state), "--model", "unet"]
    root = Path(__file__).resolve().parents[3]
    second = subprocess.run(command, cwd=root, capture_output=True, text=True, timeout=120)
    assert second.returncode == 2
    assert "error: this state folder is in use by another running site" in second.stderr
    assert "Traceback" not in second.stderr


def test_a_session_takes_one_readable_image(site: Any) -> None:
    image = (site.studies / "ras.nii.gz").read_bytes()
    two = [("files", ("a.nii.gz", image)), ("files", ("b.nii.gz", image))]
    explained(requests.put(f"{site.url}/session/", files=two, timeout=30), 400, "SiteError", "2 files")
    broken = [("files", ("a.nii.gz", b"no image"))]
    explained(requests.put(f"{site.url}/session/", files=broken, timeout=30), 422, "ImageError")
    packed = requests.put(f"{site.url}/session/?uncompress=true", files=two[:1], timeout=30)
    explained(packed, 400, "SiteError", "an archive")
