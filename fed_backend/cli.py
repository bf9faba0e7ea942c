"""The ``fedseg`` command.

Other packages add their groups through the entry point group ``fedseg.commands``, so that this
package imports none of them; a group is imported when it is first used.
"""

from __future__ import annotations

import sys
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import Any

import click

from fed_backend import __version__
from fed_backend.errors import FedSegError
from fed_backend.flare.commands import courier, hub, provision
from fed_backend.flare.federation_commands import federation
from fed_backend.gossip.commands import peers

__all__ = ["fedseg", "main"]

_GROUP = "fedseg.commands"


class _Commands(click.Group):
    """Built-in commands and those that installed packages bring."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted({*super().list_commands(ctx), *_installed()})

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        command = super().get_command(ctx, cmd_name)
        if command is None and (entry := _installed().get(cmd_name)):
            loaded = entry.load()
            command = loaded if isinstance(loaded, click.Command) else None
        return command

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except FedSegError as error:
            raise _Refused(error) from error
        except BrokenPipeError:  # the reader of the output has gone: click ends quietly
            raise
        except OSError as error:  # a full disk, a folder that may not be written
            name = Path(str(error.filename)).name if error.filename else "a file"
            refused = FedSegError(
                f"{name}: {error.strerror or error}", "check the path, the disk, and the rights on it"
            )
            raise _Refused(refused) from error


class _Refused(click.ClickException):
    """An error of ours as one line and a hint; exit code 2."""

    exit_code = 2

    def __init__(self, error: FedSegError) -> None:
        super().__init__(error.detail)
        self._hint = error.hint

    def show(self, file: Any = None) -> None:
        click.echo(f"error: {self.message}", err=True, file=file)
        if self._hint:
            click.echo(f"hint:  {self._hint}", err=True, file=file)


def _installed() -> dict[str, EntryPoint]:
    return {entry.name: entry for entry in entry_points(group=_GROUP)}


@click.group(cls=_Commands)
@click.version_option(__version__, prog_name="fedseg")
def fedseg() -> None:
    """Segmentation that learns from corrections at each hospital and federates what was learned."""


for _command in (provision, federation, hub, courier, peers):
    fedseg.add_command(_command)


def main() -> None:
    """Console entry point."""
    fedseg(prog_name="fedseg")
    sys.exit(0)


if __name__ == "__main__":
    main()
