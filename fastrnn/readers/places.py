# SPDX-License-Identifier: MIT
"""Where a model may be: a file at a path, a known file in a folder, or a binary file that is open.

`Place` is the type of the argument `path` of everything that loads.
"""

from __future__ import annotations

import io
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, BinaryIO, TypeAlias, TypeGuard

from .containers.source import Source, naming, open_beside, open_source, source_of_open
from .errors import FormatError, listing, quote

Place: TypeAlias = str | os.PathLike[str] | BinaryIO

# What libraries call the model in a folder. The first one that is there is read.
_IN_FOLDERS = ("model.safetensors", "model.safetensors.index.json", "pytorch_model.bin")


@contextmanager
def open_place(place: Place) -> Iterator[tuple[str, str | None, Source]]:
    """Open the model at `place`: its name for messages, its folder if known, and its bytes.

    Every FormatError within the block begins with the name. TypeError for another type; OSError if
    the file cannot be opened.
    """
    path = os.fspath(place) if isinstance(place, os.PathLike) else place
    if _is_binary_file(path):
        name = _name_of_open(path)
        with naming(name):
            yield name, None, source_of_open(path)
        return
    if not isinstance(path, str):
        found = type(path).__name__
        raise TypeError(
            f"path: expected str, os.PathLike of str or a binary file that can seek, got {found}"
        )
    if os.path.isdir(path):
        with naming(path):
            file = _model_in(path)
        with naming(os.path.join(path, file)), open_beside(path, file, "the model") as source:
            yield os.path.join(path, file), path, source
        return
    with naming(path), open_source(path) as source:
        yield path, os.path.dirname(path), source


def _is_binary_file(file: Any) -> TypeGuard[io.BufferedIOBase]:
    """Whether this is an open file of bytes (a text file has an encoding) that can seek."""
    if hasattr(file, "encoding") or not hasattr(file, "readinto"):
        return False
    return bool(file.seekable())


def _name_of_open(file: Any) -> str:
    name = getattr(file, "name", None)  # of a file without a name: a number, or none
    return name if isinstance(name, str) else f"<{type(file).__name__}>"


def _model_in(folder: str) -> str:
    """The name of the model's file in a folder."""
    names = os.listdir(folder)
    for name in _IN_FOLDERS:
        if name in names:
            return name
    if "saved_model.pb" in names:
        raise FormatError("a SavedModel of TensorFlow: not supported; save the model as .keras")
    found = [name for name in sorted(names) if not os.path.isdir(os.path.join(folder, name))]
    known = " or ".join(quote(name) for name in _IN_FOLDERS)
    raise FormatError(f"a folder without {known}; it has {listing(found, 6) or 'no files'}")
