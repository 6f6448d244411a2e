# SPDX-License-Identifier: MIT
"""Compare outputs with fastrnn's float64 reference, at sizes small enough for plain numpy."""

from __future__ import annotations

from dataclasses import replace

from .cases import Case
from .measure import TOLERANCE
from .workload import Arrays, Workload, difference, make_workload


def shortened(case: Case, steps: int = 4, batch: int = 3) -> Case:
    """The same layers on fewer steps and rows."""
    return replace(case, steps=min(case.steps, steps), batch=min(case.batch, batch))


def reference_outputs(workload: Workload) -> Arrays:
    """y, h_n and c_n as the specification has them."""
    from fastrnn import reference

    case = workload.case
    outputs = reference.forward(
        case.cell,
        workload.x,
        workload.weights,
        num_layers=case.layers,
        bidirectional=case.bidirectional,
        lengths=workload.lengths,
        nonlinearity=case.nonlinearity,
    )
    return dict(zip(("y", "h_n", "c_n"), outputs, strict=False))


def assert_right(case: Case) -> None:
    """fastrnn's result for a shortened case must be the reference's."""
    from .engine_fastrnn import make_runner

    workload = make_workload(shortened(case))
    error = difference(make_runner(workload).outputs(), reference_outputs(workload))
    assert error <= TOLERANCE, f"{case.name}: differs from the reference by {error:.2g}"
