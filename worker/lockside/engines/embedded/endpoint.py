"""The endpoint's own clock, which stream records are stamped with: ours may differ."""

import email.utils
from collections.abc import Mapping
from typing import Any


def endpoint_ms(answer: Mapping[str, Any]) -> int | None:
    """Read an answer's Date header in epoch milliseconds, to the second; None without a readable one."""
    date = answer.get("ResponseMetadata", {}).get("HTTPHeaders", {}).get("date")
    try:
        return int(email.utils.parsedate_to_datetime(date).timestamp() * 1000) if date else None
    except ValueError:
        return None
