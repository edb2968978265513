"""One answer of GetRecords, as far as it must be sound before anything of it is consumed.

Two kinds of bad answers are told apart. One that broke off or was spoilt on its way has no list of records, or is no
text: it is asked for again like any call that failed, however often. One that came whole with something in it that no
page holds is a faulty page: it would come again, so nothing may be passed over by reading on.
"""

from collections.abc import Callable, Mapping
from typing import Any, Final

from lockside.aws.answers import UNREADABLE, BrokenAnswerError
from lockside.errors import FaultyPageError

OPERATION: Final = "GetRecords"


def sound(ask: Callable[[], Mapping[str, Any]]) -> Mapping[str, Any]:
    """Ask for a page. The iterator of a shard's last page may be null or missing; nothing else may stand in its place.

    Raises BrokenAnswerError for an answer that is not whole, FaultyPageError for a whole one that is no page, and what
    the call raises.
    """
    try:
        page = ask()
    except UnicodeDecodeError as error:
        # Broken off inside a character: botocore decodes a body before it looks at it.
        raise BrokenAnswerError(OPERATION) from error
    except UNREADABLE as error:
        raise FaultyPageError("page") from error
    if "Records" not in page:
        raise BrokenAnswerError(OPERATION)
    iterator = page.get("NextShardIterator")
    if not isinstance(page["Records"], list) or not (iterator is None or (isinstance(iterator, str) and iterator)):
        raise FaultyPageError("page")
    return page
