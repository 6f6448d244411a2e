# SPDX-License-Identifier: MIT
"""What an engine must offer to be compared, and where each engine is found."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from typing import Any, Protocol

from .workload import Arrays, Workload

# mode -> title; a mode is added here, in each engine's prepare and as an option of compare
MODES = {"infer": "Inference"}

# engine name -> module that defines `Engine`
MODULES = {
    "fastrnn": "engine_fastrnn",
    "torch": "engine_torch",
    "onnxruntime": "engine_onnxruntime",
    "openvino": "engine_openvino",
}
TITLES = {
    "fastrnn": "fastrnn",
    "torch": "PyTorch",
    "onnxruntime": "ONNX Runtime",
    "openvino": "OpenVINO",
}
PEERS = ("torch", "onnxruntime", "openvino")


class UnsupportedError(Exception):
    """The engine cannot run this case in this mode; the message says why."""


@dataclass(frozen=True)
class Runner:
    """A prepared case: `call` is what gets timed, everything else is not."""

    call: Callable[[], Any]
    outputs: Callable[[], Arrays]  # runs once; y, h_n, c_n (a training mode adds gradients)
    path: Callable[[], str]  # which code of the engine runs, as far as it can be known
    context: Callable[[], AbstractContextManager[Any]] = field(default=nullcontext)
    keep: Any = None  # arrays that the engine reads but does not hold: they live as long as this


class Engine(Protocol):
    """One library in its own process, set up for a fixed number of threads."""

    version: str

    def __init__(self, threads: int) -> None: ...

    def prepare(self, workload: Workload, mode: str) -> Runner:
        """Load the weights and inputs; raises UnsupportedError."""


def load_engine(name: str, threads: int) -> Engine:
    module = importlib.import_module(f".{MODULES[name]}", __package__)
    engine: Engine = module.Engine(threads)
    return engine


def require_mode(mode: str, known: tuple[str, ...], engine: str) -> None:
    if mode not in known:
        raise UnsupportedError(f"{engine} has no mode {mode!r}")
