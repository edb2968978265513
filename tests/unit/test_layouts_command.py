"""`lockside layouts`: the list, one of them, and layouts of one's own among them."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from lockside.cli.main import main
from lockside.layouts.registry import builtin

OWN = (
    '[[layout]]\nname = "acme"\nkind = "lock"\nkeys = { names = ["id"] }\nowner = { attr = "who" }\n'
    'notes = "a\\u001b[31mb"\nrelease = { rule = "none", mode = "delete" }\n'
)


def run(*arguments: str) -> Result:
    """Run the command; it must be good."""
    result = CliRunner().invoke(main, ["layouts", *arguments])
    assert result.exit_code == 0, result.output
    return result


def test_every_layout_has_a_line_with_what_it_can_tell() -> None:
    """Client, language, when it lapses, who holds, how it ends, what is never certain; for people and for scripts."""
    lines = run().stdout.splitlines()
    assert [line.split()[0] for line in lines[1:-2]] == list(builtin().names)
    cards = {card["name"]: card for card in map(json.loads, run("--json").stdout.splitlines())}
    assert set(cards) == set(builtin().names)
    assert all(card["about"]["client"] and card["about"]["language"] for card in cards.values())
    awslabs = cards["awslabs"]
    assert (awslabs["kind"], awslabs["clock"], awslabs["actor"]) == ("lock", "relative", "ownerName")
    assert (awslabs["version"], awslabs["inferred"]) == (
        "recordVersionNumber",
        ["lock.renewed", "lock.released by delete"],
    )
    assert next(one for one in awslabs["attributes"] if one["role"] == "lease")["read_as"] == "ms"


def test_one_kind_alone() -> None:
    """Locks or sessions are listed by themselves."""
    kinds = {json.loads(line)["kind"] for line in run("--json", "--kind", "session").stdout.splitlines()}
    assert kinds == {"session"}


@pytest.mark.parametrize("name", ["tristanls", "next-auth", "kcl"])
def test_a_name_explains_a_layout_or_a_family(name: str) -> None:
    """Attributes with roles and units, rules, secrets, limits and notes of each."""
    told = run(name).stdout
    for spec in builtin().find(name):
        assert f"{spec.name}: {spec.traits.kind}s of {spec.about.client}" in told
        assert all(secret in told for secret in spec.secrets)
        assert spec.about.notes.split()[0] in told
    assert "ROLE" in told


def test_layouts_of_ones_own_stand_among_them(tmp_path: Path) -> None:
    """The settings file adds its own; their text cannot colour a terminal."""
    file = tmp_path / "lockside.toml"
    file.write_text(OWN, encoding="utf-8")
    assert "acme" in run("--config", str(file)).stdout
    told = run("acme", "--config", str(file)).stdout
    assert "acme: locks of a client of your own" in told
    assert "\x1b" not in told


def test_an_unknown_name_is_refused_with_the_nearest() -> None:
    """Exit 2, and what it may have been."""
    result = CliRunner().invoke(main, ["layouts", "awslab"])
    assert (result.exit_code, "did you mean 'awslabs'" in result.stderr) == (2, True)
