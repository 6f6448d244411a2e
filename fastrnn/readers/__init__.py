# SPDX-License-Identifier: MIT
"""Readers of model files: weights as numpy arrays; nothing in a file is ever executed."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from copy import copy
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from .containers.budget import ARRAY_OVERHEAD, Budget
from .containers.elements import Array, Entry, Unreadable
from .errors import FormatError, OnlyWeights, UnsupportedModel
from .places import Place, open_place

if TYPE_CHECKING:  # imported with the first file: `import fastrnn` stays fast
    from .description import Description, RecurrentOptions
    from .formats import Format, OpenFile

__all__ = [
    "FormatError",
    "ModelFile",
    "OnlyWeights",
    "OpenModel",
    "Place",
    "UnsupportedModel",
    "describe_file",
    "open_model",
    "read_file",
    "read_state_dict",
]

_ONLY_WEIGHTS = (
    "the file ({}) holds only weights, not the layers of a model: take them by name with "
    "fastrnn.read_state_dict(path), or one recurrent layer with fastrnn.load(path, prefix=...); "
    "files of fastrnn (.frnn), torch.export (.pt2), TorchScript, ONNX and Keras (.keras, .h5) hold "
    "whole models"
)


@dataclass(frozen=True)
class ModelFile:
    """The content of a model file: its arrays by name and what it says of its recurrent layers.

    `unreadable` holds the entries of a kind that is not read, with why, as "tensor ... is sparse".
    `budget` is what is left for what is made of the arrays.
    """

    path: str
    format: str
    arrays: dict[str, Array]
    recurrent: RecurrentOptions = field(default_factory=dict)
    unreadable: dict[str, Unreadable] = field(default_factory=dict)
    budget: Budget | None = field(default=None, repr=False, compare=False)


class OpenModel:
    """An open model file of a known format: its arrays, and the model in it."""

    def __init__(self, path: str, key: str | None, file: OpenFile, known: Format) -> None:
        self.path, self.key, self._file, self._format = path, key, file, known
        self._opened = copy(file.source.budget)  # what is left after the members of an archive

    def arrays(self) -> ModelFile:
        """Read the weights, as `read_file` returns them."""
        return self._arrays(self.key)

    def all_arrays(self) -> ModelFile:
        """Read the weights without the key."""
        return self._arrays(None)

    def _arrays(self, key: str | None) -> ModelFile:
        from .entry_names import below, select, wrapper_path

        known, source = self._format, self._file.source
        source.budget = copy(self._opened)
        entries, recurrent = known.arrays(self._file, key if known.arrays_by_key else None)
        if key and not known.arrays_by_key:
            entries, recurrent = select(entries, key), below(recurrent, key)
        wrapper = wrapper_path(entries)
        arrays, unreadable = _divide(below(entries, wrapper))
        recurrent = below(recurrent, wrapper)
        left = self.budget_beside(arrays.values())
        return ModelFile(self.path, known.name, arrays, recurrent, unreadable, left)

    def budget_beside(self, arrays: Iterable[Array]) -> Budget:
        """What is left when the file is read and only these arrays are kept."""
        budget = copy(self._file.source.budget)
        budget.release(budget.in_use - self._opened.in_use)
        for array in {id(array): array for array in arrays}.values():
            budget.spend(array.nbytes + ARRAY_OVERHEAD, "the arrays of the file")
        return budget

    def describe(self) -> Description:
        """Describe the whole model, as `describe_file` does; OnlyWeights if the file holds none."""
        known, source = self._format, self._file.source
        if known.describe is None:
            raise OnlyWeights(_ONLY_WEIGHTS.format(known.name))
        if self.key is not None and not known.describe_by_key:
            raise FormatError(
                f"key={self.key!r}: a file of this kind ({known.name}) holds one model, without key"
            )
        source.budget = copy(self._opened)
        try:
            return known.describe(self._file, self.key)
        except OnlyWeights:  # a format that may hold either
            raise OnlyWeights(_ONLY_WEIGHTS.format(known.name)) from None


@contextmanager
def open_model(path: Place, key: str | None = None, check_crc: bool = True) -> Iterator[OpenModel]:
    """Open a model file of any supported format and recognize it; arguments as of `read_file`.

    Every FormatError within the block begins with the name of the file.
    """
    from .formats import recognize

    if not (key is None or isinstance(key, str)):
        raise TypeError(f"key: expected str or None, got {type(key).__name__}")
    with open_place(path) as (name, folder, source):
        yield OpenModel(name, key, *recognize(source, folder, check_crc))


def read_file(path: Place, *, key: str | None = None, check_crc: bool = True) -> ModelFile:
    """Read the weights of a model file of any supported format.

    `key` is the dotted path of the state dict inside a checkpoint that holds several, or of a
    sub-module in a flat file. `check_crc=False` also reads files whose checksums are wrong.
    Whatever is wrong with the file raises FormatError; only opening and reading it raise OSError.
    """
    with open_model(path, key, check_crc) as opened:
        return opened.arrays()


def describe_file(path: Place, *, key: str | None = None, check_crc: bool = True) -> Description:
    """Describe the whole model in a file as a chain of layers; nothing in it is executed.

    `path` is a file of fastrnn (.frnn), torch.export (.pt2), TorchScript (scripted, traced or
    frozen), ONNX, Keras (.keras, .h5), GuitarML, NAM or RTNeural, or of torch.save of a module that
    is a layer of torch.nn or a Sequential of such. `key` names one of several models in a file of
    torch.export or torch.save, or one of several outputs of an ONNX model. `check_crc=False` also
    reads files whose checksums are wrong.

    Raises UnsupportedModel, a FormatError, which lists everything that is unsupported if the model
    is not a chain of known layers; FormatError if the file is damaged, of another kind, or holds
    only weights; OSError if the file cannot be opened; TypeError for arguments of wrong types.
    """
    with open_model(path, key, check_crc) as opened:
        return opened.describe()


def read_state_dict(
    path: Place, *, key: str | None = None, check_crc: bool = True
) -> dict[str, Array]:
    """Read the arrays of a model file by name; nothing in the file is executed.

    `path` is a str, os.PathLike or open binary file, which is read from its present position on. It
    is a file of torch.save (a state dict, a checkpoint that holds one, or a module, of any version
    of PyTorch), a TorchScript archive, a torch.export archive (.pt2), or a .frnn, .safetensors,
    .npz or .onnx file (its initializers, also those in files next to it), a .keras or .h5 file of
    Keras 2 or 3, whose arrays come in PyTorch's names and layout, the index of sharded safetensors
    (model.safetensors.index.json), the JSON of a GuitarML, NAM or RTNeural model, a JSON object of
    lists of numbers by name, or a folder as `fastrnn.load` takes it.
    `key` is the dotted path of the state dict inside a checkpoint that holds several
    ("model", "nets.0"), or of a sub-module in a flat file, whose name is then left out.
    `check_crc=False` also reads files whose checksums are wrong or were not written.

    The arrays keep their element type, but bfloat16 becomes float32. The names of wrappers that all
    entries begin with ("module.", "_orig_mod.") are left out.

    Raises FormatError, a ValueError, if the file is damaged or not of these formats, if there is no
    state dict at `key` or a choice of several, or if any tensor is of a kind that is not read
    (sparse, quantized, float8, an array of objects); OSError if the file cannot be opened;
    TypeError for arguments of wrong types.

    >>> import tempfile, numpy as np
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     np.savez(f"{folder}/m.npz", **{"rnn.weight_hh_l0": np.zeros((8, 2))})
    ...     arrays = read_state_dict(f"{folder}/m.npz", key="rnn")
    >>> arrays["weight_hh_l0"].shape
    (8, 2)
    """
    file = read_file(path, key=key, check_crc=check_crc)
    for entry in file.unreadable.values():
        raise FormatError(f"{file.path}: {entry.why}")
    return file.arrays


def _divide(entries: dict[str, Entry]) -> tuple[dict[str, Array], dict[str, Unreadable]]:
    """The arrays, and the entries that are not read; FormatError if there are only those."""
    arrays: dict[str, Array] = {}
    unreadable: dict[str, Unreadable] = {}
    for name, entry in entries.items():
        if isinstance(entry, Unreadable):
            unreadable[name] = entry
        else:
            arrays[name] = entry
    if unreadable and not arrays:
        raise FormatError(next(iter(unreadable.values())).why)
    return arrays, unreadable
