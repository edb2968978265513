"""One answer of GetRecords, as far as it must be sound before anything of it is consumed.

An answer that is not as the API has it was spoilt on the way, or made by something that is no DynamoDB. botocore reads
what is not JSON as an answer without members, in which a missing iterator would mean that the shard has ended.
"""

from collections.abc import Callable, Mapping
from typing import Any, Final

from botocore.parsers import ResponseParserError

from lockside.errors import FaultyPageError

UNREADABLE: Final = (
    ResponseParserError,
    ArithmeticError,
    AttributeError,
    LookupError,
    RuntimeError,
    TypeError,
    ValueError,
)
"""What botocore's parser raises at an answer that is not as its model says; all else it wraps in errors of its own."""


def sound(ask: Callable[[], Mapping[str, Any]]) -> Mapping[str, Any]:
    """Ask for a page. Raises FaultyPageError for an answer that cannot be read, has no list of records or no iterator.

    The iterator of a shard's last page may be null or missing; nothing else may stand in its place.
    """
    try:
        page = ask()
    except UNREADABLE as error:
        raise FaultyPageError("page") from error
    iterator = page.get("NextShardIterator")
    if not isinstance(page.get("Records"), list) or not (iterator is None or (isinstance(iterator, str) and iterator)):
        raise FaultyPageError("page")
    return page
