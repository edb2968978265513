"""Codecs that only read: from bytes of a stranger to plain values. None can make an object, call or import anything."""
