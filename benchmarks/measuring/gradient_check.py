# SPDX-License-Identifier: MIT
"""A training step's outputs as the specification has them, and the check before it is timed."""

from __future__ import annotations

from dataclasses import replace

from fastrnn import reference
from fastrnn.bench import (
    TOLERANCE,
    Arrays,
    Case,
    Workload,
    WrongResultError,
    make_workload,
    named_outputs,
)

from ..engines.engine_fastrnn import make_trainer, named_gradients
from .agreement import relative_difference
from .workload import output_gradient


def reference_step(workload: Workload) -> Arrays:
    """y, the final state, and the gradients of x and the weights for output_gradient's dy."""
    case = workload.case
    y, state, backward = reference.vjp(
        case.spec.cell,
        workload.x,
        workload.weights,
        num_layers=case.layers,
        bidirectional=case.bidirectional,
        lengths=workload.lengths,
    )
    return named_outputs(y, state) | named_gradients(backward(output_gradient(workload)))


def check_step(case: Case, steps: int = 6, batch: int = 3) -> float:
    """fastrnn's difference from the reference on fewer steps and rows, which numpy can do.

    WrongResultError when it is more than rounding.
    """
    reduced = replace(case, steps=min(case.steps, steps), batch=min(case.batch, batch))
    workload = make_workload(reduced)
    error = relative_difference(make_trainer(workload).outputs(), reference_step(workload))
    if not error <= TOLERANCE:
        raise WrongResultError(f"{case.name}: gradients differ from the reference by {error:.2g}")
    return error
