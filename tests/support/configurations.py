# SPDX-License-Identifier: MIT
"""The configurations that the parity tests run: cells, options and sizes around every tile width.

Every value of every size appears with every cell; what goes with it is drawn with a fixed seed and
cut down until the whole list is cheap. Also here: how to run one in torch, reference and fastrnn.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from fastrnn import reference
from fastrnn.stack_spec import LAYERS, Spec

Arrays = tuple[np.ndarray, ...]

BATCHES = (1, 2, 3, 4, 5, 6, 7, 8, 9, 15, 16, 17, 31, 33, 64)
HIDDENS = (*range(1, 19), 20, 24, 31, 32, 33, 40, 48, 63, 64, 65, 100, 127, 128, 129, 257)
INPUTS = (1, 2, 3, 7, 8, 9, 16, 24, 33, 60, 130, 300)
STEPS = (1, 2, 3, 7, 17, 33, 100)
SIZES = {"batch": BATCHES, "hidden_size": HIDDENS, "input_size": INPUTS, "steps": STEPS}
KINDS = ("LSTM", "LSTM-projected", "GRU", "RNN-tanh", "RNN-relu")
ROUNDS = 2
MOST_WORK = 30_000_000  # multiply-adds of one configuration: the whole list in seconds


@dataclass(frozen=True)
class Configuration:
    """One recurrent layer with the sizes of one call."""

    cell: str
    input_size: int
    hidden_size: int
    num_layers: int = 1
    bias: bool = True
    batch_first: bool = False
    bidirectional: bool = False
    proj_size: int = 0
    nonlinearity: str = "tanh"
    batch: int = 1
    steps: int = 1
    lengths: tuple[int, ...] | None = None
    with_state: bool = False
    seed: int = 0

    def __str__(self) -> str:
        relu = "relu" if self.nonlinearity == "relu" else ""
        parts = [
            f"{self.cell.lower()}{relu}",
            f"i{self.input_size}",
            f"h{self.hidden_size}",
            f"p{self.proj_size}" * bool(self.proj_size),
            f"layers{self.num_layers}" * (self.num_layers > 1),
            "bi" * self.bidirectional,
            "nobias" * (not self.bias),
            f"b{self.batch}",
            f"t{self.steps}",
            "batchfirst" * self.batch_first,
            "lengths" * (self.lengths is not None),
            "state" * self.with_state,
        ]
        return "-".join(part for part in parts if part)

    @property
    def spec(self) -> Spec:
        """The stack: its cell in the core and its sizes."""
        return Spec.of(self.cell, vars(self))

    @property
    def directions(self) -> int:
        return self.spec.directions

    @property
    def output_size(self) -> int:
        """The width of h: R in the weights' shapes."""
        return self.spec.output_size

    @property
    def work(self) -> int:
        """Multiply-adds of the call."""
        width = self.output_size
        inputs = self.input_size + (self.num_layers - 1) * self.directions * width
        rows = len(self.spec.declaration.gates) * self.hidden_size
        gates = rows * (inputs + self.num_layers * width)
        projection = self.num_layers * self.hidden_size * self.proj_size
        return self.steps * self.batch * self.directions * (gates + projection)

    def shapes(self) -> dict[str, tuple[int, ...]]:
        return self.spec.shapes()

    def data(self) -> Data:
        """Draw the arrays of the call: normal x, weights as PyTorch draws its initial ones."""
        rng = np.random.default_rng(self.seed)
        bound = self.hidden_size**-0.5
        weights = {
            name: float32(rng.uniform(-bound, bound, shape))
            for name, shape in self.shapes().items()
        }
        x = float32(rng.standard_normal((self.steps, self.batch, self.input_size)))
        state = None
        if self.with_state:
            spec = self.spec
            shapes = [(spec.state_rows, self.batch, size) for size in spec.state_sizes]
            state = tuple(float32(rng.standard_normal(shape)) for shape in shapes)
        return Data(weights, x, state)


@dataclass(frozen=True)
class Data:
    """The arrays of one call, float32 and time first."""

    weights: dict[str, np.ndarray]
    x: np.ndarray
    state: Arrays | None  # (h_0,), or (h_0, c_0) for the LSTM


def float32(array: np.ndarray) -> np.ndarray:
    return np.asarray(array, np.float32)


def draw(rng: np.random.Generator, kind: str, seed: int, fixed: Mapping[str, int]) -> Configuration:
    """Draw what is not fixed, then halve the other sizes in turn until the work is small enough."""
    sizes = {name: int(rng.choice(values)) for name, values in SIZES.items()} | dict(fixed)
    num_layers = int(rng.choice([1, 1, 1, 2, 3]))
    cell, _, variant = kind.partition("-")
    options: dict[str, Any] = {
        "nonlinearity": "relu" if variant == "relu" else "tanh",
        "bias": bool(rng.random() < 0.75),
        "batch_first": bool(rng.random() < 0.4),
        "bidirectional": bool(rng.random() < 0.4),
        "with_state": bool(rng.random() < 0.5),
        "seed": seed,
    }
    share, has_lengths = rng.random(), rng.random() < 0.35
    while True:
        if variant == "projected":
            sizes["hidden_size"] = max(2, sizes["hidden_size"])  # PyTorch wants proj < hidden
            options["proj_size"] = 1 + int(share * (sizes["hidden_size"] - 1))
        configuration = Configuration(cell, num_layers=num_layers, **sizes, **options)
        if configuration.work <= MOST_WORK:
            break
        if num_layers > 1:
            num_layers -= 1
        else:
            largest = max((n for n in sizes if n not in fixed), key=lambda n: sizes[n])
            sizes[largest] = max(v for v in SIZES[largest] if v < sizes[largest])
    lengths = None
    if has_lengths:
        lengths = tuple(int(n) for n in rng.integers(1, sizes["steps"] + 1, sizes["batch"]))
    return Configuration(cell, num_layers=num_layers, lengths=lengths, **sizes, **options)


