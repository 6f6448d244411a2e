# SPDX-License-Identifier: MIT
"""The command line: run and inspect models, show the configuration, run the demo, measure speed.

Exit status: 0 ok, 1 failed (one line on stderr), 2 wrong usage.
"""

from __future__ import annotations

import argparse
import os
import sys
import warnings
from collections.abc import Callable, Sequence
from contextlib import nullcontext, suppress
from dataclasses import asdict
from time import perf_counter
from typing import TYPE_CHECKING, Any

import numpy as np

import fastrnn
from fastrnn.cli_arrays import read_array, read_lengths, read_state, size_text, write_state
from fastrnn.cli_output import print_json, print_lines, print_table, printable
from fastrnn.files.atomic import write_atomically
from fastrnn.layers import Sequential
from fastrnn.layers.recurrent import Recurrent
from fastrnn.stack_spec import LAYERS, cell_options

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from fastrnn.readers import ModelFile

Model = Recurrent | Sequential

TOP_LEVEL = "(top level)"
WITH_ARTICLE = {"LSTM": "an LSTM", "GRU": "a GRU", "RNN": "an RNN"}
# Options that choose a cell, and those of the command line for them.
CELL_OPTIONS = {
    "nonlinearity": "--nonlinearity",
    "reset_after": "--reset-before",
    "coupled": "--coupled",
}
BUSY = 0.25  # of the CPUs: with that much of other work, a thread of ours waits now and then
RECORDED = ("batch_first", "dropout", *CELL_OPTIONS, "nodes")  # what tensors do not tell

# Arguments in messages of the library, and the options of this command line for them.
CLI_TERMS = {
    "choose by prefix=": "choose by --prefix",
    "choose one with key=": "choose one with --key",
    "batch_first=True contradicts": "--batch-first contradicts",
    "batch_first=False contradicts": "--no-batch-first contradicts",
    "assumes batch_first=False": "assumes --no-batch-first",
    ": pass batch_first": "; pass --batch-first or --no-batch-first",
    "reset_after=False contradicts": "--reset-before contradicts",
    "reset_after=True contradicts": "--no-reset-before contradicts",
    "reset_after=True or reset_after=False as an argument": "--reset-before or --no-reset-before",
    "nonlinearity='tanh' or nonlinearity='relu' as an argument": "--nonlinearity tanh or relu",
    "name: expected a C identifier": "--c-array: expected a C identifier",
    "nonlinearity='tanh' contradicts": "--nonlinearity tanh contradicts",
    "nonlinearity='relu' contradicts": "--nonlinearity relu contradicts",
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return the exit status. Wrong usage raises argparse's SystemExit(2)."""
    parser = build_parser()
    args = parser.parse_args(argv)
    if not hasattr(args, "command"):
        parser.print_help(sys.stderr)
        parser.exit(2)
    try:
        with warnings.catch_warnings(action="default", category=UserWarning):
            warnings.showwarning = _show_warning
            args.command(args)
        sys.stdout.flush()
    except BrokenPipeError:
        # The reader of the pipe has ended (`fastrnn inspect | head`). The interpreter must not
        # flush to it at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except KeyboardInterrupt:
        return 130
    except (OSError, ValueError, TypeError, MemoryError) as error:
        print(f"fastrnn: error: {_explain(error)}", file=sys.stderr)
        return 1
    return 0


def build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="fastrnn", description="Fast RNN, GRU and LSTM layers on CPUs."
    )
    parser.add_argument("--version", action="version", version=f"fastrnn {fastrnn.__version__}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND")
    _add_run(commands.add_parser("run", help="run an exported model or its recurrent layer"))
    _add_inspect(commands.add_parser("inspect", help="list tensors and recurrent layers of a file"))
    _add_convert(commands.add_parser("convert", help="write a model as a .frnn file or a C array"))
    _add_plain(
        commands.add_parser("config", help="show version, instruction sets, threads"), config
    )
    _add_plain(commands.add_parser("demo", help="run a small trained classifier and time it"), demo)
    _add_bench(commands.add_parser("bench", help="check and time layers of several shapes"))
    return parser


