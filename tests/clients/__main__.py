"""`python -m tests.clients`: install the packages of the foreign clients, where their toolchain is there.

With CI set every toolchain must be there.
"""

import os
import subprocess
import sys

from lockside.errors import LocksideError
from tests.clients.packages import PACKAGES


def main() -> int:
    """Install what can be; return 2 if something cannot that must be."""
    for packages in PACKAGES.values():
        if packages.missing and not os.environ.get("CI"):
            continue
        if packages.missing:
            sys.stderr.write(f"tests/clients/{packages.name} needs {' and '.join(packages.missing)}; install it\n")
            return 2
        try:
            packages.set_up()
        except (subprocess.SubprocessError, OSError, LocksideError) as error:
            sys.stderr.write(f"tests/clients/{packages.name}: cannot be installed: {error}\n")
            return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
