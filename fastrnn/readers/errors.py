# SPDX-License-Identifier: MIT
"""The one exception that every reader raises, and how it quotes what stands in a file."""

from __future__ import annotations

_LONGEST_QUOTE = 80


class FormatError(ValueError):
    """A model file is malformed, truncated, hostile, or of a kind that is not supported."""


class UnsupportedError(FormatError):
    """One entry of a sound file is of a kind that is not read; the others may be."""


class UnsupportedModel(FormatError):  # noqa: N818
    """A sound model that cannot be described; the message lists everything that is in the way."""


class OnlyWeights(FormatError):  # noqa: N818
    """A sound file that holds weights by name, but not the layers of a model."""


def quote(text: str) -> str:
    """A printable, bounded rendering of a name that came from a file."""
    if len(text) > _LONGEST_QUOTE:
        text = text[: _LONGEST_QUOTE - 3] + "..."
    return ascii(text)


def listing(names: list[str], limit: int = 12) -> str:
    """The first few names, quoted, and how many more there are."""
    shown = ", ".join(quote(name) for name in names[:limit])
    more = len(names) - limit
    return f"{shown} and {more} more" if more > 0 else shown
