# SPDX-License-Identifier: MIT
"""`fastrnn bench`: named layer shapes, checked against the reference and timed.

The folder benchmarks/ of the source repository builds on these parts and adds other engines.
"""

from __future__ import annotations

import math
import statistics
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
from itertools import repeat
from threading import Barrier
from time import perf_counter
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from . import _core, reference
from .layers.checks import default_isa
from .layers.recurrent import LAYER_CLASSES, Recurrent
from .runtime.threads import get_num_threads
from .stack_spec import Spec

Arrays = dict[str, NDArray[Any]]

# Two float32 engines differ by rounding: measured 4e-6 at most over all cases. A wrong gate order
# or a state that leaks is off by 1e-2 and more.
TOLERANCE = 1e-4
SAMPLE_SECONDS = 0.001  # a sample is the mean of so many calls: the clock then costs < 0.1 %
CASE_SECONDS = 0.4
PEAK_SECONDS = 0.2
# Some milliseconds: finding the probe by its name takes 20 us in a virtual machine.
FMA_ROUNDS = 4_000_000


@dataclass(frozen=True)
class Case:
    """One recurrent stack and the batch that runs through it; sizes in elements."""

    name: str
    cell: str  # a layer class: "LSTM", "GRU" or "RNN"
    steps: int
    batch: int
    inputs: int
    hidden: int
    layers: int = 1
    bidirectional: bool = False
    proj: int = 0
    nonlinearity: Literal["tanh", "relu"] = "tanh"
    lengths: Literal["full", "uniform"] = "full"  # uniform: each row's length drawn from 1..steps
    group: str = "main"
    source: str = ""

    @property
    def spec(self) -> Spec:
        """The stack: its cell and sizes."""
        sizes = {
            "input_size": self.inputs,
            "hidden_size": self.hidden,
            "num_layers": self.layers,
            "bidirectional": self.bidirectional,
            "proj_size": self.proj,
            "nonlinearity": self.nonlinearity,
        }
        return Spec.of(self.cell, sizes)

    @property
    def directions(self) -> int:
        return self.spec.directions

    @property
    def outputs(self) -> int:
        """Width of one direction's output."""
        return self.spec.output_size

    @property
    def ragged(self) -> bool:
        return self.lengths != "full"

    @property
    def shape(self) -> str:
        """The sizes in one short string, as shown in the tables."""
        text = f"{self.cell} T{self.steps} B{self.batch} I{self.inputs} H{self.hidden}"
        if self.layers > 1:
            text += f" x{self.layers}"
        if self.bidirectional:
            text += " bi"
        if self.proj:
            text += f" proj {self.proj}"
        if self.nonlinearity != "tanh":
            text += f" {self.nonlinearity}"
        if self.ragged:
            text += " ragged"
        return text

    def weight_shapes(self) -> dict[str, tuple[int, ...]]:
        """All weights by PyTorch's names."""
        return self.spec.shapes()

    def recurrent_bytes(self) -> int:
        """Bytes of one direction's weight_hh in float32, with the projection if there is one."""
        rows = len(self.spec.declaration.gates) * self.hidden
        return 4 * (rows * self.outputs + self.proj * self.hidden)

    def weight_bytes(self) -> int:
        """Bytes of all matrices in float32."""
        return 4 * sum(math.prod(s) for s in self.weight_shapes().values() if len(s) == 2)

    def bytes_read(self) -> int:
        """Bytes of weights a pass has to read: recurrent ones in every step, input ones once."""
        recurrent = self.layers * self.directions * self.recurrent_bytes()
        return self.weight_bytes() + (self.steps - 1) * recurrent

    def flops(self, row_steps: int | None = None) -> float:
        """Floating-point operations of the matrix products of one forward pass.

        row_steps is the sum of the rows' lengths; steps * batch when not given.
        """
        rows = self.steps * self.batch if row_steps is None else row_steps
        return 2.0 * rows * self.weight_bytes() / 4

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


CASES = (
    Case("amp_lstm_40", "LSTM", 64, 1, 1, 40, source="guitar amplifier model, 64-sample buffer"),
    Case("vad_lstm_128", "LSTM", 1, 1, 128, 128, source="Silero VAD v5: one step per 32 ms"),
    Case("denoise_gru_384x3", "GRU", 1, 1, 384, 384, 3, source="RNNoise 0.2: one 10 ms frame"),
    Case("streams32_gru_512", "GRU", 1, 32, 256, 512, source="32 streams, one step each"),
    Case("text_rnn_32", "RNN", 500, 128, 32, 32, source="Keras IMDB SimpleRNN"),
    Case("forecast_lstm_40x3", "LSTM", 60, 100, 44, 40, 3, source="DeepAR class, 100 samples"),
    Case("ocr_line_bilstm_256x2", "LSTM", 26, 1, 512, 256, 2, True, source="CRNN, one text line"),
    Case("ocr_batch_bilstm_256x2", "LSTM", 26, 32, 512, 256, 2, True, source="CRNN, 32 lines"),
    Case("enhance_gru_256x2", "GRU", 500, 1, 256, 256, 2,
         source="speech enhancement, 5 s of 10 ms frames"),
    Case("ptb_lstm_650x2", "LSTM", 35, 20, 650, 650, 2, source="PTB language model, medium"),
)  # fmt: skip


