# SPDX-License-Identifier: MIT
"""Random recurrent stacks of every cell with the arrays of one call, and their gradients."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

import fastrnn
from fastrnn import reference
from fastrnn.stack_spec import CELLS, Spec

Named = dict[str, np.ndarray]

SIZES = (1, 1, 2, 3, 4, 5, 7, 8, 9, 15, 16, 17, 24, 31, 32, 33, 48)
STEPS = (1, 2, 3, 5, 8, 13, 17, 30, 60)
BATCHES = (1, 1, 2, 3, 4, 5, 7, 8, 9, 16, 17)
MOST_VALUES = 30_000  # of the hidden units of all steps, so that a case takes milliseconds


class Case(NamedTuple):
    """A layer and the arrays of one call; a state is a tuple, also of h alone."""

    spec: Spec
    weights: Named
    x: np.ndarray
    state: tuple[np.ndarray, ...] | None
    lengths: np.ndarray | None
    dy: np.ndarray
    dstate: tuple[np.ndarray, ...]

    def bare(self, state: Any) -> Any:
        """Turn (h,) into h for the cells whose state is one array."""
        return state if state is None or self.spec.has_c else state[0]

    def specified(self) -> tuple[Any, ...]:
        """The arguments of reference.forward and reference.vjp."""
        return self.spec.cell, self.x, self.weights, self.bare(self.state)

    def options(self) -> dict[str, Any]:
        """Their options."""
        spec = self.spec
        stack = {"num_layers": spec.num_layers, "bidirectional": spec.bidirectional}
        return stack | {"lengths": self.lengths}

    def layer(self, isa: str | None = None) -> Any:
        """Make the layer of fastrnn."""
        spec = self.spec
        options = {
            **spec.declaration.options,
            "bias": spec.bias,
            "bidirectional": spec.bidirectional,
            **({"proj_size": spec.proj_size} if spec.proj_size else {}),
        }
        make = getattr(fastrnn, spec.declaration.layer)
        layer = make(spec.input_size, spec.hidden_size, spec.num_layers, isa=isa, **options)
        layer.load_state_dict(self.weights)
        return layer

    def named(self, grads: Any) -> Named:
        state = grads.state if self.spec.has_c else (grads.state,)
        states = {f"{name}_0": part for name, part in zip("hc", state, strict=False)}
        return {"x": grads.x, **states, **grads.weights}


def draw_case(seed: int, weight_scales: tuple[int, ...]) -> Case:
    """Draw a layer; its weights have PyTorch's initial range times one of the scales."""
    rng = np.random.default_rng([seed, *weight_scales])

    def pick(values: tuple[Any, ...]) -> Any:
        return values[rng.integers(len(values))]

    cell = pick(tuple(CELLS.values()))
    hidden, layers, steps, batch = pick(SIZES), pick((1, 1, 1, 2, 3)), pick(STEPS), pick(BATCHES)
    while steps * batch * hidden * layers > MOST_VALUES:
        steps = steps // 2
    projection = (
        int(rng.integers(1, hidden)) if cell.projects and hidden > 1 and pick((0, 1)) else 0
    )
    spec = Spec(
        cell.name,
        pick(SIZES),
        hidden,
        layers,
        pick((False, True, True)),
        pick((False, True)),
        projection,
    )

    def normal(*shape: int) -> np.ndarray:
        return rng.standard_normal(shape).astype(np.float32)

    def state() -> tuple[np.ndarray, ...]:
        return tuple(normal(spec.state_rows, batch, size) for size in spec.state_sizes)

    bound = pick(weight_scales) * hidden**-0.5
    weights = {
        name: rng.uniform(-bound, bound, shape).astype(np.float32)
        for name, shape in spec.shapes().items()
    }
    lengths = rng.integers(1, steps + 1, batch) if pick((0, 0, 1)) else None
    x = normal(steps, batch, spec.input_size) * np.float32(pick((0.1, 1, 1, 1, 3)))
    start = state() if pick((0, 1)) else None
    return Case(spec, weights, x, start, lengths, normal(steps, batch, spec.width), state())


def found_gradients(case: Case, isa: str) -> Named:
    layer = case.layer(isa)
    _, _, backward = layer.vjp(case.x, case.bare(case.state), lengths=case.lengths)
    return case.named(backward(case.dy, case.bare(case.dstate)))


def wanted_gradients(case: Case) -> Named:
    _, _, backward = reference.vjp(*case.specified(), **case.options())
    return case.named(backward(case.dy, case.bare(case.dstate)))
