# SPDX-License-Identifier: MIT
"""From a file to a layer that is ready to run: `fastrnn.load`."""

from __future__ import annotations

import contextlib
import warnings
from typing import TYPE_CHECKING, Any, overload

import numpy as np

from ..layers import Sequential
from ..layers.checks import check_isa
from ..layers.recurrent import LAYER_CLASSES, Recurrent
from ..layers.state_dicts import with_dot
from ..readers import (
    FormatError,
    ModelFile,
    OnlyWeights,
    OpenModel,
    Place,
    UnsupportedModel,
    open_model,
)
from ..readers.containers.elements import Array
from ..readers.errors import listing, quote
from ..stack_spec import cell_options

if TYPE_CHECKING:  # imported with the first file: `import fastrnn` stays fast
    from .stacks import FoundStack

FREE_OPTIONS = ("batch_first", "dropout")  # of any layer: what no weights tell

# Options of cells that the writers of a format choose, and that weights alone may not tell.
_KNOWN_ONCE = {
    "torchscript": ("nonlinearity",),
    "torch export": ("nonlinearity",),
    "keras": ("nonlinearity", "reset_after"),
    "keras h5": ("nonlinearity", "reset_after"),
}


@overload
def load(path: Place, prefix: str, *, key: str | None = None, **options: Any) -> Recurrent: ...


@overload
def load(
    path: Place, prefix: None = None, *, key: str | None = None, **options: Any
) -> Recurrent | Sequential: ...


def load(
    path: Place,
    prefix: str | None = None,
    *,
    key: str | None = None,
    check_crc: bool = True,
    isa: str | None = None,
    **options: Any,
) -> Recurrent | Sequential:
    """Load a model as a `Sequential`, or one recurrent stack as its layer.

    Returns a `Sequential` if the file holds a whole model, but the layer itself if that is a single
    recurrent one. If the file holds only weights, or you pass `prefix` or options, returns the
    layer of the one recurrent stack, or of the one under `prefix`. Nothing in a file is executed.

    path: a str, os.PathLike or open binary file, which is read from its present position on (for
        bytes: io.BytesIO). A file of torch.save (a state dict, a checkpoint that holds one, or a
        module), a TorchScript or torch.export archive, a .safetensors, .npz or .onnx file, a .keras
        or .h5 file of Keras 2 or 3 (files of weights alone are taken to have the usual
        activations), the index of sharded safetensors, the JSON of GuitarML, NAM, RTNeural or a
        state dict, a .frnn file, or a folder that has model.safetensors, its index of shards
        (model.safetensors.index.json) or pytorch_model.bin.
    prefix: the path of the recurrent module, as "decoder.rnn", or the name of an ONNX node; "" is
        the top level. Needed only if there are several.
    key: the dotted path of the state dict inside a checkpoint that holds several, as "model".
    check_crc: False also reads ZIP archives whose checksums are wrong or were not written.
    isa: the instruction set to run on, one of fastrnn.isas(); None is the best one here.
    options: what the weights do not tell: batch_first, dropout, reset_after of a GRU, coupled of an
        LSTM (three gates without projection else mean a GRU), nonlinearity of an RNN, which is
        required if a TorchScript, torch.export or Keras file does not tell it. The others default
        to the file's own value, then to the constructor's. What the weights tell must agree.

    Without `prefix`, a UserWarning names what else the file holds, and says if batch_first is
    assumed to be False.
    Raises FormatError, a ValueError, if the file is damaged or of an unsupported kind, if it has
    no such stack, several to choose from or a broken one, or a model with unsupported layers, all
    of which it lists; ValueError if an option contradicts the file; TypeError for an unknown option
    or an argument of a wrong type; OSError if the file cannot be opened.

    >>> import tempfile, numpy as np
    >>> weights = {"rnn.weight_ih_l0": np.zeros((6, 3)), "rnn.weight_hh_l0": np.zeros((6, 2))}
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     np.savez(f"{folder}/m.npz", **weights, other=np.zeros(4))
    ...     layer = load(f"{folder}/m.npz", prefix="rnn", batch_first=True)
    >>> layer
    GRU(3, 2, bias=False, batch_first=True)
    """
    _check_arguments(prefix, isa, options)
    with open_model(path, key, check_crc) as opened:
        if prefix is None and not options:
            with contextlib.suppress(OnlyWeights):
                return whole_model(opened, isa)
        layer, arguments, weights = one_layer(opened.arrays(), prefix, options)
    from .build import with_weights

    left = opened.budget_beside(weights.values())  # what weights were computed from is freed
    made: Recurrent = with_weights(LAYER_CLASSES[layer], arguments | {"isa": isa}, weights, left)
    return made


