# SPDX-License-Identifier: MIT
"""The exceptions of the readers, and how their messages quote names from a file."""

from __future__ import annotations

from collections.abc import Iterable

_LONGEST_QUOTE = 80
_LONGEST_MESSAGE = 1 << 16


class FormatError(ValueError):
    """A model file is malformed, truncated, hostile, or of a kind that is not supported."""


class UnsupportedError(FormatError):
    """One entry of a sound file is of a kind that is not read; others may be readable."""


class UnsupportedModel(FormatError):  # noqa: N818
    """A sound model that cannot be described; the message lists everything that is unsupported."""


class WrongRank(UnsupportedModel):
    """The framework itself would refuse an input with so many axes."""


class OnlyWeights(FormatError):  # noqa: N818
    """A sound file that holds weights by name, but not the layers of a model."""


def quote(text: str) -> str:
    """A printable, bounded rendering of a name that came from a file."""
    if len(text) > _LONGEST_QUOTE:
        text = text[: _LONGEST_QUOTE - 3] + "..."
    return ascii(text)


def listing(names: Iterable[str], limit: int = 20) -> str:
    """The first few names, quoted, and how many more there are."""
    names = list(names)
    shown = ", ".join(quote(name) for name in names[:limit])
    more = len(names) - limit
    return f"{shown} and {more} more" if more > 0 else shown


def shortened(message: str) -> str:
    """A message whose length no file can choose: it may put together many reasons."""
    more = len(message) - _LONGEST_MESSAGE
    return f"{message[:_LONGEST_MESSAGE]} ... and {more} characters more" if more > 0 else message
