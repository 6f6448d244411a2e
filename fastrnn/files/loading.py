# SPDX-License-Identifier: MIT
"""From a file to a layer that is ready to run: `fastrnn.load`."""

from __future__ import annotations

import contextlib
import os
from typing import Any, overload

from ..layers import Sequential
from ..layers.recurrent import GRU, LSTM, RNN
from ..layers.weighted import with_dot
from ..readers import (
    FormatError,
    ModelFile,
    OnlyWeights,
    UnsupportedModel,
    describe_file,
    read_file,
)
from ..stack_spec import listing
from .stacks import Stack, scan_stacks, take_stack

LAYERS: dict[str, type[LSTM] | type[GRU] | type[RNN]] = {"LSTM": LSTM, "GRU": GRU, "RNN": RNN}

# What the weights do not tell, so that the caller may; None: any cell.
FREE_OPTIONS = {
    "batch_first": None,
    "dropout": None,
    "nonlinearity": "RNN",
    "reset_after": "GRU",
}


@overload
def load(
    path: str | os.PathLike[str], prefix: str, *, key: str | None = None, **options: Any
) -> LSTM | GRU | RNN: ...


@overload
def load(
    path: str | os.PathLike[str], prefix: None = None, *, key: str | None = None, **options: Any
) -> LSTM | GRU | RNN | Sequential: ...


def load(
    path: str | os.PathLike[str],
    prefix: str | None = None,
    *,
    key: str | None = None,
    check_crc: bool = True,
    isa: str | None = None,
    **options: Any,
) -> LSTM | GRU | RNN | Sequential:
    """Make a `Sequential` of a file that holds a whole model, or a layer of a recurrent stack.

    With `prefix` or options, and from a file that holds only weights, comes the one recurrent
    stack, or the one under `prefix`; from a model that is nothing but one, its layer.

    path: a str or os.PathLike; a file of torch.save (a state dict or a checkpoint that holds one),
        a TorchScript or torch.export archive, a .safetensors, .npz or .onnx file with PyTorch's
        names of weights, a .keras or .weights.h5 file of Keras 3, whose activations are taken to be
        the usual ones, the JSON of GuitarML or NAM, or a .frnn file. Nothing in it is executed.
    prefix: the path of the recurrent module in the state dict, as "decoder.rnn"; "" is the top
        level. Needed only if there are several; what lies outside of it does not matter.
    key: the dotted path of the state dict inside a checkpoint that holds several, as "model".
    check_crc: False also reads ZIP archives whose checksums are wrong or were not written.
    isa: the instruction set to run on, one of fastrnn.isas(); None is the best one here.
    options: what the weights do not tell. LSTM: batch_first, dropout. GRU: these and reset_after.
        RNN: these and nonlinearity. A TorchScript file tells most of them itself; where neither
        says anything, the default of the layer's constructor holds. Only an RNN of a TorchScript,
        torch.export or Keras file that does not tell the nonlinearity must be given it. Cell,
        sizes, layers, directions, biases and projection come from the weights: input_size,
        hidden_size, num_layers, bias, bidirectional and, for an LSTM, proj_size may be given and
        must agree.

    Raises FormatError, a ValueError, if the file is damaged or of an unsupported kind, if it has
    no such stack or several to choose from, or if the stack is broken, and lists what is in the way
    where a whole model cannot be mapped; ValueError if an option
    contradicts the file; TypeError for an unknown option or an argument of a wrong type; OSError
    if the file cannot be opened.

    >>> import tempfile, numpy as np
    >>> weights = {"rnn.weight_ih_l0": np.zeros((6, 3)), "rnn.weight_hh_l0": np.zeros((6, 2))}
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     np.savez(f"{folder}/m.npz", **weights, other=np.zeros(4))
    ...     layer = load(f"{folder}/m.npz", prefix="rnn", batch_first=True)
    >>> layer
    GRU(3, 2, bias=False, batch_first=True)
    >>> layer(np.zeros((1, 5, 3), np.float32))[0].shape
    (1, 5, 2)
    """
    if not (prefix is None or isinstance(prefix, str)):
        raise TypeError(f"prefix: expected str or None, got {type(prefix).__name__}")
    if prefix is None and not options:
        with contextlib.suppress(OnlyWeights):
            return whole_model(path, key, check_crc, isa)
    file = read_file(path, key=key, check_crc=check_crc)
    stack = choose_stack(file, prefix)
    said = file_options(file, stack)
    require_nonlinearity(file, stack, {**said, **options})
    arguments = complete_options(stack, said, options)
    layer = LAYERS[stack.cell](**arguments, isa=isa)
    layer.load_state_dict(take_stack(file.arrays, stack))
    return layer


