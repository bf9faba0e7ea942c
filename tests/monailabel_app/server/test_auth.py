"""Users, passwords and tokens."""

from __future__ import annotations

import json
import stat
from pathlib import Path

import pytest

from monailabel_app.auth import ROLES, Authenticator, User, read_users, role_at_least, write_user
from monailabel_app.errors import SiteError, Unauthorised


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    path = tmp_path_factory.mktemp("users") / "users.json"
    write_user(path, "ada", "admin", "correct horse")
    write_user(path, "vic", "viewer", "battery staple")
    return path.read_bytes()


@pytest.fixture
def users(tmp_path: Path, template: bytes) -> Path:
    path = tmp_path / "users.json"
    path.write_bytes(template)
    return path


def test_the_file_holds_hashes_and_is_private(tmp_path: Path) -> None:
    path = tmp_path / "users.json"
    write_user(path, "ada", "admin", "correct horse")
    entry = json.loads(path.read_text())["ada"]
    assert entry["role"] == "admin"
    assert entry["password_hash"].startswith("$argon2id$")
    assert "correct horse" not in path.read_text()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_login_gives_a_token_for_the_user(users: Path) -> None:
    auth = Authenticator(users)
    token = auth.login("vic", "battery staple")
    assert auth.user(token) == User("vic", "viewer")
    assert auth.user(token + "x") is None


@pytest.mark.parametrize(("name", "password"), [("vic", "correct horse"), ("nobody", "battery staple"), ("vic", "")])
def test_wrong_name_and_wrong_password_look_alike(users: Path, name: str, password: str) -> None:
    with pytest.raises(Unauthorised, match="user name or password is wrong"):
        Authenticator(users).login(name, password)


def test_guessing_is_slowed_down_and_ends(users: Path) -> None:
    clock = Clock()
    auth = Authenticator(users, clock=clock)
    for _ in range(5):
        with pytest.raises(Unauthorised, match="wrong"):
            auth.login("vic", "guess")
    with pytest.raises(Unauthorised, match="too many"):
        auth.login("vic", "battery staple")
    assert auth.login("ada", "correct horse")
    clock.now += 61
    assert auth.login("vic", "battery staple")


def test_tokens_expire(users: Path) -> None:
    clock = Clock()
    auth = Authenticator(users, lifetime_s=100, clock=clock)
    token = auth.login("vic", "battery staple")
    clock.now += 99
    assert auth.user(token)
    clock.now += 1
    assert auth.user(token) is None


def test_a_removed_user_is_out_and_a_new_role_counts_at_once(users: Path) -> None:
    auth = Authenticator(users)
    ada, vic = auth.login("ada", "correct horse"), auth.login("vic", "battery staple")
    entries = json.loads(users.read_text())
    entries["vic"]["role"] = "reviewer"
    del entries["ada"]
    users.write_text(json.dumps(entries))
    assert auth.user(ada) is None
    assert auth.user(vic) == User("vic", "reviewer")


def test_a_file_that_is_being_edited_keeps_the_last_users_and_a_deleted_one_keeps_none(users: Path) -> None:
    auth = Authenticator(users)
    token = auth.login("vic", "battery staple")
    users.write_text('{"vic": ')
    assert auth.user(token) == User("vic", "viewer")
    users.unlink()
    assert auth.user(token) is None


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[]", "not valid"),
        ('{"vic": {"role": "god", "password_hash": "x"}}', "vic.role"),
        ('{"vic": {"role": "viewer", "password": "plain"}}', "vic"),
        ("{}", "names no admin"),
    ],
)
def test_unusable_files_are_named(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "users.json"
    path.write_text(text)
    with pytest.raises(SiteError, match=said):
        Authenticator(path)


@pytest.mark.parametrize(("name", "password"), [("", "long enough"), ("a\nb", "long enough"), ("ada", "short")])
def test_unusable_names_and_passwords(tmp_path: Path, name: str, password: str) -> None:
    with pytest.raises(SiteError):
        write_user(tmp_path / "users.json", name, "viewer", password)
    assert not (tmp_path / "users.json").exists()


def test_a_damaged_file_is_not_overwritten(tmp_path: Path) -> None:
    path = tmp_path / "users.json"
    path.write_text("my notes")
    with pytest.raises(SiteError):
        write_user(path, "ada", "admin", "correct horse")
    assert path.read_text() == "my notes"


def test_roles_are_ordered_and_unknown_ones_allow_nothing() -> None:
    table = [[role_at_least(role, needed) for needed in ROLES] for role in ROLES]
    assert table == [[j <= i for j in range(4)] for i in range(4)]
    assert not role_at_least("root", "viewer")


def test_without_a_file_nobody_logs_in() -> None:
    assert not Authenticator(None).enabled


def test_the_written_file_can_be_read(users: Path) -> None:
    assert {name: entry.role for name, entry in read_users(users).items()} == {"ada": "admin", "vic": "viewer"}
