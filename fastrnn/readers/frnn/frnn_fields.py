# SPDX-License-Identifier: MIT
"""Converts the options of layers to fields of a .frnn file's 64-byte record, and back."""

from __future__ import annotations

import operator
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from ..errors import FormatError

REQUIRED = object()  # in place of a default
LARGEST = 2**31 - 1
MOST_SIZES = 7  # of a list of integers in a record

Options = dict[str, Any]


@dataclass(slots=True)
class Record:
    """The part of a layer's record whose meaning depends on its kind."""

    flags: int = 0
    integers: list[int] = field(default_factory=lambda: [0] * 8)
    floats: list[float] = field(default_factory=lambda: [0.0] * 2)


@dataclass(frozen=True, slots=True)
class Flag:
    """A bool, bit `place` of the flags."""

    name: str
    place: int
    default: object = REQUIRED

    def pack(self, value: object, record: Record) -> None:
        if not isinstance(value, (bool, int)) or value not in (0, 1):
            raise FormatError(f"{self.name}: expected True or False, got {value!r:.80}")
        record.flags |= int(value) << self.place

    def unpack(self, record: Record) -> object:
        return bool(record.flags >> self.place & 1)


@dataclass(frozen=True, slots=True)
class Choice:
    """One of several texts, whose number is in the flags from bit `place` on."""

    name: str
    place: int
    texts: tuple[str, ...]
    default: object = REQUIRED

    def pack(self, value: object, record: Record) -> None:
        if value not in self.texts:
            expected = " or ".join(map(repr, self.texts))
            raise FormatError(f"{self.name}: expected {expected}, got {value!r:.80}")
        record.flags |= self.texts.index(str(value)) << self.place

    def unpack(self, record: Record) -> object:
        bits = (len(self.texts) - 1).bit_length()
        number = record.flags >> self.place & ((1 << bits) - 1)
        if number >= len(self.texts):
            raise FormatError(f"{self.name}: expected less than {len(self.texts)}, got {number}")
        return self.texts[number]


@dataclass(frozen=True, slots=True)
class Integer:
    """An integer of at least `lowest`, in slot `place`; `word`, if set, is stored as -1."""

    name: str
    place: int
    lowest: int = 1
    default: object = REQUIRED
    word: object = REQUIRED

    def pack(self, value: object, record: Record) -> None:
        if self.word is not REQUIRED and value == self.word:
            record.integers[self.place] = -1
        else:
            record.integers[self.place] = check_integer(self.name, _single(value), self.lowest)

    def unpack(self, record: Record) -> object:
        value = record.integers[self.place]
        if value == -1 and self.word is not REQUIRED:
            return self.word
        return check_integer(self.name, value, self.lowest)


@dataclass(frozen=True, slots=True)
class Word:
    """One of several texts, by its number in slot `place`."""

    name: str
    place: int
    texts: tuple[str, ...]

    default = REQUIRED

    def pack(self, value: object, record: Record) -> None:
        if value not in self.texts:
            expected = ", ".join(map(repr, self.texts))
            raise FormatError(f"{self.name}: expected one of {expected}, got {value!r:.80}")
        record.integers[self.place] = self.texts.index(str(value))

    def unpack(self, record: Record) -> object:
        number = record.integers[self.place]
        if not 0 <= number < len(self.texts):
            raise FormatError(f"{self.name}: expected 0 to {len(self.texts) - 1}, got {number}")
        return self.texts[number]


@dataclass(frozen=True, slots=True)
class Integers:
    """A few integers of at least `lowest`: slot 0 holds their number, the next slots the values."""

    name: str
    lowest: int
    most: int

    default = REQUIRED

    def pack(self, value: object, record: Record) -> None:
        values = list(value) if isinstance(value, Sequence) else [value]
        if not 1 <= len(values) <= self.most:
            raise FormatError(f"{self.name}: expected 1 to {self.most} integers, got {len(values)}")
        for place, item in enumerate([len(values), *values]):
            record.integers[place] = check_integer(self.name, item, self.lowest)

    def unpack(self, record: Record) -> object:
        count = record.integers[0]
        if not 1 <= count <= self.most:
            raise FormatError(f"{self.name}: expected 1 to {self.most} integers, got {count}")
        return tuple(
            check_integer(self.name, value, self.lowest) for value in record.integers[1 : 1 + count]
        )


@dataclass(frozen=True, slots=True)
class Number:
    """A float from `low` to `high`, in slot `place` of the floats."""

    name: str
    place: int
    low: float
    high: float
    default: object = REQUIRED

    def pack(self, value: object, record: Record) -> None:
        try:
            record.floats[self.place] = float(value)  # type: ignore[arg-type]
        except (TypeError, ValueError, OverflowError):
            raise FormatError(f"{self.name}: expected a number, got {value!r:.80}") from None
        self.unpack(record)

    def unpack(self, record: Record) -> object:
        value = record.floats[self.place]
        if not self.low <= value <= self.high:  # nor is a NaN
            raise FormatError(
                f"{self.name}: expected a number from {self.low:g} to {self.high:g}, got {value!r}"
            )
        return value


Field = Flag | Choice | Word | Integer | Integers | Number


def check_integer(name: str, value: object, lowest: int) -> int:
    """Return an int that fits its slot; FormatError otherwise."""
    try:
        number = operator.index(value)  # type: ignore[arg-type]
    except TypeError:
        raise FormatError(f"{name}: expected an integer, got {value!r:.80}") from None
    if not lowest <= number <= LARGEST:
        raise FormatError(
            f"{name}: expected an integer from {lowest} to {LARGEST}, got {number!r:.80}"
        )
    return number


def _single(value: object) -> object:
    """Return v of (v,), the form in which torch.nn.Conv1d keeps its sizes."""
    return value[0] if isinstance(value, (tuple, list)) and len(value) == 1 else value


def pack(fields: Sequence[Field], options: Options) -> Record:
    """Return the record of a layer's options; missing ones get the default of torch.nn."""
    names = {one.name for one in fields}
    for name in options:
        if name not in names:
            known = ", ".join(sorted(names)) or "none"
            raise FormatError(f"option {name!r:.80} is not part of the format, expected of {known}")
    record = Record()
    for one in fields:
        value = options.get(one.name, one.default)
        if value is REQUIRED:
            raise FormatError(f"option {one.name!r} is missing")
        one.pack(value, record)
    return record


def unpack(fields: Sequence[Field], record: Record) -> Options:
    """The options of a record, all of them; bits that no field owns must be zero."""
    options = {one.name: one.unpack(record) for one in fields}
    if pack(fields, options) != record:
        raise FormatError("a reserved flag or number of its record is not 0")
    return options