def _check_arguments(prefix: object, isa: str | None, options: dict[str, Any]) -> None:
    """Refuse what no file could make right, before one is read."""
    if not (prefix is None or isinstance(prefix, str)):
        raise TypeError(f"prefix: expected str or None, got {type(prefix).__name__}")
    if isa is not None:
        check_isa(isa, "isa")
    for name, value in options.items():
        if not isinstance(value, int | float | str | np.generic):
            found = type(value).__name__
            raise TypeError(f"{name}: expected a number, a flag or a str, got {found}")


def whole_model(opened: OpenModel, isa: str | None) -> Recurrent | Sequential:
    """The model in a file; OnlyWeights if it holds none, UnsupportedModel if it is not ours."""
    from .build import from_description

    reasons = None
    try:
        description = opened.describe()
        arrays = (array for layer in description.layers for array in layer.arrays.values())
        model = from_description(description, isa, opened.budget_beside(arrays))
    except UnsupportedModel as error:
        reasons = str(error)
    if reasons is not None:  # outside of the block, which would keep what was read so far
        found: dict[str, FoundStack | FormatError] = {}
        with contextlib.suppress(FormatError):  # of arrays that are not read
            found = usable_stacks(opened.all_arrays())
        raise UnsupportedModel(f"{reasons}; {prefixes(found)}")
    only = model[0] if len(model) == 1 else None
    return only if isinstance(only, Recurrent) and not model.initial_state else model


def prefixes(found: dict[str, FoundStack | FormatError]) -> str:
    """What may be the `prefix` of `load`, for the error about a model."""
    if not found:
        return "here there is no recurrent layer for prefix="
    is_broken = all(isinstance(stack, FormatError) for stack in found.values())
    return f"{'here no prefix= can be loaded' if is_broken else 'prefixes'}: {describe(found)}"


def one_layer(
    file: ModelFile, prefix: str | None, options: dict[str, Any]
) -> tuple[str, dict[str, Any], dict[str, Array]]:
    """The class of the one recurrent layer, or of that at `prefix`, its arguments and weights."""
    stack = choose_stack(file, prefix)
    said = file_options(file, stack)
    layer = choose_layer(stack, said, options)
    require_options(file, stack, layer, {**said, **options})
    arguments = complete_options(stack, layer, said, options)
    warn_of_the_rest(file, stack, prefix, "batch_first" in arguments)
    return layer, arguments, stack.weights()


def choose_stack(file: ModelFile, prefix: str | None) -> FoundStack:
    """Find the stack to load; FormatError if it is broken, or if it is not clear which one."""
    found = usable_stacks(file)
    prefix = module_of_node(file, prefix)
    lost = [with_dot(path) for path, said in file.recurrent.items() if "path_is_lost" in said]
    if len(found) == 1 and lost == list(found) and prefix not in (None, *file.recurrent):
        text = f"{file.path}: the file does not tell the path of its only recurrent layer"
        warnings.warn(f"{text}, which is taken to be {prefix!r}", UserWarning, stacklevel=4)
        prefix = None
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


def usable_stacks(file: ModelFile) -> dict[str, FoundStack | FormatError]:
    """As `scan_file`; a stack against which the file itself says something is an error, too."""
    from .stacks import scan_file

    found = scan_file(file)
    for module, said in file.recurrent.items():
        stack = found.get(with_dot(module))
        is_stack = stack is not None or "nodes" in said
        if "unsupported" in said and is_stack and not isinstance(stack, FormatError):
            found[with_dot(module)] = FormatError(said["unsupported"])
    return found


