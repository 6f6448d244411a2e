# SPDX-License-Identifier: MIT
"""The gradients of the float64 specification equal finite differences and torch.autograd's."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from itertools import combinations, product
from typing import Any

import numpy as np
import pytest
from configurations import Configuration, bare_state, torch_module
from limits import REFERENCE, error

from fastrnn import reference
from fastrnn.reference import ReferenceGradients

# Central differences in float64: the third derivative times EPSILON^2, and the rounding of the sums
# divided by EPSILON, are both far below these bounds.
EPSILON, ABSOLUTE, RELATIVE = 1e-6, 1e-5, 1e-3

KINDS = ("RNN-tanh", "RNN-relu", "GRU-after", "GRU-before", "LSTM-plain", "LSTM-projected")
OPTIONS: dict[str, tuple[Any, ...]] = {
    "num_layers": (1, 2),
    "bidirectional": (False, True),
    "bias": (True, False),
    "with_state": (True, False),
    "lengths": (None, (1, 3)),
    "masked": (False, True),
    "absent": ("", "dy", "dstate"),
}


@dataclass(frozen=True)
class Case:
    """A configuration, and the inputs of its backward pass."""

    configuration: Configuration
    reset_after: bool = True
    masked: bool = False
    absent: str = ""  # dy or dstate

    def __str__(self) -> str:
        parts = ["before" * (not self.reset_after), "masks" * self.masked, "no" + self.absent]
        return "-".join([str(self.configuration), *(p for p in parts if p not in ("", "no"))])

    @property
    def states(self) -> tuple[str, ...]:
        return ("h", "c") if self.configuration.cell == "LSTM" else ("h",)


def make_case(kind: str, masked: bool = False, absent: str = "", **more: Any) -> Case:
    cell, _, variant = kind.partition("-")
    sizes: dict[str, Any] = {"input_size": 2, "hidden_size": 2, "batch": 2, "steps": 3}
    if cell == "RNN":
        sizes |= {"hidden_size": 3, "nonlinearity": variant}
    if variant == "projected":
        sizes["proj_size"] = 1
    return Case(Configuration(cell, **(sizes | more)), variant != "before", masked, absent)


def generate() -> Iterator[Case]:
    """Yield a few cases of each kind that contain every pair of values of two options.

    One more case of each kind has three layers.
    """
    for seed, kind in enumerate(KINDS):
        choices = [*product(*OPTIONS.values())]  # small ones first
        pairs = {choice: {*combinations(enumerate(choice), 2)} for choice in choices}
        missing = set().union(*pairs.values())
        while missing:
            best = max(choices, key=lambda choice: len(missing & pairs[choice]))
            missing -= pairs[best]
            yield make_case(kind, seed=seed, **dict(zip(OPTIONS, best, strict=True)))
        yield make_case(kind, masked=True, num_layers=3, with_state=True, lengths=(3, 2), seed=seed)


CASES = tuple(generate())


@dataclass(frozen=True)
class Problem:
    """The arrays of one case in float64."""

    case: Case
    inputs: dict[str, np.ndarray]  # x, h_0, c_0 and the weights by their names
    masks: np.ndarray | None
    dy: np.ndarray | None
    dstate: tuple[np.ndarray, ...] | None

    def vjp(self, state: Any) -> tuple[np.ndarray, Any, Callable[..., ReferenceGradients]]:
        configuration = self.case.configuration
        return reference.vjp(
            configuration.spec.cell if self.case.reset_after else "gru_reset_before",
            self.inputs["x"],
            self.inputs,
            state,
            num_layers=configuration.num_layers,
            bidirectional=configuration.bidirectional,
            lengths=configuration.lengths,
            masks=self.masks,
        )

    @property
    def state(self) -> Any:
        return bare_state(
            self.case.configuration, tuple(self.inputs[f"{part}_0"] for part in self.case.states)
        )

    def loss(self) -> float:
        """The number whose gradients backward(dy, dstate) returns."""
        y, state, _ = self.vjp(self.state)
        parts = [state] if len(self.case.states) == 1 else state
        given = [(self.dy, y), *zip(self.dstate or [], parts, strict=False)]
        return sum(float(np.vdot(d, output)) for d, output in given if d is not None)

    def gradients(self) -> dict[str, np.ndarray]:
        _, _, backward = self.vjp(self.state if self.case.configuration.with_state else None)
        return named(self.case, backward(self.dy, bare_state(self.case.configuration, self.dstate)))


def named(case: Case, gradients: ReferenceGradients) -> dict[str, np.ndarray]:
    """The gradients by the names of the inputs."""
    parts = gradients.state if len(case.states) == 2 else [gradients.state]
    states = {f"{name}_0": part for name, part in zip(case.states, parts, strict=True)}
    return {"x": gradients.x, **states, **gradients.weights}


def make_problem(case: Case) -> Problem:
    """Draw the arrays. Without an initial state its gradient is taken at 0."""
    configuration = case.configuration
    data = replace(configuration, with_state=True).data()
    states = dict(zip((f"{part}_0" for part in case.states), data.state, strict=True))
    if not configuration.with_state:
        states = {name: np.zeros_like(part) for name, part in states.items()}
    inputs = {
        name: array.astype(np.float64)
        for name, array in {"x": data.x, **states, **data.weights}.items()
    }

    rng = np.random.default_rng(configuration.seed + 1)
    width = configuration.directions * configuration.output_size
    shape = (configuration.steps, configuration.batch, width)
    masks = (rng.random((configuration.num_layers - 1, *shape)) < 0.7) / 0.7
    dstate = tuple(rng.standard_normal(inputs[f"{part}_0"].shape) for part in case.states)
    return Problem(
        case,
        inputs,
        masks if case.masked else None,
        None if case.absent == "dy" else rng.standard_normal(shape),
        None if case.absent == "dstate" else dstate,
    )


# --- Finite differences ---


def slopes(problem: Problem, array: np.ndarray) -> np.ndarray:
    """Increase and decrease each entry of an input, one at a time."""
    found = np.empty_like(array)
    for at in np.ndindex(array.shape):
        value = array[at]
        array[at] = value + EPSILON
        above = problem.loss()
        array[at] = value - EPSILON
        found[at] = (above - problem.loss()) / (2 * EPSILON)
        array[at] = value
    return found


@pytest.mark.parametrize("case", CASES, ids=str)
def test_gradients_equal_finite_differences(case: Case) -> None:
    problem = make_problem(case)
    found = problem.gradients()
    assert found.keys() == problem.inputs.keys()
    for name, array in problem.inputs.items():
        wanted = slopes(problem, array)
        np.testing.assert_allclose(found[name], wanted, RELATIVE, ABSOLUTE, err_msg=name)


@pytest.mark.parametrize("case", [c for c in CASES if "relu" in str(c)], ids=str)
def test_cases_stay_off_the_kink(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    """Differences are meaningless where relu has no derivative."""
    relu, derivative = reference.ACTIVATIONS["relu"]

    def watched(a: np.ndarray) -> np.ndarray:
        assert np.min(np.abs(a), initial=1.0) > 100 * EPSILON
        return relu(a)

    monkeypatch.setitem(reference.ACTIVATIONS, "relu", (watched, derivative))
    make_problem(case).loss()


def test_relu_at_zero_passes_nothing_back() -> None:
    case = make_case("RNN-relu", bias=False)
    problem = make_problem(case)
    problem.inputs["x"][:] = 0.0
    assert not any(gradient.any() for gradient in problem.gradients().values())


# --- PyTorch ---


def torch_gradients(problem: Problem) -> dict[str, np.ndarray]:
    """The gradients of torch.autograd in float64, ragged batches as packed sequences."""
    import torch

    torch.set_num_threads(1)
    whole = problem.case.configuration
    leaves = {
        name: torch.tensor(array, requires_grad=True)
        for name, array in problem.inputs.items()
        if name not in whole.shapes()
    }
    states = [leaves[f"{part}_0"] for part in problem.case.states]
    y, finals = leaves["x"], []
    # Masks are applied between layers, so each layer is a separate module.
    for first in range(whole.num_layers) if problem.case.masked else [0]:
        if first:
            y = y * torch.from_numpy(problem.masks[first - 1])
        configuration = replace(
            whole,
            num_layers=1 if problem.case.masked else whole.num_layers,
            input_size=y.shape[-1],
        )
        module = torch_module(configuration).double()
        for name, parameter in module.named_parameters():
            full_name = name.replace("_l0", f"_l{first}") if first else name
            parameter.data = torch.tensor(problem.inputs[full_name])
            leaves[full_name] = parameter
        size = configuration.num_layers * whole.directions
        start = tuple(part[first * size : (first + 1) * size].contiguous() for part in states)
        y, final = run_module(configuration, module, y, start)
        finals.append(final)
    outputs = [y, *(torch.cat(parts) for parts in zip(*finals, strict=True))]

    given = [problem.dy, *(problem.dstate or [None] * len(states))]
    pairs = [(o, torch.from_numpy(d)) for o, d in zip(outputs, given, strict=True) if d is not None]
    found = torch.autograd.grad(
        [output for output, _ in pairs],
        [*leaves.values()],
        [d for _, d in pairs],
        materialize_grads=True,
    )
    return {name: gradient.numpy() for name, gradient in zip(leaves, found, strict=True)}


def run_module(
    configuration: Configuration, module: Any, x: Any, start: tuple[Any, ...]
) -> tuple[Any, tuple[Any, ...]]:
    import torch
    from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

    state = bare_state(configuration, start)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="LSTM with projections is not supported")
        if configuration.lengths is None:
            y, final = module(x, state)
        else:
            lengths = torch.tensor(configuration.lengths)
            y, final = module(pack_padded_sequence(x, lengths, enforce_sorted=False), state)
            y, _ = pad_packed_sequence(y, total_length=configuration.steps)
    return y, final if configuration.cell == "LSTM" else (final,)


@pytest.mark.parametrize("case", [case for case in CASES if case.reset_after], ids=str)
def test_gradients_equal_torch(case: Case) -> None:
    """All cases except those of the GRU that torch.nn lacks."""
    pytest.importorskip("torch")
    problem = make_problem(case)
    check(problem.gradients(), torch_gradients(problem))


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "GRU-before"])
def test_gradients_equal_torch_at_length(kind: str) -> None:
    """Sizes that are too large for finite differences."""
    pytest.importorskip("torch")
    sizes = {"input_size": 9, "hidden_size": 17, "batch": 5, "steps": 40, "num_layers": 3}
    if kind == "LSTM-projected":
        sizes["proj_size"] = 6
    case = make_case(
        kind, masked=True, bidirectional=True, lengths=(40, 1, 17, 39, 40), with_state=True, **sizes
    )
    problem = make_problem(case)
    check(problem.gradients(), torch_gradients(problem))


def check(found: dict[str, np.ndarray], wanted: dict[str, np.ndarray]) -> None:
    assert found.keys() == wanted.keys()
    for name, gradient in found.items():
        assert error(gradient, wanted[name]) <= REFERENCE, name


# --- What follows from the chain rule ---


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("cut", range(6))
def test_truncated_equals_full(kind: str, cut: int) -> None:
    """Two passes, with state and dstate handed over, equal one; also if one of them is empty."""
    case = make_case(
        kind, masked=True, num_layers=2, batch=4, steps=5, lengths=(5, 2, 1, 3), with_state=True
    )
    whole = make_problem(case)
    y, state, _ = whole.vjp(whole.state)

    def part(steps: slice, lengths: np.ndarray, start: Any) -> Problem:
        shorter = replace(case.configuration, lengths=tuple(lengths), steps=len(y[steps]))
        states = {f"{name}_0": value for name, value in zip(case.states, start, strict=True)}
        return Problem(
            replace(case, configuration=shorter),
            whole.inputs | states | {"x": whole.inputs["x"][steps]},
            whole.masks[:, steps],
            whole.dy[steps],
            whole.dstate,
        )

    def parts(state: Any) -> Any:
        return state if len(case.states) == 2 else (state,)

    lengths = np.array(case.configuration.lengths)
    early = part(slice(cut), np.minimum(lengths, cut), parts(whole.state))
    y_early, state_early, back_early = early.vjp(early.state)
    late = part(slice(cut, None), np.maximum(lengths - cut, 0), parts(state_early))
    y_late, state_late, back_late = late.vjp(late.state)
    assert np.array_equal(np.concatenate([y_early, y_late]), y)
    assert all(map(np.array_equal, parts(state_late), parts(state)))

    after = back_late(late.dy, bare_state(late.case.configuration, late.dstate))
    before = back_early(early.dy, after.state)
    found = ReferenceGradients(
        np.concatenate([before.x, after.x]),
        before.state,
        {name: gradient + after.weights[name] for name, gradient in before.weights.items()},
    )
    check(named(case, found), whole.gradients())


@pytest.mark.parametrize("kind", KINDS)
def test_backward_is_linear(kind: str) -> None:
    """None means zeros, the result is linear in dy and dstate, and backward can be called again."""
    case = make_case(kind, num_layers=2, bidirectional=True, with_state=True)
    problem = make_problem(case)
    _, _, backward = problem.vjp(problem.state)

    def run(dy: np.ndarray | None, *dstate: np.ndarray | None) -> dict[str, np.ndarray]:
        return named(case, backward(dy, bare_state(case.configuration, dstate)))

    count = len(case.states)
    alone = [[problem.dstate[i] if i == j else None for i in range(count)] for j in range(count)]
    parts = [named(case, backward(problem.dy)), *(run(None, *dstate) for dstate in alone)]
    found = {name: sum(part[name] for part in parts) for name in problem.inputs}
    wanted = run(problem.dy, *problem.dstate)
    check(found, wanted)
    check(wanted, problem.gradients())
    assert not any(gradient.any() for gradient in named(case, backward()).values())


@pytest.mark.parametrize("kind", KINDS)
def test_padding_has_no_part(kind: str) -> None:
    """Values past a row's length are never read, and their gradient is 0."""
    lengths = (2, 0, 4)
    case = make_case(
        kind,
        masked=True,
        num_layers=2,
        bidirectional=True,
        batch=3,
        steps=4,
        lengths=lengths,
        with_state=True,
    )
    problem = make_problem(case)
    wanted = problem.gradients()
    for row, length in enumerate(lengths):
        problem.inputs["x"][length:, row] = np.nan
        problem.dy[length:, row] = np.nan
        assert not wanted["x"][length:, row].any()
    found = problem.gradients()
    assert all(np.array_equal(found[name], wanted[name]) for name in wanted)
    for part, dpart in zip(case.states, problem.dstate, strict=True):
        assert np.array_equal(found[f"{part}_0"][:, 1], dpart[:, 1])
