"""Options of a site: what is refused before anything is loaded, and how it is said."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner

from fed_backend.errors import FedSegError
from monailabel_app.cli import site
from monailabel_app.errors import LabelError, SiteError
from monailabel_app.run import bind
from monailabel_app.settings import SiteSettings, check_settings, is_loopback, parse_labels


@pytest.fixture
def settings(tmp_path: Path) -> SiteSettings:
    (tmp_path / "studies").mkdir()
    return SiteSettings(name="north", studies=tmp_path / "studies", state=tmp_path / "state")


def test_labels_are_read() -> None:
    assert parse_labels("tumour=1, enhancing core = 4") == {"tumour": 1, "enhancing core": 4}


@pytest.mark.parametrize(
    "text", ["", "tumour", "tumour=", "=1", "a=0", "a=256", "a=-1", "a=1.5", "a=1,a=2", "a=1,b=1", "../x=1"]
)
def test_wrong_labels_are_quoted(text: str) -> None:
    with pytest.raises(LabelError, match="label"):
        parse_labels(text)


@pytest.mark.parametrize(
    ("host", "local"),
    [
        ("127.0.0.1", True),
        ("127.8.9.1", True),
        ("::1", True),
        ("[::1]", True),
        ("localhost", True),
        ("0.0.0.0", False),
        ("192.168.0.2", False),
        ("example.org", False),
        ("", False),
        ("127.0.0.1.example.org", False),
    ],
)
def test_loopback(host: str, local: bool) -> None:
    assert is_loopback(host) is local


def test_good_settings_pass_and_the_state_folder_is_made(settings: SiteSettings) -> None:
    check_settings(settings)
    assert settings.state.is_dir()


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"name": "a/b"}, "site name 'a/b'"),
        ({"studies": Path("nowhere")}, "studies folder 'nowhere'"),
        ({"users": Path("nowhere.json")}, "--users file"),
        ({"split": Path("nowhere.csv")}, "--split file"),
        ({"checkpoint": Path("nowhere.pth")}, "checkpoint 'nowhere.pth'"),
        ({"plan": Path("nowhere.json")}, "cannot read plan nowhere.json"),
        ({"host": "0.0.0.0"}, "this machine only, not on '0.0.0.0'"),
    ],
)
def test_each_wrong_option_is_named_with_a_hint(settings: SiteSettings, change: dict[str, object], said: str) -> None:
    with pytest.raises(FedSegError, match=said) as caught:
        check_settings(replace(settings, **change))  # type: ignore[arg-type]
    assert caught.value.hint


def test_a_plan_that_is_no_plan_is_refused(settings: SiteSettings, tmp_path: Path) -> None:
    path = tmp_path / "plan.json"
    path.write_text('{"labels": {"tumour": 0}}')
    with pytest.raises(FedSegError, match=r"plan.json is not a valid plan: .*labels.tumour"):
        check_settings(replace(settings, plan=path))


@pytest.mark.skipif(os.name == "nt" or os.geteuid() == 0, reason="root may write everywhere")
def test_a_state_folder_that_cannot_be_written(settings: SiteSettings) -> None:
    settings.state.mkdir(mode=0o500)
    with pytest.raises(SiteError, match="cannot be written"):
        check_settings(settings)


def test_a_state_folder_that_is_a_file(settings: SiteSettings) -> None:
    settings.state.write_text("")
    with pytest.raises(SiteError, match="cannot be made"):
        check_settings(settings)


def test_certificate_and_key_go_together_and_must_be_readable(settings: SiteSettings, tmp_path: Path) -> None:
    path = tmp_path / "cert.pem"
    path.write_text("no certificate")
    for change, said in (
        ({"tls_cert": path}, "only one of"),
        ({"tls_cert": path, "tls_key": tmp_path / "missing.pem"}, "cannot be used"),
        ({"tls_cert": path, "tls_key": path}, "cannot be used"),
    ):
        with pytest.raises(SiteError, match=said):
            check_settings(replace(settings, **change))


def test_port_zero_is_a_free_port_and_a_taken_one_is_said() -> None:
    with bind("127.0.0.1", 0) as taken:
        port = taken.getsockname()[1]
        assert port > 0
        with pytest.raises(SiteError, match=f"port {port} on 127.0.0.1 is in use") as caught:
            bind("127.0.0.1", port)
    assert "--port" in caught.value.hint


def test_an_address_of_another_machine() -> None:
    with pytest.raises(SiteError, match=r"cannot listen on 192\.0\.2\.1"):
        bind("192.0.2.1", 0)


def test_the_command_says_it_in_one_line_with_status_2(settings: SiteSettings) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        result = subprocess.run(
            [sys.executable, "-m", "monailabel_app", "site", "start", "--studies", settings.studies, "--name", "north",
             "--state", settings.state, "--port", str(port)],
            capture_output=True, text=True, timeout=60, cwd=Path(__file__).resolve().parents[3],
        )  # fmt: skip
    assert result.returncode == 2
    (line,) = result.stderr.splitlines()
    assert line.startswith(f"error: port {port} on 127.0.0.1 is in use (")
    assert "--port 0" in line


@pytest.mark.slow
def test_a_label_to_annotate_that_the_schema_lacks_is_told_at_the_start(settings: SiteSettings) -> None:
    result = subprocess.run(
        [sys.executable, "-m", "monailabel_app", "site", "start", "--studies", settings.studies, "--name", "north",
         "--state", settings.state, "--port", "0", "--annotates", "tumour, liver"],
        capture_output=True, text=True, timeout=120, cwd=Path(__file__).resolve().parents[3],
    )  # fmt: skip
    assert result.returncode == 2
    assert "error: label 'liver' is not in the schema" in result.stderr


@pytest.mark.slow
def test_a_state_folder_is_of_one_set_of_labels(settings: SiteSettings, tmp_path: Path) -> None:
    """SAM's base is the same whatever the labels are."""
    root, ready = Path(__file__).resolve().parents[3], tmp_path / "ready.json"
    command = [
        *(sys.executable, "-m", "monailabel_app", "site", "start", "--name", "north", "--model", "sam", "--port", "0"),
        *("--studies", settings.studies, "--state", settings.state, "--ready-file", ready),
    ]
    first = subprocess.Popen([*command, "--labels", "tumour=1"], cwd=root)
    deadline = time.monotonic() + 300
    while not ready.exists():
        assert first.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.1)
    first.terminate()
    first.wait(60)
    again = subprocess.run(
        [*command, "--labels", "tumour=1,oedema=2"], capture_output=True, text=True, timeout=120, cwd=root
    )
    assert again.returncode == 2
    assert "are of the labels tumour=1, but the site was started with tumour=1, oedema=2" in again.stderr
    assert "another state folder" in again.stderr


def test_wrong_labels_end_the_command_with_status_2(tmp_path: Path) -> None:
    result = CliRunner().invoke(site, ["start", "--studies", str(tmp_path), "--name", "a", "--labels", "x=900"])
    assert result.exit_code == 2
    assert "label 'x=900' is not NAME=VALUE" in result.output


def test_the_password_of_a_user_comes_from_a_pipe(tmp_path: Path) -> None:
    users = tmp_path / "users.json"
    result = CliRunner().invoke(site, ["user", str(users), "ada", "--role", "admin"], input="correct horse\n")
    assert result.exit_code == 0, result.output
    assert "correct horse" not in result.output + users.read_text()
    short = CliRunner().invoke(site, ["user", str(users), "bob", "--role", "viewer"], input="short\n")
    assert short.exit_code == 2
    assert "bob" not in users.read_text()