def _add_run(parser: argparse.ArgumentParser) -> None:
    parser.description = (
        "Runs the model or the recurrent layer stored in MODEL over INPUT.npy, [steps, batch, "
        "features] or [steps, features], and writes float32."
    )
    _name_formats(parser)
    add = parser.add_argument
    add("model", metavar="MODEL")
    add("input", metavar="INPUT.npy")
    add("-o", "--output", metavar="OUTPUT.npy", required=True)
    _add_choice_of_layer(parser)
    add(
        "--batch-first",
        action=argparse.BooleanOptionalAction,
        help="INPUT and OUTPUT are [batch, steps, features]; a whole model or a TorchScript file "
        "may fix it, either way",
    )
    add(
        "--lengths",
        metavar="N,N,...",
        type=_lengths,
        help="steps of each sequence, or a .npy file of them",
    )
    add("--state-in", metavar="H0.npy", help="initial state, or an .npz of h (and c)")
    add("--cell-state", metavar="C0.npy", help="initial cell state of an LSTM, with --state-in")
    add("--state-out", metavar="FILE.npz", help="write the final state as h (and c)")
    add("--threads", metavar="N", type=_positive, help="the number of threads to use")
    add("--isa", metavar="NAME", type=_isa, help="instruction set, see `fastrnn config`")
    _add_plain(parser, run)


def _name_formats(parser: argparse.ArgumentParser) -> None:
    parser.epilog = (
        "MODEL is a file of PyTorch (torch.save, TorchScript, torch.export), safetensors, ONNX, "
        "Keras or NumPy (.npz), the JSON of GuitarML, NAM, RTNeural or a state dict, or a .frnn "
        "file. Its contents tell."
    )


