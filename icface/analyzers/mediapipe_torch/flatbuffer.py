"""A reader of flatbuffers and of protocol buffers: just what MediaPipe's model files need, no package required.

Formats: https://flatbuffers.dev/internals and https://protobuf.dev/programming-guides/encoding. Every read outside
of the bytes raises ValueError, so a cut file never gives a wrong answer.
"""

import struct
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt


def _unpack(kind: str, data: bytes, position: int) -> int | float:
    if position < 0:
        raise ValueError("an offset points before the file's start")
    try:
        (value,) = struct.unpack_from("<" + kind, data, position)
    except struct.error:
        raise ValueError("an offset points beyond the file's end") from None
    number: int | float = value
    return number


@dataclass(frozen=True)
class Table:
    """One table of a flatbuffer: its fields are read by their number in the schema."""

    data: bytes
    position: int

    @classmethod
    def root(cls, data: bytes) -> "Table":
        """The table that a flatbuffer starts with."""
        return cls(data, int(_unpack("I", data, 0)))

    def number(self, field: int, kind: str, default: int = 0) -> int:
        """A scalar field; `kind` is its letter in Python's struct module."""
        place = self._field(field)
        return int(_unpack(kind, self.data, place)) if place else default

    def text(self, field: int) -> str:
        """A string field; empty when it is not there."""
        place = self._field(field)
        return self._bytes(place).decode(errors="replace") if place else ""

    def table(self, field: int) -> "Table | None":
        """A table field."""
        place = self._field(field)
        return Table(self.data, self._follow(place)) if place else None

    def tables(self, field: int) -> list["Table"]:
        """A vector of tables."""
        place = self._field(field)
        if not place:
            return []
        start = self._follow(place)
        count = int(_unpack("I", self.data, start))
        if start + 4 + 4 * count > len(self.data):
            raise ValueError("a list reaches beyond the file's end")
        return [Table(self.data, self._follow(start + 4 + 4 * index)) for index in range(count)]

    def array(self, field: int, dtype: npt.DTypeLike) -> npt.NDArray[np.generic]:
        """A vector of scalars; empty when it is not there."""
        place = self._field(field)
        item = np.dtype(dtype)
        return np.frombuffer(self._bytes(place, item.itemsize), item) if place else np.empty(0, item)

    def _field(self, field: int) -> int:
        """Where a field's value lies; 0 when the table lacks it."""
        vtable = self.position - int(_unpack("i", self.data, self.position))
        if 4 + 2 * field >= int(_unpack("H", self.data, vtable)):
            return 0
        offset = int(_unpack("H", self.data, vtable + 4 + 2 * field))
        return self.position + offset if offset else 0

    def _follow(self, place: int) -> int:
        return place + int(_unpack("I", self.data, place))

    def _bytes(self, place: int, size: int = 1) -> bytes:
        start = self._follow(place)
        end = start + 4 + size * int(_unpack("I", self.data, start))
        if end > len(self.data):
            raise ValueError("a list reaches beyond the file's end")
        return self.data[start + 4 : end]


VARINT, FIXED64, BYTES, FIXED32 = 0, 1, 2, 5


def messages(data: bytes) -> Iterator[tuple[int, int | bytes]]:
    """Field numbers and values of a protocol buffer: int for numbers, bytes for all else (floats too)."""
    position = 0
    while position < len(data):
        key, position = _varint(data, position)
        kind = key & 7
        value: int | bytes
        if kind == VARINT:
            value, position = _varint(data, position)
        elif kind in (FIXED64, FIXED32, BYTES):
            size = {FIXED64: 8, FIXED32: 4}.get(kind, 0)
            if kind == BYTES:
                size, position = _varint(data, position)
            if position + size > len(data):
                raise ValueError("a field reaches beyond the message's end")
            value, position = data[position : position + size], position + size
        else:
            raise ValueError(f"wire type {kind} is unknown")
        yield key >> 3, value


def _varint(data: bytes, position: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        if position >= len(data) or shift > 63:
            raise ValueError("a number reaches beyond the message's end")
        byte = data[position]
        value |= (byte & 0x7F) << shift
        shift, position = shift + 7, position + 1
        if not byte & 0x80:
            return value, position
