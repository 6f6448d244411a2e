# SPDX-License-Identifier: MIT
"""The interface of an engine, and the module of each engine."""

from __future__ import annotations

import gc
import importlib
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeVar

from fastrnn.bench import Arrays, Workload

from ..measuring.machine_limits import resident_bytes

# mode -> what is timed. An engine lists the modes it supports in its `prepare`.
MODES = {
    "infer": "one call for the whole batch, rows of unequal length as the engine handles them",
    "padded": "the same, every row computed over all steps",
    "streams": "each row a stream of its own, stepped round robin; one model, many states",
    "sessions": "the same, with a model for each stream",
    "train": "forward and backward of the whole batch: gradients of x and of every weight",
    "step": "a training step of a whole model around the layers",
    "repack": "one step of one row, recorded for training, with weights that have just changed",
    "reuse": "the same, with the weights as they were",
    "tagger": "a whole model: embedding, the layers, linear",
    "silero": "one chunk of audio through the whole of Silero VAD, from the state before",
}
WHOLE = ("tagger", "silero")
# mode -> the mode that its outputs are compared with, if it is another one
COMPARED_AS = {"padded": "infer", "sessions": "streams", "reuse": "repack"}

# engine name -> module that defines `Engine`
MODULES = {
    "fastrnn": "engine_fastrnn",
    "fastrnn_torch": "engine_fastrnn_torch",
    "torch": "engine_torch",
    "torch_compile": "engine_torch_compile",
    "onnxruntime": "engine_onnxruntime",
    "openvino": "engine_openvino",
}
TITLES = {
    "fastrnn": "fastrnn",
    "fastrnn_torch": "fastrnn.torch",
    "torch": "PyTorch",
    "torch_compile": "torch.compile",
    "onnxruntime": "ONNX Runtime",
    "openvino": "OpenVINO",
}
PEERS = ("torch", "torch_compile", "onnxruntime", "openvino")
INFERENCE = ("fastrnn", "torch", "onnxruntime", "openvino")
TRAINING = ("fastrnn", "fastrnn_torch", "torch", "torch_compile")
COMPILERS = ("torch_compile",)  # may take too long to prepare, which is not a failure

Thing = TypeVar("Thing")


class UnsupportedError(Exception):
    """The engine cannot run this case in this mode; the message gives the reason."""


@dataclass(frozen=True)
class Runner:
    """A prepared case. Only `call` is timed."""

    call: Callable[[], Any]
    outputs: Callable[[], Arrays]  # runs once from zero states; y, h_n, c_n, gradients as d_...
    path: Callable[[], str]  # which code of the engine runs, as far as it is known
    context: Callable[[], AbstractContextManager[Any]] = field(default=nullcontext)
    keep: Any = None  # arrays that the engine reads without a reference to them
    memory: float | None = None  # bytes per stream, if there are streams


Prepare = Callable[[Workload], Runner]


class Engine(Protocol):
    """A library in its own process, with a fixed number of threads."""

    version: str

    def __init__(self, threads: int) -> None: ...

    def prepare(self, workload: Workload, mode: str) -> Runner:
        """Load the weights and inputs; raises UnsupportedError."""


def load_engine(name: str, threads: int) -> Engine:
    module = importlib.import_module(f".{MODULES[name]}", __package__)
    engine: Engine = module.Engine(threads)
    return engine


def prepare_by_mode(ways: Mapping[str, Prepare], mode: str, workload: Workload) -> Runner:
    if mode not in ways:
        raise UnsupportedError(f"no mode {mode!r}, only {', '.join(ways)}")
    return ways[mode](workload)


def require_plain_lstm(workload: Workload) -> None:
    """Raise UnsupportedError unless the layer is an LSTM with one layer and direction."""
    case = workload.case
    if case.cell != "LSTM" or case.layers > 1 or case.bidirectional or case.proj:
        raise UnsupportedError("streams: only of an LSTM of one layer and direction")


def make_each(make: Callable[[], Thing], count: int) -> tuple[list[Thing], float | None]:
    """Make `count` things; return them and the resident memory that each of them took."""
    first = make()  # a library may allocate memory for all of them here
    del first
    gc.collect()
    before = resident_bytes()
    made = [make() for _ in range(count)]
    after = resident_bytes()
    return made, None if before is None or after is None else (after - before) / count
