"""What an answer's headers say: its size, and the endpoint's own clock, which stream records are stamped with."""

import email.utils
from collections.abc import Mapping
from typing import Any, Final

PAGE_BYTES_MAX: Final = 1 << 20
"""GetRecords answers with 1 MB at most (API reference)."""


def endpoint_ms(answer: Mapping[str, Any]) -> int | None:
    """Read an answer's Date header in epoch milliseconds, to the second; None without a readable one."""
    date = _headers(answer).get("date")
    try:
        return int(email.utils.parsedate_to_datetime(date).timestamp() * 1000) if date else None
    except ValueError:
        return None


def wire_bytes(answer: Mapping[str, Any]) -> int:
    """Return how many bytes an answer came in, by its Content-Length; without one, as many as a page may have."""
    length = _headers(answer).get("content-length", "")
    return int(length) if length.isascii() and length.isdigit() else PAGE_BYTES_MAX


def _headers(answer: Mapping[str, Any]) -> Mapping[str, str]:
    headers: Mapping[str, str] = answer.get("ResponseMetadata", {}).get("HTTPHeaders", {})
    return headers
