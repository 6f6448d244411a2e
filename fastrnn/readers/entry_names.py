# SPDX-License-Identifier: MIT
"""Names of the entries of a file: which are accepted, and those below a dotted path."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TypeVar

from .errors import FormatError, listing, quote

_Value = TypeVar("_Value")

LONGEST_NAME = 1024
_WRAPPERS = ("module", "_orig_mod")


def check_name(name: str) -> str:
    """A tensor name that can be printed, encoded and stored."""
    try:
        name.encode("utf-8")
    except UnicodeEncodeError:
        raise FormatError(f"tensor name {quote(name)} is not valid text") from None
    if len(name) > LONGEST_NAME:
        raise FormatError(f"tensor name {quote(name)} has {len(name)} characters")
    return name


def wrapper_path(names: Iterable[str]) -> str:
    """The path of wrapper modules, as "module._orig_mod", that every name carries at the front."""
    names = list(names)
    path = ""
    while names:
        wrapper = next(
            (w for w in _WRAPPERS if all(n.startswith(f"{path}{w}.") for n in names)), None
        )
        if wrapper is None:
            break
        path += f"{wrapper}."
    return path.removesuffix(".")


def below(entries: Mapping[str, _Value], path: str) -> dict[str, _Value]:
    """The entries at or below a dotted path, named relative to it."""
    if not path:
        return dict(entries)
    inside = {name: value for name, value in entries.items() if f"{name}.".startswith(f"{path}.")}
    return {name[len(path) + 1 :]: value for name, value in inside.items()}


def select(arrays: Mapping[str, _Value], key: str) -> dict[str, _Value]:
    """The entries of a flat state dict below `key`, FormatError if there are none."""
    chosen = below(arrays, key)
    if not chosen or "" in chosen:
        tops = list(dict.fromkeys(name.split(".")[0] for name in arrays))
        raise FormatError(
            f"no tensors below key {quote(key)}; the names begin with {listing(tops)}"
        )
    return chosen