def module_of_node(file: ModelFile, prefix: str | None) -> str | None:
    """The module of an ONNX node that is named instead."""
    for module, said in file.recurrent.items():
        if prefix in said.get("nodes", ()):  # type: ignore[operator]
            return module
    return prefix


def describe(found: dict[str, FoundStack | FormatError]) -> str:
    """List stacks by prefix, with cell and sizes or what is wrong with them."""
    parts = [
        f"{quote(prefix.removesuffix('.'))} ({'broken: ' * isinstance(stack, FormatError)}{stack})"
        for prefix, stack in list(found.items())[:20]
    ]
    rest = [f"and {len(found) - len(parts)} more"] if len(found) > len(parts) else []
    return ", ".join(parts + rest)


def file_options(file: ModelFile, stack: FoundStack) -> dict[str, object]:
    """What the file itself says about the stack's module; it must fit the weights."""
    module = stack.prefix.removesuffix(".")
    said = dict(file.recurrent.get(module, {}))
    layer = next((name for name in stack.layers if name == said.get("cell")), stack.layers[0])
    for name, value in {"cell": layer, "proj_size": 0, **stack.options(layer)}.items():
        if name in said and said[name] != value:
            raise FormatError(
                f"{file.path}: the module {quote(module)} says {name} {said[name]!r}, "
                f"expected {value!r} from the shapes of its weights"
            )
    allowed = {"cell", *(name for layer in stack.layers for name in allowed_options(stack, layer))}
    return {name: value for name, value in said.items() if name in allowed}


def choose_layer(stack: FoundStack, said: dict[str, object], options: dict[str, Any]) -> str:
    """The layer class that the file names, or one that has all options, or the usual one."""
    if "cell" in said:
        return str(said["cell"])
    fitting = (n for n in stack.layers if options.keys() <= {*allowed_options(stack, n)})
    return next(fitting, stack.layers[0])


def require_options(
    file: ModelFile, stack: FoundStack, layer: str, known: dict[str, object]
) -> None:
    """Refuse to guess what the writer knew, but is not in what is read of the file."""
    for name in _KNOWN_ONCE.get(file.format, ()):
        values = cell_options(layer).get(name, ())
        if values and name not in known:
            choice = " or ".join(f"{name}={value!r}" for value in values)
            raise FormatError(
                f"{file.path}: the file does not tell the {name} of the {layer} "
                f"{quote(stack.prefix.removesuffix('.'))}, expected {choice} as an argument"
            )


def warn_of_the_rest(
    file: ModelFile, stack: FoundStack, prefix: str | None, knows_batch_first: bool
) -> None:
    """Warn of what a file holds beside the layer, and does not tell, unless it is asked for."""
    if prefix is not None or any("nodes" in said for said in file.recurrent.values()):
        return  # of ONNX, whose initializers are the weights of the nodes by other names
    names = (*file.arrays, *file.unreadable)
    rest = [name for name in names if not name.startswith(stack.prefix)]
    if rest:
        which = quote(stack.prefix.removesuffix("."))
        text = f"{file.path}: only the recurrent layer {which} is loaded; this leaves out "
        text += listing(rest, 6)
        if not knows_batch_first:
            text += "; it assumes batch_first=False, which the file does not tell: pass batch_first"
        warnings.warn(text, UserWarning, stacklevel=4)


def allowed_options(stack: FoundStack, layer: str) -> list[str]:
    """List the options that the caller may pass for a stack of this layer class."""
    return list(dict.fromkeys([*stack.options(layer), *FREE_OPTIONS, *cell_options(layer)]))


def complete_options(
    stack: FoundStack, layer: str, said: dict[str, object], options: dict[str, Any]
) -> dict[str, Any]:
    """Put together the constructor's arguments; options may add, not contradict."""
    known = {**said, **stack.options(layer)}
    known.pop("cell", None)
    allowed = allowed_options(stack, layer)
    for name, value in options.items():
        if name not in allowed:
            raise TypeError(
                f"load() got an option {name!r}, expected one of {listing(allowed)} "
                f"for this {layer}"
            )
        if name in known and known[name] != value:
            raise ValueError(f"{name}={value!r} contradicts the file, which has {known[name]!r}")
    return {**known, **options}
