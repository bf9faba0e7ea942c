"""MONAI Label's own client against a real site, unchanged."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest

pytestmark = pytest.mark.slow

Until = Callable[..., Any]
Truth = Callable[[str, Path, Path], Path]


@pytest.fixture
def client(site: Any, tmp_path: Path) -> Any:
    from monailabel.client import MONAILabelClient

    return MONAILabelClient(site.url, tmpdir=str(tmp_path), client_id="slicer")


def test_info_has_the_stock_keys_and_ours(client: Any) -> None:
    info = client.info()
    assert {"name", "labels", "models", "trainers", "strategies", "scoring", "train_stats", "datastore"} <= set(info)
    assert "config" not in info, "the stock Slicer plugin refuses a site whose info has a config"
    assert set(info["models"]) == set(info["trainers"]) == {"unet", "sam"}
    assert {model["type"] for model in info["models"].values()} == {"segmentation"}
    ours = info["fedseg"]
    assert ours["labels"] == {"tumour": 1, "oedema": 2}
    assert ours["models"]["unet"]["champion"].startswith("unet-0000-")
    assert (ours["site"], ours["role"], ours["federation"]) == ("north", "admin", False)
    assert all(len(colour) == 3 for colour in ours["colors"].values())


def test_authentication_is_off_the_way_clients_ask(client: Any) -> None:
    assert client.auth_enabled() is False


def test_next_sample_is_a_case_without_its_path(client: Any, site: Any) -> None:
    sample = client.next_sample("first", {})
    assert sample["name"].startswith(sample["id"])
    assert "path" not in sample
    assert str(site.studies) not in str(sample)
    downloaded = site.get("/datastore/image", params={"image": sample["id"]})
    assert downloaded.content == (site.studies / sample["name"]).read_bytes()
    assert client.next_sample("random", {"seed": 3})["id"] == client.next_sample("random", {"seed": 3})["id"]


def test_infer_gives_a_mask_on_the_grid_of_the_image(client: Any, site: Any) -> None:
    file, params = client.infer("unet", "oblique", {"result_extension": ".nii.gz"})
    mask, image = nib.load(file), nib.load(site.studies / "oblique.nii.gz")
    assert mask.shape == image.shape
    assert np.array_equal(mask.affine, image.affine)
    assert params["label_names"] == {"tumour": 1, "oedema": 2}
    assert params["model"] == "unet"
    assert params["version"].startswith("unet-0000-")


def test_a_session_serves_an_image_that_is_not_in_the_studies(client: Any, site: Any, tmp_path: Path) -> None:
    image = tmp_path / "mine.nii.gz"
    image.write_bytes((site.studies / "ras.nii.gz").read_bytes())
    session = client.create_session(str(image))["session_id"]
    found = client.get_session(session)
    assert found["name"] == session
    assert str(site.state) not in str(found)
    file, params = client.infer("unet", "", {}, session_id=session)
    assert nib.load(file).shape == nib.load(image).shape
    assert params["image"] == ""
    client.remove_session(session)
    from monailabel.client.client import MONAILabelClientException

    with pytest.raises(MONAILabelClientException):
        client.get_session(session)


def test_an_uploaded_image_joins_the_studies_and_is_not_overwritten(client: Any, site: Any, tmp_path: Path) -> None:
    image = tmp_path / "new.nii.gz"
    nib.save(nib.Nifti1Image(np.arange(600, dtype=np.int16).reshape(10, 10, 6), np.eye(4)), image)
    assert client.upload_image(str(image), "visitor")["image"] == "visitor"
    assert "visitor" in client.datastore()["objects"]
    assert (site.studies / "visitor.nii.gz").read_bytes() == image.read_bytes()
    with image.open("rb") as file:
        import requests

        again = requests.put(
            f"{site.url}/datastore/image?image=visitor", files={"file": ("a.nii.gz", file)}, timeout=30
        )
    assert again.status_code == 409
    assert requests.delete(f"{site.url}/datastore/image?id=visitor", timeout=30).status_code == 200
    assert not (site.studies / "visitor.nii.gz").exists()
    assert site.get("/datastore/image", params={"image": "visitor"}).status_code == 404


def test_an_image_that_appears_in_the_folder_is_found(client: Any, site: Any) -> None:
    (site.studies / "added.nii.gz").write_bytes((site.studies / "ras.nii.gz").read_bytes())
    try:
        assert site.infer("added").status_code == 200
        assert "added" in client.datastore()["objects"]
    finally:
        (site.studies / "added.nii.gz").unlink()
    assert site.infer("added").status_code == 404


def test_images_that_arrive_while_the_site_runs_are_assigned_to_a_part(client: Any, site: Any, tmp_path: Path) -> None:
    image = (site.studies / "ras.nii.gz").read_bytes()
    (tmp_path / "sent.nii.gz").write_bytes(image)
    (site.studies / "copied.nii.gz").write_bytes(image)
    try:
        client.next_sample("first", {})  # looks for new images
        assert "copied" in site.get("/learning/gate").json()["parts"]
        client.upload_image(str(tmp_path / "sent.nii.gz"), "sent")
        assert "sent" in site.get("/learning/gate").json()["parts"]
    finally:
        for case in ("copied", "sent"):
            (site.studies / f"{case}.nii.gz").unlink(missing_ok=True)


def test_save_train_stop_and_train_again(client: Any, site: Any, truth: Truth, until: Until, tmp_path: Path) -> None:
    """The stock way through the whole loop: label, train, poll, stop."""
    from monailabel.client.client import MONAILabelClientException

    assert client.train_status(check_if_running=True) is False
    client.infer("unet", "ras", {})
    saved = client.save_label("ras", str(truth("ras", site.studies, tmp_path)), "final", {"label_info": []})
    assert saved["image"] == saved["label"] == "ras"
    assert saved["part"] == "train"
    assert 0 <= saved["dice_shown"] < 1
    assert client.save_label("lps", str(truth("lps", site.studies, tmp_path)), "final")["part"] == "validation"
    assert client.next_sample("first", {})["id"] not in {"ras", "lps"}
    assert client.info()["datastore"]["label_tags"]["final"] >= 2

    task = client.train_start("unet", {"steps": 5000, "max_epochs": 3, "device": "cuda"})
    assert task["status"] in {"SUBMITTED", "RUNNING"}
    assert client.train_status(check_if_running=True) is True
    with pytest.raises(MONAILabelClientException) as busy:
        client.train_start("unet", {})
    assert "Status: 429" in busy.value.msg
    until(lambda: site.get("/learning").json()["progress"] > 0)
    client.train_stop()
    until(lambda: not client.train_status(check_if_running=True))
    assert client.train_status()["status"] == "STOPPED"

    before = client.info()["fedseg"]["models"]["unet"]["champion"]
    client.train_start("unet", {"steps": 8})
    until(lambda: client.train_status()["status"] in {"DONE", "ERROR"})
    assert client.train_status()["status"] == "DONE"
    result = site.get("/learning").json()["result"]
    champion = client.info()["fedseg"]["models"]["unet"]["champion"]
    assert champion == (result["version"] if result["promoted"] else before)


def test_a_promotion_is_live_with_the_next_inference(client: Any, site: Any) -> None:
    """Runs after the training above: any stored version can serve, without a restart."""
    import requests

    versions = [v["id"] for v in site.get("/versions", params={"model": "unet"}).json()["versions"]]
    assert len(versions) >= 2
    for version in versions:
        assert client.infer("unet", "thick", {"version": version})[1]["version"] == version
        reply = requests.post(f"{site.url}/versions/{version}/promote", json={"reason": "a test"}, timeout=30)
        assert reply.status_code == 200, reply.text
        assert client.infer("unet", "thick", {})[1]["version"] == version
        assert client.info()["fedseg"]["models"]["unet"]["champion"] == version


def test_saved_labels_come_back_voxel_for_voxel(client: Any, site: Any, truth: Truth, tmp_path: Path) -> None:
    mask = truth("thick", site.studies, tmp_path)
    client.save_label("thick", str(mask), "original")
    back = nib.load(client.download_label("thick", "original"))
    assert np.array_equal(np.asarray(back.dataobj), np.asarray(nib.load(mask).dataobj))
    assert "thick" not in {c["case"] for c in site.get("/corrections").json()["corrections"]}


def test_cases_held_out_come_last(client: Any, site: Any) -> None:
    """``thick`` is held out by the split file, so the other open cases are offered first."""
    assert client.next_sample("first", {})["id"] != "thick"
