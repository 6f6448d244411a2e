# SPDX-License-Identifier: MIT
"""How exact gradients are, over random layers of every cell: the bounds of docs/training.md.

float64 and the specification are the measure. Two sources of error are nobody's fault. A unit near
saturation has the derivative 1 - h^2, and h is stored in float32. Large weights make gradients grow
from step to step, and the rounding of the first steps with them. So a gradient near zero counts as
GRADIENT_FLOOR, and with large weights the measure is what rounding the weights changes.
"""

from __future__ import annotations

import numpy as np
import pytest
from limits import GRADIENT, GRADIENT_FLOOR, ROUNDED_WEIGHTS
from random_stacks import Case, Named, draw_case, found_gradients, wanted_gradients


def rounded_weights(case: Case, seed: int) -> Case:
    """The case with each weight moved by half a unit in its last place, up or down."""
    rng = np.random.default_rng(seed)
    moved = {
        name: w * (1 + 2.0**-24 * rng.choice([-1, 1], w.shape)) for name, w in case.weights.items()
    }
    return case._replace(weights=moved)


def errors(found: Named, wanted: Named) -> dict[str, float]:
    assert found.keys() == wanted.keys()
    return {name: float(np.max(np.abs(found[name] - wanted[name]), initial=0)) for name in wanted}


def allowed(wanted: Named) -> dict[str, float]:
    return {
        name: GRADIENT * max(GRADIENT_FLOOR, float(np.max(np.abs(w), initial=0)))
        for name, w in wanted.items()
    }


COUNTS = [50, pytest.param(16_000, marks=pytest.mark.long)]


@pytest.mark.parametrize("count", COUNTS)
def test_gradients_of_ordinary_weights(isa: str, count: int) -> None:
    """Weights of the size of PyTorch's initial ones."""
    for seed in range(count):
        case = draw_case(seed, (1,))
        wanted = wanted_gradients(case)
        found, most = errors(found_gradients(case, isa), wanted), allowed(wanted)
        for name, error in found.items():
            assert error <= most[name], (seed, name)


@pytest.mark.parametrize("count", [20, pytest.param(4_000, marks=pytest.mark.long)])
def test_gradients_of_large_weights(isa: str, count: int) -> None:
    """Two and four times that; a ReLU within rounding of its kink has no measure."""
    for seed in range(count):
        case = draw_case(seed, (2, 4))
        if case.spec.cell == "rnn_relu":
            continue
        wanted = wanted_gradients(case)
        found, most = errors(found_gradients(case, isa), wanted), allowed(wanted)
        if any(found[name] > most[name] for name in found):
            moved = [errors(wanted_gradients(rounded_weights(case, k)), wanted) for k in range(4)]
            for name, error in found.items():
                change = max(each[name] for each in moved)
                assert error <= max(most[name], ROUNDED_WEIGHTS * change), (seed, name)
