"""``python -m monailabel_app``: the ``site`` and ``plan`` commands without an installed script."""

import click

from monailabel_app.cli import plan, site

main = click.Group("fedseg", commands={"site": site, "plan": plan})

if __name__ == "__main__":
    main(prog_name="fedseg")