def whole_model(
    path: str | os.PathLike[str], key: str | None, check_crc: bool, isa: str | None
) -> LSTM | GRU | RNN | Sequential:
    """The model in a file; OnlyWeights if it holds none, UnsupportedModel if it is not ours."""
    from .build import from_description  # not before there is a file to read

    try:
        model = from_description(describe_file(path, key=key, check_crc=check_crc), isa)
    except UnsupportedModel as error:
        found = scan_stacks(read_file(path, check_crc=check_crc).arrays)
        if found:
            raise UnsupportedModel(f"{error}; prefixes: {describe(found)}") from None
        raise
    only = model[0] if len(model) == 1 else None
    return only if isinstance(only, LSTM | GRU | RNN) and not model.initial_state else model


def choose_stack(file: ModelFile, prefix: str | None) -> Stack:
    """Find the stack to load; FormatError if it is broken, or if it is not clear which one."""
    found = scan_stacks(file.arrays, file.unreadable)
    if prefix is None and len(found) == 1:
        (chosen,) = found.values()
    elif prefix is None and found:
        raise FormatError(
            f"{file.path}: {len(found)} recurrent stacks, expected one; "
            f"choose by prefix= from {describe(found)}"
        )
    elif prefix is not None and with_dot(prefix) in found:
        chosen = found[with_dot(prefix)]
    else:
        there = describe(found) if found else listing(file.arrays) or "no tensors"
        others = f"; not readable: {listing(file.unreadable)}" if file.unreadable else ""
        where = "" if prefix is None else f" under {prefix!r}"
        raise FormatError(f"{file.path}: no recurrent weights{where}; the file has {there}{others}")
    if isinstance(chosen, FormatError):
        raise FormatError(f"{file.path}: {chosen}") from chosen
    return chosen


def describe(found: dict[str, Stack | FormatError]) -> str:
    """List stacks by prefix, with cell and sizes or what is wrong with them."""
    parts = [
        f"{prefix.removesuffix('.')!r} ({'broken: ' * isinstance(stack, FormatError)}{stack})"
        for prefix, stack in list(found.items())[:20]
    ]
    rest = [f"and {len(found) - len(parts)} more"] if len(found) > len(parts) else []
    return ", ".join(parts + rest)


def file_options(file: ModelFile, stack: Stack) -> dict[str, object]:
    """What the file itself says about the stack's module; it must fit the weights."""
    module = stack.prefix.removesuffix(".")
    said = dict(file.recurrent.get(module, {}))
    inferred = {"cell": stack.cell, "proj_size": 0, **stack.options()}
    for name, value in inferred.items():
        if name in said and said[name] != value:
            raise FormatError(
                f"{file.path}: the module {module!r} says {name} {said[name]!r}, "
                f"expected {value!r} from the shapes of its weights"
            )
    return {name: value for name, value in said.items() if name in allowed_options(stack)}


def require_nonlinearity(file: ModelFile, stack: Stack, known: dict[str, object]) -> None:
    """Refuse to guess what the writer knew, but is not in what is read of the file."""
    known_once = file.format in ("torchscript", "torch export", "keras", "keras weights")
    if known_once and stack.cell == "RNN" and "nonlinearity" not in known:
        raise FormatError(
            f"{file.path}: the file does not tell the nonlinearity of the RNN "
            f"{stack.prefix.removesuffix('.')!r}, expected nonlinearity='tanh' or "
            "nonlinearity='relu' as an argument"
        )


def allowed_options(stack: Stack) -> list[str]:
    """List the options that the caller may give for a stack."""
    free = [name for name, cell in FREE_OPTIONS.items() if cell in (None, stack.cell)]
    return [*stack.options(), *free]


def complete_options(
    stack: Stack, said: dict[str, object], options: dict[str, Any]
) -> dict[str, Any]:
    """Put together the constructor's arguments; options may add, not contradict."""
    known = {**said, **stack.options()}
    for name, value in options.items():
        if name not in allowed_options(stack):
            raise TypeError(
                f"load() got an option {name!r}, expected one of {listing(allowed_options(stack))} "
                f"for this {stack.cell}"
            )
        if name in known and known[name] != value:
            raise ValueError(f"{name}={value!r} contradicts the file, which has {known[name]!r}")
    return {**known, **options}
