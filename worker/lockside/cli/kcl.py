"""`lockside kcl`: what a fleet needs besides `lockside run`."""

import click

from lockside.cli.kcl_jars import jars
from lockside.cli.kcl_leases import leases


@click.group()
def kcl() -> None:
    """Fetch what a fleet needs, and look at it.

    \b
    lockside kcl jars          once on each machine, or in a container's image
    lockside run --engine kcl  on as many machines as wanted
    lockside kcl leases        which worker has which shard
    """  # noqa: D301 - \b is click's mark for text to leave as it is


kcl.add_command(jars)
kcl.add_command(leases)
