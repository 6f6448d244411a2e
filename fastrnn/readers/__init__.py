# SPDX-License-Identifier: MIT
"""Readers of model files: weights come out as numpy arrays, nothing in a file is ever executed."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from .containers.elements import Array, Entry, Unreadable
from .containers.source import Source, open_source
from .errors import FormatError, OnlyWeights, UnsupportedModel

if TYPE_CHECKING:
    from .description import Description

__all__ = [
    "FormatError",
    "ModelFile",
    "OnlyWeights",
    "UnsupportedModel",
    "describe_file",
    "read_file",
    "read_state_dict",
]

Recurrent = dict[str, dict[str, object]]
CELLS = ("LSTM", "GRU", "RNN")


@dataclass(frozen=True)
class ModelFile:
    """The content of a model file: its arrays by name and what it says of its recurrent layers.

    `unreadable` says of the entries of a kind that is not read why, as "tensor ... is sparse".
    """

    path: str
    format: str
    arrays: dict[str, Array]
    recurrent: Recurrent = field(default_factory=dict)
    unreadable: dict[str, str] = field(default_factory=dict)


def read_file(
    path: str | os.PathLike[str], *, key: str | None = None, check_crc: bool = True
) -> ModelFile:
    """Read the weights of a model file of any supported kind.

    `key` is the dotted path of the state dict inside a checkpoint that holds several, or of a
    sub-module in a flat file. `check_crc=False` also reads files whose checksums are wrong.
    Whatever is wrong with the file raises FormatError; only opening and reading it raise OSError.
    """
    name = _checked(path, key)
    with _errors_of(name), open_source(name) as source:
        kind, entries, recurrent = _read(source, os.path.dirname(name), key, check_crc)
        arrays, unreadable = _divide(entries)
    return ModelFile(name, kind, arrays, recurrent, unreadable)


def describe_file(
    path: str | os.PathLike[str], *, key: str | None = None, check_crc: bool = True
) -> Description:
    """Describe the whole model in a file as a chain of layers; nothing in it is executed.

    `path` is a file of fastrnn (.frnn), torch.export (.pt2), TorchScript (scripted, traced or
    frozen), ONNX, Keras 3 (.keras), GuitarML or NAM. `key` names one of several models in a file
    of torch.export, or one of several outputs of an ONNX model. `check_crc=False` also reads files
    whose checksums are wrong.

    Raises UnsupportedModel, a FormatError, which lists everything that is in the way if the model
    is no chain of known layers; FormatError if the file is damaged, of another kind, or holds only
    weights; OSError if the file cannot be opened; TypeError for arguments of wrong types.
    """
    from .whole import describe_source

    name = _checked(path, key)
    with _errors_of(name), open_source(name) as source:
        return describe_source(source, os.path.dirname(name), key, check_crc)


def _checked(path: object, key: object) -> str:
    """The path as a str; TypeError for arguments of wrong types."""
    name = os.fspath(path) if isinstance(path, os.PathLike) else path
    if not isinstance(name, str):
        raise TypeError(f"path: expected str or os.PathLike of str, got {type(name).__name__}")
    if not (key is None or isinstance(key, str)):
        raise TypeError(f"key: expected str or None, got {type(key).__name__}")
    return name


@contextmanager
def _errors_of(name: str) -> Iterator[None]:
    """Let every FormatError begin with the name of the file."""
    try:
        yield
    except FormatError as error:
        error.args = (f"{name}: {error}",)
        raise
    except MemoryError:
        raise FormatError(f"{name}: not enough memory to read this file") from None


def read_state_dict(
    path: str | os.PathLike[str], *, key: str | None = None, check_crc: bool = True
) -> dict[str, Array]:
    """Read the arrays of a model file by name; nothing in the file is executed.

    `path`, a str or os.PathLike, is a file of torch.save (a state dict or a checkpoint that holds
    one, of any version of PyTorch), a TorchScript archive, a torch.export archive (.pt2), or a
    .frnn, .safetensors, .npz or .onnx file (its initializers, also those in files beside it), a
    .keras or .weights.h5 file of Keras 3, whose arrays come in PyTorch's names and layout, or the
    JSON of a GuitarML or NAM model.
    `key` is the dotted path of the state dict inside a checkpoint that holds several
    ("model", "nets.0"), or of a sub-module in a flat file, whose name is then left out.
    `check_crc=False` also reads files whose checksums are wrong or were not written.

    The arrays keep their element type, but bfloat16 becomes float32. Wrapper names that all
    entries carry at the front ("module.", "_orig_mod.") are left out.

    Raises FormatError, a ValueError, if the file is damaged or not of these formats, if there is
    no state dict at `key` or a choice of several, or if any tensor is of a kind that is not read
    (sparse, quantized, float8); OSError if the file cannot be opened; TypeError for arguments of
    wrong types.

    >>> import tempfile, numpy as np
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     np.savez(f"{folder}/m.npz", **{"rnn.weight_hh_l0": np.zeros((8, 2))})
    ...     arrays = read_state_dict(f"{folder}/m.npz", key="rnn")
    >>> arrays["weight_hh_l0"].shape
    (8, 2)
    """
    file = read_file(path, key=key, check_crc=check_crc)
    for why in file.unreadable.values():
        raise FormatError(f"{file.path}: {why}")
    return file.arrays


def _divide(entries: dict[str, Entry]) -> tuple[dict[str, Array], dict[str, str]]:
    """The arrays, and why the other entries are not read; FormatError if there are only those."""
    arrays: dict[str, Array] = {}
    unreadable: dict[str, str] = {}
    for name, entry in entries.items():
        if isinstance(entry, Unreadable):
            unreadable[name] = entry.why
        else:
            arrays[name] = entry
    if unreadable and not arrays:
        raise FormatError(next(iter(unreadable.values())))
    return arrays, unreadable


def _read(
    source: Source, folder: str, key: str | None, check_crc: bool
) -> tuple[str, dict[str, Entry], Recurrent]:
    # Not before a file is read: these are most of what `import fastrnn` would cost.
    from .containers.npz import read_npz
    from .containers.safetensors import read_safetensors
    from .containers.zip_archive import ZipArchive
    from .frnn.frnn_reader import read_frnn
    from .pt2.pt2_models import read_pt2
    from .sniff import (
        FRNN,
        JSON,
        KERAS,
        KERAS_WEIGHTS,
        NPZ,
        ONNX,
        TORCH_EXPORT,
        TORCH_LEGACY,
        TORCH_ZIP,
        TORCHSCRIPT,
        ZIP,
        sniff_archive,
        sniff_head,
    )
    from .torch.state_dict import below, select, wrapper_path
    from .torch.torch_legacy import read_torch_legacy
    from .torch.torch_zip import read_torch_zip
    from .torchscript.script_archive import read_torchscript

    kind = sniff_head(source)
    entries: dict[str, Entry]
    recurrent: Recurrent = {}
    if kind == ZIP:
        archive = ZipArchive(source, check_crc)
        kind = sniff_archive(list(archive.members))
    if kind == TORCH_ZIP:
        entries = read_torch_zip(archive, source, key)
    elif kind == TORCH_LEGACY:
        entries = read_torch_legacy(source, key)
    else:
        if kind == TORCHSCRIPT:
            entries, recurrent = read_torchscript(archive, source)
        elif kind == TORCH_EXPORT:
            entries, recurrent = read_pt2(archive, source)
        elif kind == NPZ:
            entries = dict(read_npz(archive, source))
        elif kind == FRNN:
            layers = read_frnn(source, check_crc).layers
            entries = {f"{x.name}.{name}": x.arrays[name] for x in layers for name in x.arrays}
            recurrent = {x.name: {"cell": x.kind, **x.options} for x in layers if x.kind in CELLS}
        elif kind == ONNX:
            from .onnx import read_onnx

            entries = read_onnx(source, folder)
        elif kind in (KERAS, KERAS_WEIGHTS):
            from .keras.keras_archive import read_keras_archive, read_keras_weights

            if kind == KERAS:
                entries, recurrent = read_keras_archive(archive, source)
            else:
                entries, recurrent = read_keras_weights(source)
        elif kind == JSON:
            from .audio_json import read_audio_json

            entries, recurrent = read_audio_json(source)
        else:
            entries = read_safetensors(source)
        if key:
            entries, recurrent = select(entries, key), below(recurrent, key)
    wrapper = wrapper_path(entries)
    return kind, below(entries, wrapper), below(recurrent, wrapper)
