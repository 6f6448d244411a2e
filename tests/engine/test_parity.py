# SPDX-License-Identifier: MIT
"""Every kernel table gives PyTorch's and the specification's numbers, for every configuration."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest
from configurations import (
    CONFIGURATIONS,
    Arrays,
    Configuration,
    run_fastrnn,
    run_reference,
    run_torch,
)
from golden_cases import GoldenCase, golden_cases
from limits import PARITY, error

import fastrnn

# The configuration varies slowest, so that what is wanted is computed once for all ISAs.
EVERYTHING = [(isa, c) for c in CONFIGURATIONS for isa in fastrnn.isas()]
torch_wanted = cache(run_torch)
reference_wanted = cache(run_reference)


def check(found: Arrays, wanted: Arrays) -> None:
    for name, a, b in zip(("y", "h_n", "c_n"), found, wanted, strict=False):
        assert a.dtype == np.float32
        assert error(a, b) <= PARITY, name
    assert len(found) == len(wanted)


@pytest.mark.parametrize(("isa", "configuration"), EVERYTHING, ids=str)
def test_parity(isa: str, configuration: Configuration) -> None:
    pytest.importorskip("torch")
    check(run_fastrnn(configuration, isa), torch_wanted(configuration))


@pytest.mark.parametrize(("isa", "configuration"), EVERYTHING, ids=str)
def test_parity_reference(isa: str, configuration: Configuration) -> None:
    found = run_fastrnn(configuration, isa)
    check(found, reference_wanted(configuration))
    if configuration.lengths is not None:
        for row, length in enumerate(configuration.lengths):
            assert not found[0][length:, row].any()


@pytest.mark.parametrize("case", [*golden_cases()], ids=lambda case: case.name)
def test_parity_golden(isa: str, case: GoldenCase) -> None:
    check(run_fastrnn(case.configuration, isa, case.data), case.wanted)
