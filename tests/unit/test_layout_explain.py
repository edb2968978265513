"""`lockside explain`: the kinds of input, bad input, and the ways to be wrong."""

import itertools
import json
from pathlib import Path
from typing import Any, BinaryIO, cast

import pytest
from click.testing import CliRunner, Result
from hypothesis import given
from hypothesis import strategies as st

from lockside.cli import explain_input
from lockside.cli.main import main
from lockside.cli.rendering import shown

CAPTURE = Path(__file__).parents[1] / "captures" / "pydynlock.jsonl"
LINES = CAPTURE.read_text().splitlines()
RECORDS: list[dict[str, Any]] = [json.loads(line) for line in LINES]
HIDDEN = "do-not-show-4711"


def run(text: str, *options: str) -> Result:
    """Explain what stands on stdin."""
    return CliRunner().invoke(main, ["explain", *options, "-"], input=text)


def answers(text: str, *options: str) -> list[dict[str, Any]]:
    """Explain what stands on stdin, as JSON."""
    return [json.loads(line) for line in run(text, "--json", *options).stdout.splitlines()]


def awslabs(sequence: str = "1", **changes: Any) -> dict[str, Any]:
    """Make a record of an awslabs lock, with its members changed."""
    key = changes.pop("key", {"S": "job"})
    image = {
        "key": key,
        "ownerName": {"S": "alpha"},
        "recordVersionNumber": {"S": "v"},
        "leaseDuration": {"S": "4000"},
        **changes.pop("image", {}),
    }
    body = {
        "ApproximateCreationDateTime": 1795421400,
        "Keys": {"key": key},
        "NewImage": image,
        "SequenceNumber": sequence,
    }
    body |= changes.pop("body", {})
    return {"eventName": "INSERT", "awsRegion": "eu-central-1", "dynamodb": body, **changes}


def lines(*records: Any) -> str:
    """Spell records as JSON Lines."""
    return "\n".join(json.dumps(record) for record in records)


def lambda_event() -> str:
    """Spell the capture as the event that Lambda hands to a function."""
    arn = "arn:aws:dynamodb:eu-central-1:1:table/locks/stream/2026-11-23T00:00:00.000"
    return json.dumps({"Records": [{**record, "eventSourceARN": arn} for record in RECORDS]})


def cli_page() -> str:
    """Spell the capture as version 2 of the AWS CLI prints a page."""
    page = json.loads(json.dumps({"Records": RECORDS, "NextShardIterator": "x"}))
    for record in page["Records"]:
        record["dynamodb"]["ApproximateCreationDateTime"] = "2026-11-23T08:10:00+00:00"
    return json.dumps(page, indent=4)


@pytest.mark.parametrize(
    "text",
    [
        lambda_event(),
        json.dumps({"Records": RECORDS}, indent=4),
        cli_page(),
        json.dumps(RECORDS),
        "[\n" + ",\n".join(LINES) + "\n]",
        "\n\n".join(LINES) + "\n\n",
        "\ufeff" + "\r\n".join(LINES),
        lines({"Records": RECORDS[:9]}, {"Records": RECORDS[9:]}),
        "\n".join(json.dumps({"Records": part}, indent=4) for part in (RECORDS[:9], [], RECORDS[9:])) + "\n",
        "".join(json.dumps(record, indent=2) for record in RECORDS),
        lines(*({**one, "dynamodb": {"OldImage": None, "NewImage": None, **one["dynamodb"]}} for one in RECORDS)),
    ],
    ids=[
        "lambda",
        "page",
        "cli v2",
        "list",
        "list by line",
        "blank lines",
        "bom",
        "pages",
        "printed pages in a row",
        "printed records in a row",
        "null images",
    ],
)
def test_each_kind_of_input_is_detected(text: str) -> None:
    """One stream says the same in whatever wrapping it comes."""
    plain = answers("\n".join(LINES))
    assert len(plain) == len(RECORDS)
    assert answers(text) == plain


def test_layout_of_a_removal_whose_absent_image_is_null() -> None:
    """Some serialisers spell the image that is not there as null; the other one still shows the layout."""
    removal = json.loads(json.dumps(next(record for record in RECORDS if record["eventName"] == "REMOVE")))
    removal["dynamodb"]["NewImage"] = None
    assert len(answers(json.dumps(removal))) == 1


@given(st.lists(st.integers(60, 4_000), min_size=1, max_size=9), st.sampled_from(["", "\n"]))
def test_input_cut_anywhere_says_the_same(sizes: list[int], ending: str) -> None:
    """A pipe hands over what it has: the records are the same, and each wait for more is told beforehand."""
    text = ("\n\n".join(LINES[:12]) + ending).encode()
    stream = Dripping(text, sizes)
    waits: list[int] = []
    found = [entry.raw for entry in explain_input.entries(cast("BinaryIO", stream), lambda: waits.append(stream.reads))]
    assert found == RECORDS[:12]
    assert waits == list(range(stream.reads))


