"""The command's frame: lazy verbs, messages and exit codes."""

import json
import subprocess
import sys
from pathlib import Path

import click
import pytest
from click.testing import CliRunner, Result

from lockside import __version__
from lockside.cli import main as frame
from lockside.cli.demo import _command
from lockside.cli.main import VERBS, LazyGroup, main
from lockside.cli.rendering import columns, shown
from lockside.errors import ConfigError, NotFoundOutError

HEAVY = ("boto3", "botocore", "pydantic", "structlog", "rich", "cryptography", "lockside.settings")


def ran(*arguments: str) -> Result:
    """Run the command in this process."""
    return CliRunner().invoke(main, list(arguments))


def failing(error: BaseException) -> Result:
    """Run a group of the same kind whose one command raises."""

    @click.group(cls=LazyGroup)
    def group() -> None:
        """Stand in for `lockside`."""

    @click.command()
    def fail() -> None:
        raise error

    group.get_command = lambda ctx, cmd_name: fail  # type: ignore[method-assign] # noqa: ARG005
    return CliRunner().invoke(group, ["fail"])


def imported_by(*arguments: str) -> set[str]:
    """Run the command in a process of its own and return the modules it loaded."""
    code = (
        "import sys, json\nfrom lockside.cli.main import main\n"
        "try:\n main(sys.argv[1:])\nexcept SystemExit:\n pass\n"
        "print(); print(json.dumps(sorted(sys.modules)))"
    )
    answer = subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=True)  # noqa: S603
    return set(json.loads(answer.stdout.splitlines()[-1]))


@pytest.mark.parametrize("arguments", [("version",), ("--help",), ("check", "--help"), ("run", "--help")])
def test_light_commands_import_nothing_heavy(arguments: tuple[str, ...]) -> None:
    """The version and any help come without boto3, pydantic and the like."""
    loaded = imported_by(*arguments)
    assert [name for name in HEAVY if name in loaded] == []


LOADED_BY_VERSION_MAX = 8


def test_version_is_cheap() -> None:
    """`lockside version` loads next to nothing of Lockside."""
    loaded = {name for name in imported_by("version") if name.startswith("lockside.")}
    assert "lockside.cli.version" in loaded
    assert len(loaded) <= LOADED_BY_VERSION_MAX, loaded


def test_version_says_it() -> None:
    """For people and for scripts."""
    assert ran("version").stdout.startswith(f"lockside {__version__} (Python 3.")
    assert json.loads(ran("version", "--json").stdout)["lockside"] == __version__


def test_help_lists_every_verb_with_examples() -> None:
    """A newcomer finds all commands and what to try first."""
    text = ran("--help").stdout
    unwrapped = " ".join(text.split())
    assert [name for name, verb in VERBS.items() if f"{name} {verb.help}" not in unwrapped] == []
    assert "lockside demo" in text
    assert "Exit codes" in text


@pytest.mark.parametrize("name", list(VERBS))
def test_each_verb_exists_and_teaches(name: str) -> None:
    """The table leads to a command of that name, whose help says what it does."""
    result = ran(name, "--help")
    assert result.exit_code == 0
    assert len(result.stdout.splitlines()) > 5


@pytest.mark.parametrize(
    ("error", "code", "words"),
    [
        (ConfigError("aws.region: is missing; set it"), 2, "lockside: aws.region: is missing; set it"),
        (NotFoundOutError("no answer"), 3, "lockside: no answer"),
        (KeyError("session:6f1c"), 4, "KeyError"),
        (click.UsageError("no such thing"), 2, "no such thing"),
        (KeyboardInterrupt(), 130, ""),
    ],
)
def test_errors_become_messages_and_exit_codes(error: BaseException, code: int, words: str) -> None:
    """Each kind of error has its code; an unexpected one shows where it came from and nothing it carried."""
    result = failing(error)
    assert result.exit_code == code
    assert words in result.stderr
    assert "session:6f1c" not in result.output
    assert "Traceback" not in result.output


def test_wrong_use_is_exit_2() -> None:
    """An unknown command or option is told on stderr."""
    assert ran("chekc").exit_code == 2
    assert ran("check", "--nix").exit_code == 2


def test_a_settings_file_that_is_not_there_is_one_message(tmp_path: Path) -> None:
    """It is named, with the way out, and exits with 2."""
    result = ran("check", "--config", str(tmp_path / "nix.toml"))
    assert result.exit_code == 2
    assert "nix.toml: cannot be read" in result.stderr


def test_the_default_file_is_used_only_where_there_is_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """./lockside.toml needs no flag; LOCKSIDE_CONFIG names another."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "lockside.toml").write_text("[aws]\nregoin = 1\n", encoding="utf-8")
    (tmp_path / "other.toml").write_text("[awz]\n", encoding="utf-8")
    assert "lockside.toml" in ran("check").stderr
    monkeypatch.setenv("LOCKSIDE_CONFIG", "other.toml")
    assert "other.toml" in ran("check").stderr


def test_no_settings_file_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever stands in the wrong folder is told, before a fault of the defaults; stdout stays for the answer."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("AWS_DEFAULT_REGION")
    result = ran("check")
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr.startswith("No --config and no ./lockside.toml: ")
    (tmp_path / "lockside.toml").touch()
    assert ran("check").stderr.startswith("lockside: aws.region")


@pytest.mark.parametrize(
    ("started_as", "command"),
    [("/opt/x/bin/lockside", "/opt/x/bin/lockside"), ("/opt/x/lockside/__main__.py", f"{sys.executable} -m lockside")],
)
def test_the_demo_names_commands_that_can_be_run(
    started_as: str, command: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What it prints for another terminal is this very program, also where it was started with `python -m`."""
    monkeypatch.setattr(sys, "argv", [started_as, "demo"])
    assert _command() == command


def test_columns_line_up() -> None:
    """Cells of a column start at one place; trailing blanks are left out."""
    assert list(columns([("a", "bb", "c"), ("aaa", "b", "")])) == ["a    bb  c", "aaa  b"]
    assert list(columns([])) == []


def test_foreign_text_cannot_steer_a_terminal() -> None:
    """Names and owners are whatever an application wrote: control characters are spelt out, letters stay."""
    assert shown("café \x1b[2J\r\nx\u202e") == "café \\x1b[2J\\r\\nx\\u202e"


def test_exit_codes_are_documented() -> None:
    """The module and the help name each code."""
    assert all(f"{code} " in (frame.__doc__ or "") for code in (0, 1, 2, 3, 4))
