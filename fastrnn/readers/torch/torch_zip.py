# SPDX-License-Identifier: MIT
"""Files of torch.save since PyTorch 1.6: a ZIP archive with one pickle and its storages."""

from __future__ import annotations

from ..containers.pickle_vm import LARGEST_PICKLE, Unpickled, load_pickle
from ..containers.source import Bytes, Source
from ..containers.zip_archive import ZipArchive
from ..errors import FormatError, quote
from .torch_content import TorchContent
from .torch_tensors import TensorLoader

_LARGEST_NOTE = 64


class TorchArchive:
    """The members of a PyTorch archive. All are in one folder, whose name does not matter."""

    def __init__(self, archive: ZipArchive, source: Source) -> None:
        self._archive = archive
        self._source = source
        self._root = next(iter(archive.members)).split("/")[0] + "/"
        for name in archive.members:
            if not name.startswith(self._root):
                raise FormatError(f"member {quote(name)} is outside the folder {quote(self._root)}")
        self._check_version()
        self.big_endian = self._is_big_endian()

    @property
    def names(self) -> list[str]:
        """Member names without the common folder."""
        return [name[len(self._root) :] for name in self._archive.members]

    def pickle(self, name: str) -> Unpickled:
        """Interpret the member `name`, which must be a single pickle."""
        data = self.read(name, LARGEST_PICKLE)
        result = load_pickle(data, name, self._source.budget)
        if result.end != len(data):
            raise FormatError(f"{name}: {len(data) - result.end} bytes after the end of the pickle")
        return result

    def read(self, name: str, limit: int) -> bytes:
        """Return the bytes of a small member; FormatError if it has more than `limit`."""
        return self._archive.read(self._root + name, limit)

    def array(self, name: str) -> Bytes:
        """Return the bytes of a large member as a new array."""
        return self._archive.read_array(self._root + name)

    def size(self, name: str) -> int:
        """Return the length of a member in bytes."""
        return self._archive.size(self._root + name)

    def loader(self, folder: str) -> TensorLoader:
        """Return a loader of tensors whose storages are in `folder`."""

        def load_storage(key: str, nbytes: int) -> Bytes:
            name = f"{self._root}{folder}/{key}"
            if self._archive.size(name) != nbytes:
                raise FormatError(
                    f"storage {quote(name)} has {self._archive.size(name)} bytes, "
                    f"the pickle says {nbytes}"
                )
            return self._archive.read_array(name)

        return TensorLoader(load_storage, self._source.budget, self.big_endian)

    def _check_version(self) -> None:
        if "version" in self.names:
            version = self.read("version", _LARGEST_NOTE).strip()
            if not (version.isdigit() and 0 < int(version) < 100):
                raise FormatError(f"unknown archive version {version!r}")

    def _is_big_endian(self) -> bool:
        if "byteorder" not in self.names:
            return False
        order = self.read("byteorder", _LARGEST_NOTE).strip()
        if order not in (b"little", b"big"):
            raise FormatError(f"unknown byte order {order!r}")
        return order == b"big"


def open_torch_zip(archive: ZipArchive, source: Source) -> TorchContent:
    """Open the content of a torch.save file."""
    members = TorchArchive(archive, source)
    return TorchContent(members.pickle("data.pkl").value, members.loader("data"))
