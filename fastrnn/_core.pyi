# SPDX-License-Identifier: MIT
"""Types of the compiled module; its source is _core.pyx."""

from collections.abc import Callable
from contextvars import ContextVar
from typing import Any, Final, final

from numpy import uint8, uintp
from numpy.typing import NDArray
from typing_extensions import disjoint_base

from .layers.arrays import Array

CELLS: Final[dict[str, int]]
DTYPES: Final[dict[str, int]]
VERSION: Final[str]
COMPILER: Final[str]
MOST_THREADS: Final[int]

def isas() -> list[str]: ...
def functions() -> list[str]: ...
def apply(isa: str, function: str, x: Array, y: Array, a: float = 0.0, b: float = 0.0) -> None: ...
def apply_backward(
    isa: str, function: str, x: Array, dy: Array, dx: Array, a: float = 0.0, b: float = 0.0
) -> None: ...

local_threads: Final[ContextVar[int]]

def set_machine(threads: int, l2_bytes: int, l3_bytes: int) -> None: ...
def set_default(function: Callable[[], int]) -> None: ...
def threads() -> int: ...
def probe_fma(isa: str, rounds: int) -> float: ...
def probe_read(isa: str, values: Array, repeats: int) -> None: ...

@disjoint_base
class Workspace: ...

@final
class Block: ...

@final
class Spare:
    nbytes: int

@final
class Lease:
    def __new__(cls, home: Spare, bytes: int, kind: tuple[Any, ...] | None = None) -> Lease: ...

@disjoint_base
class Pair: ...

@disjoint_base
class Stack:
    nbytes: int
    isa: str
    training: bool
    def __new__(
        cls,
        cell: str,
        input_size: int,
        hidden_size: int,
        num_layers: int,
        bidirectional: bool,
        proj_size: int,
        isa: str,
        training: bool = False,
        dtype: str = "float32",
        home: Spare | None = None,
    ) -> Stack: ...
    def set_weights(
        self,
        layer: int,
        direction: int,
        weight_ih: Array,
        weight_hh: Array,
        bias_ih: Array | None,
        bias_hh: Array | None,
        weight_hr: Array | None,
    ) -> None: ...
    def forward(
        self,
        x: Array,
        y: Array,
        h0: Array | None,
        c0: Array | None,
        hn: Array | None,
        cn: Array | None,
        lengths: NDArray[uintp] | None,
        tape: Tape | None = None,
    ) -> bool: ...
    def plan(self, steps: int, batch: int) -> dict[str, Any]: ...

@disjoint_base
class Tape:
    stack: Stack
    nbytes: int
    def __new__(
        cls, stack: Stack, dropout: float, seed: int, memory: NDArray[uint8] | None = None
    ) -> Tape: ...
    def resume(self, x: Array, lengths: NDArray[uintp] | None) -> bool: ...
    def backward(
        self,
        dy: Array | None,
        dhn: Array | None,
        dcn: Array | None,
        dx: Array | None,
        dh0: Array | None,
        dc0: Array | None,
        weights: list[list[Array | None]],
        accumulate: bool,
    ) -> bool: ...

def tape_bytes(stack: Stack, steps: int, batch: int) -> int: ...

@disjoint_base
class Stepper:
    inputs: int
    _h: Array
    _c: Any
    def __new__(cls, stack: Stack, batch: int) -> Stepper: ...
    def step(self, x: Any, out: Array | None = None) -> Array: ...

@disjoint_base
class Dense:
    """y = W x + b; x (N, inputs), y (N, outputs): float32, contiguous rows, any stride."""

    nbytes: int
    isa: str
    inputs: int
    outputs: int
    def __new__(cls, inputs: int, outputs: int, isa: str, home: Spare | None = None) -> Dense: ...
    def set_weights(self, weight: Array, bias: Array | None) -> None: ...
    def run(self, x: Array, y: Array) -> None: ...

@disjoint_base
class Conv1d:
    """x (B, in_channels, T), y (B, out_channels, Conv1d.steps(T)): float32, any strides."""

    nbytes: int
    isa: str
    def __new__(
        cls,
        in_channels: int,
        out_channels: int,
        kernel_size: int,
        stride: int,
        padding_left: int,
        padding_right: int,
        dilation: int,
        groups: int,
        isa: str,
        home: Spare | None = None,
    ) -> Conv1d: ...
    def set_weights(self, weight: Array, bias: Array | None) -> None: ...
    def steps(self, steps: int) -> int: ...
    def run(self, x: Array, y: Array) -> None: ...

def softmax(isa: str, x: Array, y: Array) -> None: ...
def log_softmax(isa: str, x: Array, y: Array) -> None: ...
def layer_norm(
    isa: str, x: Array, y: Array, weight: Array | None, bias: Array | None, eps: float
) -> None: ...
def batch_norm(
    isa: str,
    x: Array,
    y: Array,
    running_mean: Array | None,
    running_var: Array | None,
    weight: Array | None,
    bias: Array | None,
    eps: float,
) -> None: ...
def pool_mean(isa: str, x: Array, lengths: NDArray[uintp] | None, y: Array) -> None: ...
def pool_sum(isa: str, x: Array, lengths: NDArray[uintp] | None, y: Array) -> None: ...
def attention_pool(
    isa: str, x: Array, lengths: NDArray[uintp] | None, weights: Array, y: Array
) -> None: ...