def _add_choice_of_layer(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("--prefix", metavar="NAME", help="which recurrent layer, if MODEL holds several")
    add("--key", metavar="KEY", help="which state dict, if a checkpoint holds several")
    add("--nonlinearity", choices=("tanh", "relu"), help="of an RNN, if MODEL does not record it")
    add(
        "--reset-before",
        action=argparse.BooleanOptionalAction,
        help="GRU with the reset gate before the product, if MODEL does not record it",
    )
    add("--coupled", action="store_true", help="LSTM whose forget gate is 1 - i")


def _add_convert(parser: argparse.ArgumentParser) -> None:
    parser.description = (
        "Writes the model of MODEL to OUTPUT as a .frnn file, or with --c-array as a C header that "
        "holds the same bytes."
    )
    _name_formats(parser)
    add = parser.add_argument
    add("model", metavar="MODEL")
    add("output", metavar="OUTPUT")
    add("--c-array", metavar="NAME", help="write a C header with an array of this name")
    _add_choice_of_layer(parser)
    add("--batch-first", action=argparse.BooleanOptionalAction, help="batch before steps")
    _add_plain(parser, convert)
    parser.set_defaults(isa=None)


def _positive(text: str) -> int:
    if not text.isdecimal() or int(text) == 0:
        raise argparse.ArgumentTypeError(f"expected a positive integer, got {text!r}")
    return int(text)


def _isa(text: str) -> str:
    usable = fastrnn.isas()
    if text not in usable:
        raise argparse.ArgumentTypeError(
            f"expected one of {', '.join(usable)}, which this machine can run, got {text!r}"
        )
    return text


def _lengths(text: str) -> str | NDArray[np.int64]:
    """Parse `3,5,2`; the path of a .npy file is returned as it is."""
    if text.endswith(".npy"):
        return text
    try:
        return np.array([int(word) for word in text.split(",")], np.int64)
    except (ValueError, OverflowError):
        raise argparse.ArgumentTypeError(
            f"expected integers with commas between or a .npy file, got {text!r}"
        ) from None


def _add_inspect(parser: argparse.ArgumentParser) -> None:
    _name_formats(parser)
    parser.add_argument("model", metavar="MODEL")
    parser.add_argument(
        "--key", metavar="KEY", help="which state dict, if a checkpoint holds several"
    )
    _add_plain(parser, inspect)


def _add_bench(parser: argparse.ArgumentParser) -> None:
    parser.description = (
        "Checks layers of real models' shapes against the float64 reference, times them, and "
        "prints their share of the machine's FMA peak. Takes some seconds."
    )
    add = parser.add_argument
    add("cases", nargs="*", metavar="CASE", help="part of a case's name; default: all cases")
    add("--threads", metavar="N", type=_positive, help="the number of threads to use")
    _add_plain(parser, bench)


def _add_plain(
    parser: argparse.ArgumentParser, command: Callable[[argparse.Namespace], None]
) -> None:
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.set_defaults(command=command, parser=parser)


def run(args: argparse.Namespace) -> None:
    check_outputs(args)
    layer = load_layer(args)
    if isinstance(layer, Sequential) and (args.state_in or args.state_out):
        raise ValueError("--state-in, --state-out: expected a recurrent layer, got a whole model")
    x = read_array(args.input)
    states = LAYERS[layer._name][0].states if isinstance(layer, Recurrent) else ("h",)
    state = read_state(args.state_in, args.cell_state, states)
    lengths = read_lengths(args.lengths) if isinstance(args.lengths, str) else args.lengths

    with nullcontext() if args.threads is None else fastrnn.num_threads(args.threads):
        threads = fastrnn.get_num_threads()
        start = perf_counter()
        y, final = layer(x, state, lengths=lengths)
        seconds = perf_counter() - start

    write_atomically(args.output, lambda file: np.save(file, y, allow_pickle=False))
    if args.state_out is not None:
        write_state(args.state_out, final)

    cell = type(layer).__name__
    if args.json:
        facts = {"output": args.output, "shape": list(y.shape), "dtype": str(y.dtype), "cell": cell}
        if isinstance(layer, Recurrent):
            facts |= {"batch_first": layer.batch_first, "isa": layer.isa}
        print_json(facts | {"threads": threads, "seconds": seconds})
    else:
        plural = "" if threads == 1 else "s"
        print(
            f"{cell} {size_text(x.shape)} -> {size_text(y.shape)} {y.dtype}, "
            f"{_way(layer, x.ndim)}, {threads} thread{plural}, {seconds * 1e3:.3f} ms: "
            f"{printable(args.output)}"
        )


def _way(layer: Model, dimensions: int) -> str:
    """Describe how the layer read the axes of x, and its instruction set."""
    if not isinstance(layer, Recurrent):
        return f"{len(layer)} layers"
    axes = "batch first" if layer.batch_first else "steps first"
    return f"{'one sequence' if dimensions == 2 else axes}, isa {layer.isa}"


def check_outputs(args: argparse.Namespace) -> None:
    """Exit with a usage error if a result would replace the other result or an input.

    Exception: the final state may replace the initial one.
    """
    inputs = {
        "MODEL": args.model,
        "INPUT.npy": args.input,
        "--lengths": args.lengths if isinstance(args.lengths, str) else None,
        "--state-in": args.state_in,
        "--cell-state": args.cell_state,
    }
    for option, path in (("--output", args.output), ("--state-out", args.state_out)):
        for name, other in inputs.items():
            if (option, name) != ("--state-out", "--state-in") and _same_file(path, other):
                args.parser.error(f"{option}: expected another file than {name}, got {path!r}")
    if _same_file(args.output, args.state_out):
        args.parser.error(
            f"--state-out: expected another file than --output, got {args.state_out!r}"
        )


def _same_file(path: str | None, other: str | None) -> bool:
    """Whether writing one file would replace the other; devices and pipes are not replaced."""
    if path is None or other is None:
        return False
    target = os.path.realpath(path)
    replaced = os.path.isfile(target) or not os.path.exists(target)
    return replaced and target == os.path.realpath(other)


def load_layer(args: argparse.Namespace) -> Model:
    def load(**options: Any) -> Model:
        layer: Model = fastrnn.load(args.model, args.prefix, key=args.key, isa=args.isa, **options)
        return layer

    options = _layer_options(args)
    if options and args.prefix is None:
        whole = None
        with suppress(ValueError), warnings.catch_warnings(action="ignore"):
            whole = load()  # fails if there is none: the options may be what is missing
        if isinstance(whole, Sequential):
            _check_whole(whole, options)
            return whole
    try:
        return load(**options)
    except (
        TypeError
    ):  # perhaps an option of another cell: load without options to see which cell it is
        layer = type(load()).__name__
        for name, flag in CELL_OPTIONS.items():
            if name in options and layer in LAYERS and name not in cell_options(layer):
                owner = next(other for other in LAYERS if name in cell_options(other))
                raise ValueError(
                    f"{flag}: only {WITH_ARTICLE[owner]} has it, this is {WITH_ARTICLE[layer]}"
                ) from None
        raise


def _check_whole(model: Sequential, options: dict[str, Any]) -> None:
    """Refuse options of a single layer that a whole model does not agree with."""
    for name, flag in CELL_OPTIONS.items():
        if name in options:
            raise ValueError(
                f"{flag}: expected one recurrent layer, got a whole model; choose its layer by "
                "--prefix"
            )
    given = options.get("batch_first")
    axes = (0, 1) if given else (1, 0)
    if given is not None and not any(model._takes(axes, ndim) for ndim in (2, 3)):
        names = ["[batch, steps, features]", "[steps, batch, features]"][:: 1 if given else -1]
        flag = "--batch-first" if given else "--no-batch-first"
        raise ValueError(f"{flag}: expected a model of {names[0]}, got a whole model of {names[1]}")


def _layer_options(args: argparse.Namespace) -> dict[str, Any]:
    """Return only the given options, so that those that the file records stay in force."""
    options: dict[str, Any] = {}
    if args.batch_first is not None:
        options["batch_first"] = args.batch_first
    if args.nonlinearity is not None:
        options["nonlinearity"] = args.nonlinearity
    if args.reset_before is not None:
        options["reset_after"] = not args.reset_before
    if args.coupled:
        options["coupled"] = True
    return options


def convert(args: argparse.Namespace) -> None:
    from fastrnn.files.frnn_writer import write_c_array, write_model
    from fastrnn.files.saving import describe_model

    if _same_file(args.output, args.model):
        args.parser.error(f"OUTPUT: expected another file than MODEL, got {args.output!r}")
    description = describe_model(load_layer(args), args.prefix or "rnn")
    if args.c_array is None:
        write_model(args.output, description)
    else:
        write_c_array(args.output, description, args.c_array)
    layers = [{"name": layer.name, "kind": layer.kind} for layer in description.layers]
    if args.json:
        print_json({"output": args.output, "layers": layers})
    else:
        kinds = ", ".join(layer["kind"] for layer in layers)
        print(f"{printable(args.model)}: {kinds}: {printable(args.output)}")


def inspect(args: argparse.Namespace) -> None:
    from fastrnn.readers import read_file

    model = read_file(args.model, key=args.key)
    tensors: list[dict[str, Any]] = [
        {"name": name, "shape": list(array.shape), "dtype": str(array.dtype)}
        for name, array in model.arrays.items()
    ]
    stacks, broken = _recurrent_stacks(model)
    if args.json:
        facts: dict[str, Any] = {"path": model.path, "format": model.format, "tensors": tensors}
        facts |= {"stacks": stacks, "broken": broken}
        unreadable = {name: entry.why for name, entry in model.unreadable.items()}
        print_json(facts | {"unreadable": unreadable})
        return
    print(f"{printable(model.path)}: {model.format}, {len(tensors)} tensors")
    print_table(
        ["tensor", "shape", "dtype"],
        ([t["name"], size_text(t["shape"]), t["dtype"]] for t in tensors),
    )
    print_lines(f"not readable: {name}: {entry.why}" for name, entry in model.unreadable.items())
    print()
    if stacks:
        print_table(
            [
                *("recurrent layer", "cell", "input", "hidden", "layers", "directions"),
                *("bias", "proj", "recorded"),
            ],
            map(_stack_row, stacks),
        )
    print_lines(
        f"not usable: {prefix or TOP_LEVEL}: {problem}" for prefix, problem in broken.items()
    )
    if not stacks and not broken:
        print("no recurrent layers")


def _recurrent_stacks(model: ModelFile) -> tuple[list[dict[str, Any]], dict[str, str]]:
    """Return the recurrent layers with their sizes, and the errors of the broken ones."""
    from fastrnn.files.stacks import FoundStack, scan_file

    stacks: list[dict[str, Any]] = []
    broken: dict[str, str] = {}
    for dotted, found in scan_file(model).items():
        prefix = dotted.removesuffix(".")
        if isinstance(found, FoundStack):
            recorded = model.recurrent.get(prefix, {})
            facts = {"prefix": prefix, **found.spec._asdict(), "is_cell": found.is_cell}
            facts["cell"] = recorded.get("cell", found.layers[0])
            stacks.append(facts | {name: recorded[name] for name in RECORDED if name in recorded})
            if "unsupported" in recorded:
                broken[prefix] = str(recorded["unsupported"])
        else:
            broken[prefix] = str(found)
    return stacks, broken


def _stack_row(stack: dict[str, Any]) -> list[str]:
    recorded = ", ".join(f"{name}={stack[name]}" for name in RECORDED if name in stack)
    return [
        stack["prefix"] or TOP_LEVEL,
        stack["cell"],
        str(stack["input_size"]),
        str(stack["hidden_size"]),
        str(stack["num_layers"]),
        str(1 + stack["bidirectional"]),
        "yes" if stack["bias"] else "no",
        str(stack["proj_size"] or "-"),
        recorded,
    ]


def config(args: argparse.Namespace) -> None:
    if args.json:
        print_json(fastrnn.config())
    else:
        fastrnn.show_config()


def demo(args: argparse.Namespace) -> None:
    from fastrnn.demo import run_demo

    result = run_demo()
    if args.json:
        print_json(asdict(result))
        return
    print(f"an LSTM trained with PyTorch reads handwritten digits; isa {result.isa}")
    print(f"held-out images         {result.sequences}, read as {result.steps} rows of 8 pixels")
    print(f"accuracy                {result.accuracy:.2%}")
    print(f"difference from PyTorch {result.largest_difference:.1e} at most")
    print(
        f"time per sequence       {result.us_per_sequence:.2f} us in a batch of {result.sequences}"
    )
    print(f"time per streamed step  {result.us_per_step:.2f} us")


def bench(args: argparse.Namespace) -> None:
    from fastrnn.bench import run as run_cases
    from fastrnn.bench import select

    try:
        cases = select(args.cases or ["all"])
    except ValueError as error:
        args.parser.error(str(error))
    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else 0.0  # before ours is part of it
    with nullcontext() if args.threads is None else fastrnn.num_threads(args.threads):
        try:
            report = run_cases(cases, say=_progress)
        finally:
            _progress("")
    if args.json:
        print_json(report.to_json() | {"load_before": load})
        return
    plural = "" if report.threads == 1 else "s"
    print(
        f"fastrnn {fastrnn.__version__}, isa {report.isa}, {report.threads} thread{plural}, "
        f"FMA peak {report.peak / 1e9:.0f} GFLOP/s"
    )
    print_table(
        ["case", "shape", "median ms", "best ms", "GFLOP/s", "of peak"],
        (
            [
                result.case.name,
                result.case.shape,
                f"{1e3 * result.times.median:.4g}",
                f"{1e3 * result.times.best:.4g}",
                f"{result.gflops:.1f}",
                f"{report.share(result):.0%}",
            ]
            for result in report.results
        ),
    )
    cpus = os.cpu_count() or 1
    if load > BUSY * cpus:
        print(
            f"This machine was busy, with a load of {load:.1f} on {cpus} CPUs in the minute "
            "before: times are longer than on a quiet one, and vary."
        )


def _progress(text: str) -> None:
    """Replace the last line of a terminal; write nothing to a file."""
    if sys.stderr.isatty():
        sys.stderr.write(f"\r\x1b[K{text}")
        sys.stderr.flush()


def _show_warning(message: Any, *_: Any, **__: Any) -> None:
    print(f"fastrnn: warning: {_explain(message)}", file=sys.stderr)


def _explain(error: BaseException) -> str:
    text = str(error) or type(error).__name__
    if isinstance(error, OSError):
        reason = error.strerror or text
        text = reason if error.filename is None else f"{error.filename}: {reason}"
    for term, option in CLI_TERMS.items():
        text = text.replace(term, option)
    return printable(" ".join(text.split()))