def select(chosen: Sequence[str], cases: Sequence[Case] = CASES) -> list[Case]:
    """Cases by groups and by parts of their names; "all" is every case."""
    groups = {case.group for case in cases}

    def matches(case: Case, part: str) -> bool:
        return part in ("all", case.group) or (part not in groups and part in case.name)

    unknown = [part for part in chosen if not any(matches(case, part) for case in cases)]
    if unknown:
        raise ValueError(
            f"cases: expected 'all' or a part of a name, got {', '.join(map(repr, unknown))}; "
            f"the names are {', '.join(case.name for case in cases)}"
        )
    return [case for case in cases if any(matches(case, part) for part in chosen)]


# --- Arrays and layers of a case ---


@dataclass(frozen=True)
class Workload:
    """A case with its arrays. x: [steps][batch][inputs]; lengths: [batch] or None."""

    case: Case
    weights: Arrays  # by PyTorch's names
    x: NDArray[np.float32]
    lengths: NDArray[np.int64] | None

    @property
    def row_steps(self) -> int:
        """Steps that have to be computed, summed over the rows of the batch."""
        if self.lengths is None:
            return self.case.steps * self.case.batch
        return int(self.lengths.sum())


def make_workload(case: Case) -> Workload:
    """Draw the arrays of a case; the seed comes from its name, so they repeat exactly.

    Weights are drawn as PyTorch initialises them, uniform in +-1/sqrt(hidden).
    """
    rng = np.random.default_rng(zlib.crc32(case.name.encode()))
    bound = case.hidden**-0.5
    weights = {
        name: rng.uniform(-bound, bound, shape).astype(np.float32)
        for name, shape in case.weight_shapes().items()
    }
    x = rng.standard_normal((case.steps, case.batch, case.inputs), dtype=np.float32)
    lengths = None
    if case.ragged:
        lengths = rng.integers(1, case.steps, case.batch, endpoint=True, dtype=np.int64)
        lengths[rng.integers(case.batch)] = case.steps
    return Workload(case, weights, x, lengths)


def make_layer(workload: Workload) -> Recurrent:
    """The layer of a workload with its weights loaded."""
    case = workload.case
    options = {"bidirectional": case.bidirectional, **case.spec.declaration.options}
    if case.proj:
        options["proj_size"] = case.proj
    layer = LAYER_CLASSES[case.cell](case.inputs, case.hidden, case.layers, **options)
    layer.load_state_dict(workload.weights)
    return layer


def named_outputs(y: NDArray[Any], state: Any) -> Arrays:
    """A layer's results by name: y, h_n and, for an LSTM, c_n."""
    states = state if isinstance(state, tuple) else (state,)
    return dict(zip(("y", "h_n", "c_n"), (y, *states), strict=False))


# --- Correctness ---


class WrongResultError(ValueError):
    """A layer computes something other than the reference."""


def difference(got: Mapping[str, NDArray[Any]], expected: Mapping[str, NDArray[Any]]) -> float:
    """Largest |got - expected| / max(1, |expected|) over all outputs; inf if shapes differ."""
    worst = 0.0
    for name, want in expected.items():
        have = got.get(name)
        if have is None or have.shape != want.shape:
            return math.inf
        error = np.abs(have.astype(np.float64) - want) / np.maximum(1.0, np.abs(want))
        # A nan compares false with everything, so it is looked for by name.
        if not np.isfinite(error).all():
            return math.inf
        worst = max(worst, float(error.max(initial=0.0)))
    return worst


def reference_outputs(workload: Workload) -> Arrays:
    """y, h_n and c_n as the specification has them."""
    case = workload.case
    y, *states = reference.forward(
        case.spec.cell,
        workload.x,
        workload.weights,
        num_layers=case.layers,
        bidirectional=case.bidirectional,
        lengths=workload.lengths,
    )
    return named_outputs(y, tuple(states))


def check(case: Case, steps: int = 4, batch: int = 3) -> float:
    """The layer's difference from the reference on fewer steps and rows, which numpy can do.

    WrongResultError when it is more than rounding.
    """
    reduced = replace(case, steps=min(case.steps, steps), batch=min(case.batch, batch))
    workload = make_workload(reduced)
    outputs = make_layer(workload)(workload.x, lengths=workload.lengths)
    error = difference(named_outputs(*outputs), reference_outputs(workload))
    if not error <= TOLERANCE:
        raise WrongResultError(f"{case.name}: the layer differs from the reference by {error:.2g}")
    return error


