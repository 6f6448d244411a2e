# SPDX-License-Identifier: MIT
"""The .npy and .npz files that the command line reads and writes."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

import fastrnn
from fastrnn.files.atomic import write_atomically

if TYPE_CHECKING:
    from numpy.typing import NDArray


def read_array(path: str) -> NDArray[Any]:
    """Read a .npy file. It is mapped first, because that detects a truncated file."""
    with open(path, "rb") as file:  # numpy would show the first bytes of any other file
        if file.read(len(np.lib.format.MAGIC_PREFIX)) != np.lib.format.MAGIC_PREFIX:
            raise ValueError(f"{path}: not a readable .npy array: it does not begin as one")
    try:
        with np.errstate(over="ignore"):  # numpy multiplies absurd shapes before it refuses them
            mapped = np.lib.format.open_memmap(path, mode="r")
    except OSError:
        raise
    except Exception as error:  # its header parser lets the tokenizer's and others through
        raise ValueError(f"{path}: not a readable .npy array: {error}") from error
    return np.array(mapped, dtype=mapped.dtype.newbyteorder("="))


def read_lengths(path: str) -> NDArray[np.int64]:
    """Read sequence lengths from a .npy file of integers."""
    lengths = read_array(path)
    if lengths.dtype.kind not in "iu" or lengths.ndim != 1:
        raise ValueError(
            f"{path}: lengths: expected a list of integers, "
            f"got {lengths.dtype} {size_text(lengths.shape)}"
        )
    return lengths.astype(np.int64)


def read_state(path: str | None, cell_path: str | None, states: Sequence[str]) -> Any:
    """Read the initial state in the form the layer takes: None, h, or (h, c), named by `states`."""
    if path is None:
        if cell_path is not None:
            raise ValueError("--cell-state: expected --state-in with it, got none")
        return None
    arrays = fastrnn.read_state_dict(path) if path.endswith(".npz") else {"h": read_array(path)}
    if cell_path is not None:
        if "c" in arrays:
            raise ValueError(f"--cell-state: {path} holds a cell state c already")
        arrays["c"] = read_array(cell_path)
    expected = set(states)
    if set(arrays) != expected:
        raise ValueError(
            f"initial state: expected {_listing(expected)} for this layer, got {_listing(arrays)}"
        )
    return tuple(arrays[name] for name in states) if len(states) > 1 else arrays["h"]


def write_state(path: str, state: Any) -> None:
    arrays = dict(zip("hc", state, strict=True)) if isinstance(state, tuple) else {"h": state}
    write_atomically(path, lambda file: np.savez(file, **arrays))


def size_text(shape: Sequence[int]) -> str:
    return "[" + ", ".join(map(str, shape)) + "]"


def _listing(names: Iterable[str]) -> str:
    return " and ".join(sorted(names, reverse=True)) or "nothing"