class Dripping:
    """A pipe that hands over pieces of given sizes, one a read."""

    def __init__(self, data: bytes, sizes: list[int]) -> None:
        """Hold what is to come."""
        self._data = data
        self._sizes = itertools.cycle(sizes)
        self.reads = 0

    def read1(self, _size: int) -> bytes:
        """Hand over the next piece; nothing at the end."""
        self.reads += 1
        size = next(self._sizes)
        piece, self._data = self._data[:size], self._data[size:]
        return piece


def test_list_of_one_record_on_a_line_of_its_own() -> None:
    """The line after a lone bracket is a whole record, and the input still one list."""
    assert answers(f"[\n{LINES[0]}\n]") == answers(LINES[0])


@pytest.mark.parametrize("text", ['{"Records": [], "NextShardIterator": "x"}', "[]"])
@pytest.mark.parametrize("options", [(), ("--layout", "awslabs"), ("--json",)])
def test_an_empty_page_is_no_fault(text: str, options: tuple[str, ...]) -> None:
    """Pages are often empty: nothing to explain, and nothing to blame the stream or the layout for."""
    result = run(text, *options)
    assert (result.exit_code, result.stdout) == (0, "")
    assert "0 stream records" in result.stderr
    assert "layout" not in result.stderr


def test_lambda_spells_ttl_in_small_letters() -> None:
    """Both spellings of userIdentity are a TTL removal."""
    removal = json.loads(json.dumps(next(record for record in RECORDS if "userIdentity" in record)))
    removal["userIdentity"] = {"type": "Service", "principalId": "dynamodb.amazonaws.com"}
    assert [one["event"] for one in answers(json.dumps(removal), "--layout", "pydynlock")] == ["lock.purged"]


BROKEN: list[tuple[Any, str]] = [
    (awslabs(eventName="RENAME"), "operation"),
    (awslabs(eventName=None), "operation"),
    (awslabs(body={"NewImage": None}), "image_missing"),
    (awslabs(body={"NewImage": [1]}), "image_shape"),
    (awslabs(body={"Keys": {}}), "key_missing"),
    (awslabs(body={"Keys": None}), "key_missing"),
    (awslabs(body={"ApproximateCreationDateTime": "noon"}), "creation_time"),
    (awslabs(key={"BOOL": True}), "key_type"),
    (awslabs(key={"WHAT": HIDDEN}), "attribute_type"),
    (awslabs(body={"SequenceNumber": None}), "sequence_number: line 2"),
    (awslabs(body={"SequenceNumber": HIDDEN}), "sequence_number: line 2"),
    ({"eventName": "INSERT"}, "sequence_number: line 2"),
    ({}, "sequence_number: line 2"),
    (HIDDEN, "not_an_object: line 2"),
    (5, "not_an_object: line 2"),
]


@pytest.mark.parametrize(("record", "reason"), BROKEN, ids=range(len(BROKEN)))
def test_broken_record_is_told_and_the_next_goes_on(record: Any, reason: str) -> None:
    """A record that cannot be understood is `stream.undecodable` with its reason; the others are explained; exit 1."""
    result = run(lines(awslabs("1"), record, awslabs("3")), "--json")
    first, broken, last = map(json.loads, result.stdout.splitlines())
    assert (first["event"], last["event"], result.exit_code) == ("lock.acquired", "lock.acquired", 1)
    assert (broken["event"], broken["reason"], broken["entity"]) == ("stream.undecodable", reason, None)
    assert broken["recorded"] is (":" not in reason)
    assert HIDDEN not in result.output


@pytest.mark.parametrize("text", ["{", HIDDEN, '{"a": ', "NaN,", "[" * 100_000, "\x00\x01"])
def test_line_that_is_no_json_is_told_by_its_number(text: str) -> None:
    """A broken line costs no other line, first, middle or last."""
    good = lines(awslabs())
    for at in range(3):
        parts = [good, good]
        parts.insert(at, text)
        result = run("\n".join(parts), "--json")
        told = [json.loads(line) for line in result.stdout.splitlines()]
        assert [one["event"] for one in told].count("lock.acquired") == 2
        assert (told[at]["event"], told[at]["reason"]) == ("stream.undecodable", f"not_json: line {at + 1}")
        assert result.exit_code == 1
        assert HIDDEN not in result.output


@pytest.mark.parametrize(
    ("record", "flags", "name"),
    [
        (awslabs(image={"leaseDuration": {"S": "soon"}}), ["lease_unreadable"], "job"),
        (awslabs(image={"leaseDuration": {"ODD": "4000"}}), ["lease_unreadable"], "job"),
        (awslabs(image={"ownerName": {"S": ""}}), ["owner_empty"], "job"),
        (awslabs(image={"ownerName": {"S": "x" * 3_000}}), [], "job"),
        (awslabs(image={"data": {"ODD": 1}}), [], "job"),
        (awslabs(image={"data": {"B": "A" * 400_000}}), [], "job"),
        (awslabs(key={"N": "5.0"}), [], "5"),
        (awslabs(key={"B": "AAEC"}), [], "AAEC"),
        (awslabs(key={"S": "k" * 2_000}), [], None),
    ],
    ids=range(9),
)
def test_odd_rows_are_flagged_or_fine(record: Any, flags: list[str], name: str | None) -> None:
    """Bad values in a row cost a flag at most, and keys of every type and length have a name."""
    (one,) = answers(lines(record), "--layout", "awslabs")
    assert (one["event"], one["flags"]) == ("lock.acquired", flags)
    assert name is None or one["entity"]["name"] == name
    assert len(json.dumps(one).encode()) < 4_000


