"""msgpack. Extension types stay opaque values; non-text keys are refused, as the library advises for foreign data."""

from typing import Any

import msgpack  # type: ignore[import-untyped]

from lockside.layouts.decoders.limits import BYTES_MAX, MEMBERS_MAX


def decode(data: bytes) -> Any:
    """Decode one msgpack value. Raises ValueError, TypeError or msgpack's own exceptions."""
    return msgpack.unpackb(
        data,
        raw=False,
        strict_map_key=True,
        use_list=True,
        max_str_len=BYTES_MAX,
        max_bin_len=BYTES_MAX,
        max_ext_len=BYTES_MAX,
        max_array_len=MEMBERS_MAX,
        max_map_len=MEMBERS_MAX,
    )
