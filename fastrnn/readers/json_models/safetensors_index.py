# SPDX-License-Identifier: MIT
"""Sharded safetensors: an index in JSON, which says in which file each tensor is."""

from __future__ import annotations

from ..containers.elements import Entry
from ..containers.safetensors import read_safetensors
from ..containers.source import Source, open_beside
from ..errors import FormatError, listing, quote
from .json_values import Object, json_map

WEIGHT_MAP = "weight_map"
_MOST_SHARDS = 10_000


def read_shards(index: Object, source: Source, folder: str | None) -> dict[str, Entry]:
    """The tensors of all shards, which are in the index's folder, in the order of the index.

    FormatError if a shard is missing, or has other tensors than the index says.
    """
    places = json_map(index, WEIGHT_MAP)
    shards: dict[str, list[str]] = {}
    for name, file in places.items():
        if not isinstance(file, str):
            raise FormatError(f"{WEIGHT_MAP}: {quote(name)}: expected the name of a file")
        shards.setdefault(file, []).append(name)
    if len(shards) > _MOST_SHARDS:
        raise FormatError(f"{WEIGHT_MAP}: {len(shards)} files, at most {_MOST_SHARDS} are read")
    entries: dict[str, Entry] = {}
    for file, names in shards.items():
        what = f"shard {quote(file)}"
        with open_beside(folder, file, what) as shard:
            source.budget.admit(shard.size)
            shard.budget = source.budget
            found = _read(shard, what)
        if odd := found.keys() ^ set(names):
            raise FormatError(
                f"{what}: missing or unexpected tensors, by the index: {listing(sorted(odd))}"
            )
        entries |= found
    return {name: entries[name] for name in places}


def _read(shard: Source, what: str) -> dict[str, Entry]:
    try:
        return read_safetensors(shard)
    except FormatError as error:
        raise FormatError(f"{what}: {error}") from None