def generate(seed: int = 20) -> Iterator[Configuration]:
    """Yield the list: for each kind and each size, every value of it, `ROUNDS` times."""
    rng = np.random.default_rng(seed)
    count = 0
    for kind in KINDS:
        for name, values in [*SIZES.items()] * ROUNDS:
            for value in values:
                yield draw(rng, kind, count, {name: value})
                count += 1


CONFIGURATIONS = tuple(generate())


# --- The same call in three implementations; each returns (y, h_n) or (y, h_n, c_n), time first ---


def run_reference(configuration: Configuration, data: Data | None = None) -> Arrays:
    data = data or configuration.data()
    return reference.forward(
        configuration.spec.cell,
        data.x,
        data.weights,
        bare_state(configuration, data.state),
        num_layers=configuration.num_layers,
        bidirectional=configuration.bidirectional,
        lengths=configuration.lengths,
    )


def run_torch(
    configuration: Configuration, data: Data | None = None, dtype: str = "float32"
) -> Arrays:
    """Run torch.nn's layer; ragged batches go through its packed sequences."""
    import torch
    from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

    torch.set_num_threads(1)
    data = data or configuration.data()
    module = torch_module(configuration).to(getattr(torch, dtype))
    module.load_state_dict({k: torch.from_numpy(v) for k, v in data.weights.items()})
    x = torch.from_numpy(time_axis(configuration, data.x.astype(dtype)))
    state: Any = None
    if data.state is not None:
        state = tuple(torch.from_numpy(part.astype(dtype)) for part in data.state)
        state = bare_state(configuration, state)
    with torch.inference_mode(), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="LSTM with projections is not supported")
        if configuration.lengths is None:
            y, state = module(x, state)
        else:
            order = {"batch_first": configuration.batch_first}
            lengths = torch.tensor(configuration.lengths)
            packed = pack_padded_sequence(x, lengths, enforce_sorted=False, **order)
            y, state = module(packed, state)
            y, _ = pad_packed_sequence(y, total_length=configuration.steps, **order)
    return outputs(configuration, y.numpy(), state)


def torch_module(configuration: Configuration) -> Any:
    import torch

    return getattr(torch.nn, configuration.cell)(
        configuration.input_size,
        configuration.hidden_size,
        configuration.num_layers,
        bias=configuration.bias,
        batch_first=configuration.batch_first,
        bidirectional=configuration.bidirectional,
        **cell_options(configuration),
    )


def make_layer(
    configuration: Configuration,
    isa: str | None = None,
    weights: dict[str, np.ndarray] | None = None,
    **changed: Any,
) -> Any:
    """Build fastrnn's layer with the configuration's weights."""
    import fastrnn

    options: dict[str, Any] = {
        "bias": configuration.bias,
        "batch_first": configuration.batch_first,
        "bidirectional": configuration.bidirectional,
        **cell_options(configuration),
    }
    layer = getattr(fastrnn, configuration.cell)(
        configuration.input_size,
        configuration.hidden_size,
        configuration.num_layers,
        isa=isa,
        **(options | changed),
    )
    layer.load_state_dict(configuration.data().weights if weights is None else weights)
    return layer


def run_fastrnn(
    configuration: Configuration, isa: str | None = None, data: Data | None = None
) -> Arrays:
    data = data or configuration.data()
    layer = make_layer(configuration, isa, data.weights)
    state = bare_state(configuration, data.state)
    y, state = layer(time_axis(configuration, data.x), state, lengths=configuration.lengths)
    return outputs(configuration, y, state)


def cell_options(configuration: Configuration) -> dict[str, Any]:
    """The constructor arguments that only this cell has, with the same names in torch.nn."""
    projects = any(cell.projects for cell in LAYERS[configuration.cell])
    options = {"proj_size": configuration.proj_size} if projects else {}
    names = LAYERS[configuration.cell][0].options.keys() & vars(configuration).keys()
    return options | {name: getattr(configuration, name) for name in names}


def time_axis(configuration: Configuration, array: np.ndarray) -> np.ndarray:
    """Swap time and batch if the configuration has the batch first."""
    return array.swapaxes(0, 1) if configuration.batch_first else array


def bare_state(configuration: Configuration, state: Any) -> Any:
    """Turn (h,) into h for the cells whose state is one array."""
    return state if state is None or configuration.spec.has_c else state[0]


def outputs(configuration: Configuration, y: np.ndarray, state: Any) -> Arrays:
    """Return y, time first, and the parts of the final state."""
    parts = state if configuration.spec.has_c else (state,)
    return (time_axis(configuration, y), *(np.asarray(part) for part in parts))
