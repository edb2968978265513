"""The settings of replicas: what would replicate itself, or share a target, is refused with its names."""

from pathlib import Path

import pytest

from lockside.errors import ConfigError
from lockside.settings import ReplicaSettings, load

DYNAMODB = '[[replica]]\nid = "{id}"\ntable = "{table}"\nto = "dynamodb"\ntarget_table = "{target}"\n'
EXAMPLE = Path(__file__).parents[2] / "config" / "lockside.toml"
REDIS = '[[replica]]\nid = "{id}"\ntable = "{table}"\nto = "redis"\nurl = "redis://127.0.0.1:6379/0"\n'
SOURCE = '[[source]]\nid = "a"\ntable = "watched"\nlayout = "awslabs"\n'


def faults(tmp_path: Path, text: str) -> list[str]:
    """Load and return the fault lines."""
    path = tmp_path / "lockside.toml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(ConfigError) as caught:
        load(path)
    return [line.strip() for line in str(caught.value).splitlines()[1:]]


@pytest.mark.parametrize(
    ("table", "target", "fault"),
    [
        ("tab", "tab", 'id "r" writes to target_table = "tab", but a [[replica]] is fed from it'),
        ("tab", "watched", 'id "r" writes to target_table = "watched", but a [[source]] watches it'),
        ("tab", "lockside-audit", "it is Lockside's own; name another table"),
        ("watched", "watched", "but a [[replica]] is fed from it"),
        ("lockside-state", "copy", 'replicates state.table = "lockside-state", which each of its checkpoints changes'),
    ],
)
def test_loops_are_refused(tmp_path: Path, table: str, target: str, fault: str) -> None:
    """A table into itself, into one that is watched or replicated, or what replication itself writes."""
    (line,) = faults(tmp_path, SOURCE + DYNAMODB.format(id="r", table=table, target=target))
    assert fault in line


def test_the_same_name_in_another_place_is_no_loop(tmp_path: Path) -> None:
    """A table of the same name in another region is what replication is for; the audit table may be copied too."""
    path = tmp_path / "lockside.toml"
    text = DYNAMODB.format(id="r", table="tab", target="tab") + 'region = "eu-west-1"\n'
    text += DYNAMODB.format(id="s", table="lockside-audit", target="audit-copy")
    path.write_text('[aws]\nregion = "us-east-1"\n' + text, encoding="utf-8")
    assert [replica.reader_name for replica in load(path).replica] == ["r", "s"]


def test_replicas_that_get_in_each_others_way_are_refused(tmp_path: Path) -> None:
    """All of it at once."""
    text = REDIS.format(id="a", table="one") + 'reader = "x"\n' + REDIS.format(id="a", table="two") + 'reader = "x"\n'
    (line,) = faults(tmp_path, text)
    assert 'id "a" is used 2 times' in line
    assert 'share the reader "x" and not their table' in line
    assert "have the same target" in line


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        (REDIS.replace("127", "me:hunter2@127"), "should hold no password"),
        (REDIS.replace('"redis:', '"http:'), "should be a URL such as"),
        (DYNAMODB.replace("target_table", "# "), 'to = "dynamodb" needs target_table'),
        (REDIS.replace("url", "# "), 'to = "redis" needs url'),
        (REDIS + "tombstone_hours = 24\n", "should be greater than or equal to 26"),
    ],
)
def test_what_a_target_needs_is_said(tmp_path: Path, text: str, fault: str) -> None:
    """And no password is shown."""
    lines = "".join(faults(tmp_path, text.format(id="r", table="tab", target="copy")))
    assert fault in lines
    assert "hunter2" not in lines


def test_the_example_shows_every_key(tmp_path: Path) -> None:
    """As a comment that may be taken in as it is; with the defaults, where there are any."""
    text = EXAMPLE.read_text(encoding="utf-8").partition("# [[replica]]")[2].partition("\n# One [[source]]")[0]
    path = tmp_path / "lockside.toml"
    path.write_text("[[replica]]" + text.replace("\n# ", "\n"), encoding="utf-8")
    (shown,) = load(path).replica
    assert shown.model_fields_set == set(ReplicaSettings.model_fields)
    for name, field in ReplicaSettings.model_fields.items():
        if not field.is_required() and name not in {"region", "reader", "target_table"}:
            assert getattr(shown, name) == field.default, name
