"""Make the project's environments from a bare checkout; quick when nothing changed.

    python3 tools/bootstrap.py site            .venv: site server, federation, demo, checks
    python3 tools/bootstrap.py slicer          .venv-slicer: Slicer's core and Qt, for the module's tests
    python3 tools/bootstrap.py browser         .venv-browser: the browser seat
    python3 tools/bootstrap.py system          the system libraries that Slicer's core needs
    python3 tools/bootstrap.py chromium        the browser that the seat's tests drive

Only the standard library is used. An environment is rebuilt when its requirements, this file or the
Python version change; a stamp inside it remembers them.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import venv
from collections.abc import Sequence
from ctypes.util import find_library
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
UV = "uv==0.13.8"
MINIMUM = (3, 11)

ENVIRONMENTS = {
    "site": (ROOT / ".venv", ROOT / "requirements" / "site.txt"),
    "slicer": (ROOT / ".venv-slicer", ROOT / "requirements" / "slicer.txt"),
    "browser": (ROOT / ".venv-browser", ROOT / "requirements" / "browser.txt"),
}

SYSTEM_LIBRARIES = {
    "GL": "libgl1",
    "EGL": "libegl1",
    "OSMesa": "libosmesa6",
    "xkbcommon": "libxkbcommon0",
    "fontconfig": "libfontconfig1",
    "dbus-1": "libdbus-1-3",
    "Xrender": "libxrender1",
    "Xt": "libxt6",
}
"""Library name for the dynamic loader -> Debian package."""

FONT = (Path("/usr/share/fonts/truetype/dejavu/DejaVuSans.ttf"), "fonts-dejavu-core")


def main(arguments: Sequence[str]) -> int:
    if sys.version_info < MINIMUM:
        return fail(
            f"Python {sys.version.split()[0]} is too old", "run with Python 3.11 or newer: make PYTHON=python3.11"
        )
    known = [*ENVIRONMENTS, "system", "chromium"]
    if not arguments or any(name not in known for name in arguments):
        return fail(f"unknown part: {' '.join(arguments) or '(none)'}", f"choose from: {', '.join(known)}")
    try:
        for name in arguments:
            if name == "system":
                ensure_system_libraries()
            elif name == "chromium":
                ensure_chromium()
            else:
                ensure_environment(name)
    except subprocess.CalledProcessError as error:
        return fail(f"`{' '.join(map(str, error.cmd))}` ended with {error.returncode}", "see its output above")
    return 0


def fail(what: str, hint: str) -> int:
    print(f"bootstrap: {what}\n  -> {hint}", file=sys.stderr)
    return 2


def run(*command: str | Path) -> None:
    subprocess.run([str(part) for part in command], check=True, cwd=ROOT)


def ensure_environment(name: str) -> None:
    folder, requirements = ENVIRONMENTS[name]
    python = folder / "bin" / "python"
    stamp = folder / ".bootstrap"
    wanted = fingerprint(requirements)
    if python.exists() and stamp.exists() and stamp.read_text() == wanted:
        return
    print(f"bootstrap: making {folder.name} (a minute or two, once)", flush=True)
    stamp.unlink(missing_ok=True)
    create_venv(folder)
    uv = install_uv(ENVIRONMENTS["site"][0] if (ENVIRONMENTS["site"][0] / "bin" / "uv").exists() else folder)
    # `sync` installs exactly these pins; monailabel's own bound on numpy is overridden there. Compiled here once: where
    # Python may not write byte code (PYTHONDONTWRITEBYTECODE), every server would compile torch and monai as it starts.
    run(uv, "pip", "sync", "--quiet", "--compile-bytecode", "--python", python, requirements)
    if name == "site":
        run(uv, "pip", "install", "--quiet", "--python", python, "--no-deps", UV, "--editable", ROOT)
    stamp.write_text(wanted)


def fingerprint(requirements: Path) -> str:
    parts = [requirements.read_bytes(), (ROOT / "pyproject.toml").read_bytes(), Path(__file__).read_bytes()]
    return hashlib.sha256(b"\0".join([*parts, sys.version.encode(), str(ROOT).encode()])).hexdigest()


def create_venv(folder: Path) -> None:
    try:
        venv.create(folder, clear=True, with_pip=True)
    except (subprocess.CalledProcessError, ImportError, ModuleNotFoundError):
        # Debian and Ubuntu ship Python without ensurepip.
        apt_install([f"python{sys.version_info.major}.{sys.version_info.minor}-venv"])
        venv.create(folder, clear=True, with_pip=True)


def install_uv(folder: Path) -> Path:
    uv = folder / "bin" / "uv"
    if not uv.exists():
        run(folder / "bin" / "python", "-m", "pip", "install", "--quiet", "--disable-pip-version-check", UV)
    return uv


def ensure_system_libraries() -> None:
    missing = [package for library, package in SYSTEM_LIBRARIES.items() if find_library(library) is None]
    if not FONT[0].exists():
        missing.append(FONT[1])
    if missing:
        apt_install(missing)


def ensure_chromium() -> None:
    if not any(shutil.which(name) for name in ("chromium", "chromium-browser", "google-chrome")):
        apt_install(["chromium"])


def apt_install(packages: Sequence[str]) -> None:
    """Install Debian packages as root; elsewhere name them in one message and stop."""
    command = f"apt-get install {' '.join(packages)}"
    if shutil.which("apt-get") is None or os.geteuid() != 0:
        raise SystemExit(
            fail(
                f"these system libraries are missing: {', '.join(packages)}",
                f"on Debian or Ubuntu: sudo {command}; elsewhere install the packages of the same purpose",
            )
        )
    environment = dict(os.environ, DEBIAN_FRONTEND="noninteractive")
    print(f"bootstrap: {command}", flush=True)
    subprocess.run(["apt-get", "update", "-qq"], check=True, env=environment)
    subprocess.run(
        ["apt-get", "install", "-y", "-qq", "--no-install-recommends", *packages],
        check=True,
        env=environment,
        stdout=subprocess.DEVNULL,
    )


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
