# SPDX-License-Identifier: MIT
"""Readers of model files: weights come out as numpy arrays, nothing in a file is ever executed."""

from __future__ import annotations

import os
from dataclasses import dataclass, field

from .elements import Array
from .errors import FormatError
from .source import Source, open_source

__all__ = ["FormatError", "ModelFile", "read_file", "read_state_dict"]

Recurrent = dict[str, dict[str, object]]


@dataclass(frozen=True)
class ModelFile:
    """The content of a model file: its arrays by name and what it says of its recurrent layers."""

    path: str
    format: str
    arrays: dict[str, Array]
    recurrent: Recurrent = field(default_factory=dict)


def read_file(
    path: str | os.PathLike[str], *, key: str | None = None, check_crc: bool = True
) -> ModelFile:
    """Read the weights of a model file of any supported kind.

    `key` is the dotted path of the state dict inside a checkpoint that holds several, or of a
    sub-module in a flat file. `check_crc=False` reads ZIP archives whose checksums are wrong.
    Whatever is wrong with the file raises FormatError; only opening and reading it raise OSError.
    """
    name = os.fspath(path)
    if not isinstance(name, str):
        raise TypeError(f"path: expected str or os.PathLike of str, got {type(name).__name__}")
    try:
        with open_source(name) as source:
            kind, arrays, recurrent = _read(source, key, check_crc)
    except FormatError as error:
        error.args = (f"{name}: {error}",)
        raise
    except MemoryError:
        raise FormatError(f"{name}: not enough memory to read this file") from None
    return ModelFile(name, kind, arrays, recurrent)


def read_state_dict(
    path: str | os.PathLike[str], *, key: str | None = None, check_crc: bool = True
) -> dict[str, Array]:
    """The arrays of a model file by name; see read_file."""
    return read_file(path, key=key, check_crc=check_crc).arrays


def _read(
    source: Source, key: str | None, check_crc: bool
) -> tuple[str, dict[str, Array], Recurrent]:
    # Not before a file is read: these are most of what `import fastrnn` would cost.
    from .npz import read_npz
    from .safetensors import read_safetensors
    from .sniff import NPZ, TORCH_LEGACY, TORCH_ZIP, TORCHSCRIPT, ZIP, sniff_archive, sniff_head
    from .state_dict import below, select, wrapper_path
    from .torch_legacy import read_torch_legacy
    from .torch_zip import read_torch_zip
    from .torchscript import read_torchscript
    from .zip_archive import ZipArchive

    kind = sniff_head(source)
    recurrent: Recurrent = {}
    if kind == ZIP:
        archive = ZipArchive(source, check_crc)
        kind = sniff_archive(list(archive.members))
    if kind == TORCH_ZIP:
        arrays = read_torch_zip(archive, source, key)
    elif kind == TORCH_LEGACY:
        arrays = read_torch_legacy(source, key)
    else:
        if kind == TORCHSCRIPT:
            arrays, recurrent = read_torchscript(archive, source)
        else:
            arrays = read_npz(archive, source) if kind == NPZ else read_safetensors(source)
        if key:
            arrays, recurrent = select(arrays, key), below(recurrent, key)
    wrapper = wrapper_path(arrays)
    return kind, below(arrays, wrapper), below(recurrent, wrapper)
