"""The files under deploy/: what they start exists with these options, and systemd takes the units."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import click
import pytest
import yaml

from fed_backend.cli import fedseg

ROOT = Path(__file__).parents[1]
DEPLOY = ROOT / "deploy"
UNITS = sorted((DEPLOY / "systemd").glob("*.service"))
SERVICES: dict[str, Any] = yaml.safe_load((DEPLOY / "compose.yaml").read_text())["services"]


def check_command(arguments: list[str]) -> None:
    """Walk to the command and let it parse its options, as a shell would start it."""
    command: click.Command = fedseg
    context = click.Context(command)
    while isinstance(command, click.Group):
        found = command.get_command(context, arguments[0])
        assert found is not None, f"there is no command {arguments[0]!r}"
        command, arguments = found, arguments[1:]
        context = click.Context(command, parent=context)
    values, rest, _ = command.make_parser(context).parse_args(list(arguments))
    assert not rest
    wanted = {parameter.name for parameter in command.params if parameter.required}
    assert wanted <= {name for name, value in values.items() if value is not None}


@pytest.mark.parametrize("unit", UNITS, ids=lambda path: path.stem)
def test_a_unit_starts_what_exists(unit: Path) -> None:
    (line,) = re.findall(r"^ExecStart=/opt/fedseg/bin/fedseg (.*)$", unit.read_text(), re.M)
    check_command(re.sub(r" \$\w+$", "", line).split())
    assert "User=fedseg" in unit.read_text()


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd is not installed")
@pytest.mark.parametrize("unit", UNITS, ids=lambda path: path.stem)
def test_systemd_takes_the_unit(unit: Path, tmp_path: Path) -> None:
    copy = tmp_path / unit.name
    copy.write_text(unit.read_text().replace("/opt/fedseg/bin/fedseg", shutil.which("true") or "/bin/true"))
    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", "--recursive-errors=no", str(copy)], capture_output=True, text=True
    )
    complaints = [line for line in done.stderr.splitlines() if unit.name in line]
    assert not complaints, done.stderr


@pytest.mark.parametrize("name", sorted(SERVICES))
def test_a_service_starts_what_exists_and_no_more_than_it_needs(name: str) -> None:
    service = SERVICES[name]
    check_command(service["command"])
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["healthcheck"]["test"][0] == "CMD"
    studies = [volume for volume in service["volumes"] if "studies" in volume]
    assert all(volume.endswith(":ro") for volume in studies)
    assert not studies or name.startswith("site"), "hub and couriers see no images"
    assert all(port.startswith("127.0.0.1:") for port in service.get("ports", []))


def test_the_image_is_built_from_files_that_exist_and_runs_without_rights() -> None:
    lines = (DEPLOY / "Containerfile").read_text().splitlines()
    for line in lines:
        if line.startswith("COPY "):
            assert all((ROOT / source).exists() for source in line.split()[1:-1]), line
    users = [line.split()[1] for line in lines if line.startswith("USER ")]
    assert users[-1:] == ["fedseg"]
    assert 'ENTRYPOINT ["fedseg"]' in lines
