"""docs/stores.md: every example on it runs, and prints what it says."""

import contextlib
import io
import re
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest

from lockside.emulators.emulator import Emulator
from lockside.emulators.moto import start
from lockside.settings import load

PAGE = Path(__file__).parents[2] / "docs" / "stores.md"
PRINT = re.compile(r"^\s*print\(.*\)\s+# (?P<said>.+?)(?: : .*|; .*)?$")
LOCKSIDE = (sys.executable, "-m", "lockside")


def blocks(language: str) -> list[str]:
    """Return the page's examples in a language, in order."""
    return re.findall(rf"^```{language}\n(.*?)^```", PAGE.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)


@pytest.fixture(scope="module")
def emulator() -> Any:
    """Run an emulator for the page."""
    with start() as running:
        yield running


def promised(example: str) -> list[str]:
    """Return what an example's comments say that it prints; what is no literal is not compared."""
    found = (PRINT.match(line) for line in example.splitlines())
    return [match["said"] for match in found if match]


def test_the_page_runs(emulator: Emulator, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Python's examples one after the other in one program, then the shell's on the tables they left."""
    for name, value in emulator.environment.items():
        monkeypatch.setenv(name, value)
    program: dict[str, Any] = {}
    for example in blocks("python"):
        said = io.StringIO()
        with contextlib.redirect_stdout(said):
            exec(compile(example, str(PAGE), "exec"), program)  # noqa: S102 - the page is ours
        printed = said.getvalue().splitlines()
        wanted = promised(example)
        assert len(printed) == len(wanted), example
        for line, want in zip(printed, wanted, strict=True):
            assert line == want or want.startswith("seconds"), (line, want)
    program["locks"].close()
    for example in blocks("console"):
        for command, want in re.findall(r"^\$ lockside (.*)\n((?:(?!\$ ).*\n)*)", example, re.MULTILINE):
            line = command.replace("fence $LOCKSIDE_FENCE", 'fence "$LOCKSIDE_FENCE"')
            done = subprocess.run(  # noqa: S602 - the page is ours
                f"{' '.join(LOCKSIDE)} {line}", shell=True, capture_output=True, text=True, check=True, cwd=tmp_path
            )
            assert done.stdout == want


def test_its_settings_load(tmp_path: Path) -> None:
    """Together they are one file that holds together."""
    file = tmp_path / "lockside.toml"
    file.write_text("\n".join(blocks("toml")), encoding="utf-8")
    assert tomllib.loads(file.read_text(encoding="utf-8"))["stores"]
    assert [source.layout for source in load(file).source] == ["lockside-lock", "lockside-session"]
