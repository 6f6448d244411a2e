# SPDX-License-Identifier: MIT
"""Files of torch.save before PyTorch 1.6: five pickles one after another, then the storages.

Counts and elements are always little-endian. The byte order in the system information does not
apply to them.
"""

from __future__ import annotations

from ..containers.pickle_vm import LARGEST_PICKLE, Storage, Unpickled, load_pickle
from ..containers.source import Bytes, Source
from ..errors import FormatError, quote
from .torch_content import TorchContent
from .torch_tensors import TensorLoader, storage_itemsize

_MAGIC = 0x1950A86A20F9469CFC6C
_PROTOCOL = 1001


def open_torch_legacy(source: Source) -> TorchContent:
    """Open the content of a legacy stream."""
    data = source.read(0, min(source.size, LARGEST_PICKLE), "legacy stream")
    at = 0

    def next_pickle(what: str) -> Unpickled:
        nonlocal at
        result = load_pickle(data, what, source.budget, at)
        at = result.end
        return result

    if next_pickle("magic number").value != _MAGIC:
        raise FormatError("the magic number of a legacy PyTorch file is wrong")
    if next_pickle("protocol version").value != _PROTOCOL:
        raise FormatError(f"the legacy protocol version is not {_PROTOCOL}")
    if not isinstance(next_pickle("system information").value, dict):
        raise FormatError("system information: not a dict")
    content = next_pickle("pickled object")
    keys = next_pickle("storage keys").value
    places = _locate_storages(source, content.storages, keys, at)

    def load_storage(name: str, nbytes: int) -> Bytes:
        begin, size = places[name]
        if size != nbytes:
            raise FormatError(f"storage {quote(name)} has {size} bytes, the pickle says {nbytes}")
        return source.read_array(begin, size, f"storage {quote(name)}")

    return TorchContent(content.value, TensorLoader(load_storage, source.budget, big_endian=False))


def _locate_storages(
    source: Source, storages: dict[str, Storage], keys: object, at: int
) -> dict[str, tuple[int, int]]:
    """Return offset and length of each storage; each is preceded by its element count."""
    if not isinstance(keys, list) or not all(isinstance(key, str) for key in keys):
        raise FormatError("storage keys: not a list of strings")
    if len(set(keys)) != len(keys) or set(keys) != set(storages):
        raise FormatError("storage keys: the list differs from what the object refers to")
    places: dict[str, tuple[int, int]] = {}
    for key in keys:
        what = f"storage {quote(key)}"
        count = int.from_bytes(source.read(at, 8, what), "little")
        if count != storages[key].count:
            raise FormatError(f"{what} has {count} elements, the pickle says {storages[key].count}")
        size = count * storage_itemsize(storages[key], what)
        at += 8
        if at + size > source.size:
            raise FormatError(
                f"{what} ({size} bytes at byte {at}) reaches beyond the end of the file"
            )
        places[key] = (at, size)
        at += size
    if at != source.size:
        raise FormatError(f"{source.size - at} bytes follow the last storage")
    return places