# --- Time ---


@dataclass(frozen=True)
class Times:
    """Seconds of one call over some samples."""

    best: float
    median: float
    spread: float  # between the quartiles
    samples: int

    @classmethod
    def of(cls, samples: Sequence[float]) -> Times:
        low = high = 0.0
        if len(samples) > 1:
            low, _, high = statistics.quantiles(samples, n=4, method="inclusive")
        return cls(min(samples), statistics.median(samples), high - low, len(samples))


def time_calls(call: Callable[[], Any], seconds: float, expected: float = 0.0) -> list[float]:
    """Samples of the seconds a call takes, for `seconds`, after a call that is not counted.

    expected: an estimate of that time; a call longer than `seconds` is run once, and counted.
    """
    if expected < seconds:
        expected = _mean_seconds(call, 1)  # caches and sleeping threads: others ran before
    samples: list[float] = []
    deadline = perf_counter() + seconds
    while not samples or perf_counter() < deadline:
        samples.append(_mean_seconds(call, math.ceil(SAMPLE_SECONDS / max(expected, 1e-9))))
        expected = samples[-1]
    return samples


def _mean_seconds(call: Callable[[], Any], repetitions: int) -> float:
    start = perf_counter()
    for _ in repeat(None, repetitions):
        call()
    return (perf_counter() - start) / repetitions


def rate_together(works: Sequence[Callable[[], float]], seconds: float) -> float:
    """The best rate, per second, of all works together while each runs in a thread of its own.

    A work returns how much it did; it must release the GIL, and take a millisecond or more.
    """
    barrier = Barrier(len(works))

    def timed(work: Callable[[], float]) -> tuple[float, float, float]:
        barrier.wait()
        start = perf_counter()
        done = work()
        return start, perf_counter(), done

    best, deadline = 0.0, perf_counter() + seconds
    with ThreadPoolExecutor(len(works)) as pool:
        while perf_counter() < deadline:
            starts, ends, done = zip(*pool.map(timed, works), strict=True)
            best = max(best, sum(done) / (max(ends) - min(starts)))
    return best


def fma_peak(isa: str, threads: int, seconds: float = PEAK_SECONDS) -> float:
    """Floating-point operations per second of fused multiply-adds in all threads at once."""
    return rate_together([lambda: _core.probe_fma(isa, FMA_ROUNDS)] * threads, seconds)


# --- The command ---


@dataclass(frozen=True)
class Result:
    """A case that was checked and timed."""

    case: Case
    error: float  # the difference from the reference
    times: Times

    @property
    def gflops(self) -> float:
        """10^9 floating-point operations of matrix products per second, at best."""
        return self.case.flops() / self.times.best / 1e9


@dataclass(frozen=True)
class Report:
    isa: str
    threads: int
    peak: float  # floating-point operations per second of so many threads
    results: list[Result]

    def share(self, result: Result) -> float:
        """Return the share of the FMA peak that a case reached."""
        return 1e9 * result.gflops / self.peak

    def to_json(self) -> dict[str, Any]:
        return {
            "isa": self.isa,
            "threads": self.threads,
            "peak_gflops": self.peak / 1e9,
            "cases": [
                {
                    "name": result.case.name,
                    "shape": result.case.shape,
                    "source": result.case.source,
                    "difference": result.error,
                    "median_ms": 1e3 * result.times.median,
                    "best_ms": 1e3 * result.times.best,
                    "samples": result.times.samples,
                    "gflops": result.gflops,
                    "share_of_peak": self.share(result),
                }
                for result in self.results
            ],
        }


def run(
    cases: Iterable[Case],
    seconds: float = CASE_SECONDS,
    say: Callable[[str], object] = lambda text: None,
) -> Report:
    """Check and time cases with the current number of threads; `say` is called with each step."""
    isa, threads = default_isa(), get_num_threads()
    say("FMA peak")
    peak = fma_peak(isa, threads)
    results = list(_results(cases, seconds, say))
    say("FMA peak")  # again: a shared machine's clock may have changed
    return Report(isa, threads, max(peak, fma_peak(isa, threads)), results)


def _results(
    cases: Iterable[Case], seconds: float, say: Callable[[str], object]
) -> Iterator[Result]:
    for case in cases:
        say(f"{case.name}: check")
        error = check(case)
        workload = make_workload(case)
        layer, x, lengths = make_layer(workload), workload.x, workload.lengths
        say(f"{case.name}: {case.shape}")

        def call(layer: Recurrent = layer, x: Any = x, lengths: Any = lengths) -> object:
            return layer(x, lengths=lengths)

        yield Result(case, error, Times.of(time_calls(call, seconds)))
