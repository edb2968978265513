"""msgpack. Extension types stay opaque values.

Keys that are no text are read where a map has few of them: their hashes can be foreseen, so that many, well chosen,
would cost the square of their number.
"""

from collections.abc import Hashable
from typing import Any, Final

import msgpack  # type: ignore[import-untyped]

from lockside.layouts.decoders.limits import BYTES_MAX, MEMBERS_MAX

OTHER_KEYS_MAX: Final = 1_000


def decode(data: bytes) -> Any:
    """Decode one msgpack value. Raises ValueError, TypeError or msgpack's own exceptions."""
    try:
        return _unpacked(data, strict_map_key=True)
    except ValueError:
        # Refused for a key that is no text, among other reasons; Python's own map-making is the slower way.
        return _unpacked(data, strict_map_key=False, object_pairs_hook=_map)


def _map(pairs: list[tuple[Hashable, Any]]) -> dict[Hashable, Any]:
    if sum(not isinstance(key, str | bytes) for key, _ in pairs) > OTHER_KEYS_MAX:
        raise ValueError
    return dict(pairs)


def _unpacked(data: bytes, **settings: Any) -> Any:
    return msgpack.unpackb(
        data,
        raw=False,
        **settings,
        use_list=True,
        max_str_len=BYTES_MAX,
        max_bin_len=BYTES_MAX,
        max_ext_len=BYTES_MAX,
        max_array_len=MEMBERS_MAX,
        max_map_len=MEMBERS_MAX,
    )
