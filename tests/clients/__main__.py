"""`python -m tests.clients`: install the packages of the foreign clients, where their toolchain is there.

With CI set all of it must work. Without, what cannot be installed is told, and fails the tests that want it.
"""

import os
import subprocess
import sys

from lockside.errors import LocksideError
from tests.clients.packages import PACKAGES


def main() -> int:
    """Install what can be; return 2 if something cannot that must be."""
    required, failed = bool(os.environ.get("CI")), False
    for packages in PACKAGES.values():
        if packages.missing:
            if required:
                sys.stderr.write(f"tests/clients/{packages.name} needs {' and '.join(packages.missing)}; install it\n")
            failed = failed or required
            continue
        try:
            packages.set_up()
        except (subprocess.SubprocessError, OSError, LocksideError) as error:
            sys.stderr.write(f"tests/clients/{packages.name}: cannot be installed: {error}\n")
            failed = failed or required
    return 2 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
