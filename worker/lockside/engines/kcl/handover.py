"""A batch from Java to Python: one Java call for all its records, and one parse.

Strategy: a record's `data()` is its JSON as the adapter spells it. A method handle made into a `Function` turns each
into text inside Java, `Collectors.joining` makes them one text, and one array crosses. Per record that is a fiftieth of
what its getters would cost (docs/decisions).
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final

import orjson

from lockside.aws import fast_parse
from lockside.engines.kcl.java import class_of

SEPARATOR: Final = b"\n"
"""JSON without line breaks of its own: the adapter's writer makes none."""


class HandOver:
    """Takes batches over. Made once for a JVM."""

    def __init__(self) -> None:
        """Bind the Java methods."""
        invoke = "java.lang.invoke."
        handles, types = class_of(invoke + "MethodHandles"), class_of(invoke + "MethodType")
        lookup = handles.publicLookup()
        buffer, chars = class_of("java.nio.ByteBuffer").class_, class_of("java.nio.CharBuffer").class_
        charset = class_of("java.nio.charset.Charset").class_
        self._utf8 = class_of("java.nio.charset.StandardCharsets").UTF_8
        record = class_of("software.amazon.kinesis.retrieval.KinesisClientRecord").class_
        data = lookup.findVirtual(record, "data", types.methodType(buffer))
        decode = handles.insertArguments(
            lookup.findVirtual(charset, "decode", types.methodType(chars, buffer)), 0, self._utf8
        )
        function = class_of("java.util.function.Function").class_
        self._text = class_of(invoke + "MethodHandleProxies").asInterfaceInstance(
            function, handles.filterReturnValue(data, decode)
        )
        self._collectors = class_of("java.util.stream.Collectors")

    def lines(self, records: Any) -> bytes:
        """Return the records of a Java list as lines of JSON."""
        joined = records.stream().map(self._text).collect(self._collectors.joining("\n"))
        return bytes(joined.getBytes(self._utf8))


def read_lines(lines: bytes) -> Sequence[Mapping[str, Any]]:
    """Read a batch's lines in the form that the core takes; images stay text until they are asked for.

    A line that is not as known is read whole, as it stands.
    """
    if not lines:
        return []
    try:
        return fast_parse.read_records(b"[" + lines.replace(SEPARATOR, b",") + b"]")
    except fast_parse.UnexpectedError:
        return [_read(line) for line in lines.split(SEPARATOR)]


def _read(line: bytes) -> Any:
    try:
        return orjson.loads(line)
    except orjson.JSONDecodeError:
        # It has no place then: the processor takes it for a faulty page.
        return None