def test_unclaimed_row_shows_nothing_of_itself() -> None:
    """A row of no layout may be anything, so not even its key is shown."""
    record = awslabs(key={"S": HIDDEN})
    record["dynamodb"]["NewImage"] = {"key": {"S": HIDDEN}, "card": {"S": HIDDEN}}
    result = run(lines(record), "--json", "--layout", "awslabs")
    (one,) = map(json.loads, result.stdout.splitlines())
    assert (one["event"], one["recorded"], one["entity"], one["reason"]) == (None, False, None, "unclaimed")
    assert "is it another layout?" in result.stderr
    assert HIDDEN not in result.output


@pytest.mark.parametrize(
    ("text", "options", "told"),
    [
        ("", (), "the input is empty"),
        ("\n \n", (), "the input is empty"),
        ("hello", (), "the input is no JSON"),
        ("5", (), "nothing in the input is a stream record"),
        ('{"Items": [1]}', (), "nothing in the input is a stream record"),
        ("1 2", (), "the input is no JSON"),
        ("{\n  'a': 1\n}", (), "the input is no JSON"),
        (lines(awslabs()), ("--layout", "awslab"), "did you mean 'awslabs'"),
        (lines(awslabs()), ("--layout", "awslabs", "--layout", "authjs"), "not both"),
        (lines(awslabs()), ("--entity-key", ""), "--entity-key is empty"),
        (lines(awslabs(body={"NewImage": {"key": {"S": "x"}, "total": {"N": "1"}}})), (), "say which with --layout"),
        (lines({"eventName": "INSERT", "dynamodb": {"Keys": {}}}), (), "NEW_AND_OLD_IMAGES"),
    ],
)
def test_wrong_use_is_told_with_the_way_out(text: str, options: tuple[str, ...], told: str) -> None:
    """Wrong use ends with exit 2 and a message that says what to do."""
    result = run(text, *options)
    assert (result.exit_code, result.stdout) == (2, "")
    assert told in result.stderr


def test_missing_file_is_wrong_use(tmp_path: Path) -> None:
    """A file that is not there is named."""
    result = CliRunner().invoke(main, ["explain", str(tmp_path / "none.jsonl")])
    assert result.exit_code == 2
    assert "none.jsonl" in result.stderr


def test_too_long_line_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """Memory is bounded by the longest line."""
    monkeypatch.setattr(explain_input, "LINE_BYTES_MAX", 100)
    result = run(lines(awslabs()))
    assert (result.exit_code, "line 1 is longer than 100 bytes" in result.stderr) == (2, True)


def test_entity_key_decides_the_pseudonym() -> None:
    """A session's name depends on the key; 32 bytes in base64 are the keys file's own spelling."""
    capture = (CAPTURE.parent / "flask-session.jsonl").read_text()

    def name(*options: str) -> Any:
        return answers(capture, *options)[0]["entity"]["name"]

    raw = "0123456789abcdef0123456789abcdef"
    spelled = "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY="
    assert name("--entity-key", raw) == name("--entity-key", spelled)
    assert len({name(), name("--entity-key", raw), name("--entity-key", "other")}) == 3


def test_index_keys_of_a_ttl_removal_split_no_entity() -> None:
    """On DynamoDB Local a TTL removal carries the keys of indexes too: the item's name does not change."""
    removal = {"eventName": "REMOVE", "userIdentity": {"Type": "Service", "PrincipalId": "dynamodb.amazonaws.com"}}
    record = awslabs("2", **removal)
    image = record["dynamodb"].pop("NewImage")
    record["dynamodb"] |= {"OldImage": image, "Keys": {"key": {"S": "job"}, "GSI1PK": {"S": "x"}}}
    first, last = answers(lines(awslabs(), record))
    assert (first["entity"], last["event"]) == (last["entity"], "lock.purged")


def test_optional_sort_key_is_part_of_the_name() -> None:
    """A client with an optional sort key has one key more in all records, and it belongs to the lock."""
    records = [awslabs(str(i), body={"Keys": {"key": {"S": "job"}, "range": {"S": f"r{i}"}}}) for i in range(2)]
    assert [one["entity"]["name"] for one in answers(lines(*records))] == ["job/r0", "job/r1"]


def test_answer_for_people_is_aligned_and_safe_for_a_terminal() -> None:
    """Names come from strangers: what a terminal would act upon is escaped."""
    assert shown("a\x1b[31m\nb\u202e") == "a\\x1b[31m\\nb\\u202e"
    result = run(lines(awslabs(key={"S": "\x1b]0;title\x07"})))
    assert "\x1b" not in result.stdout
    header, row = result.stdout.splitlines()[-2:]
    assert header.index("ENTITY") == row.index("\\x1b]0;title")
