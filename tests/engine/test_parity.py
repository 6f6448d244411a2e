# SPDX-License-Identifier: MIT
"""Every kernel table computes what PyTorch and the specification do, for every configuration."""

from __future__ import annotations

from functools import lru_cache

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
from limits import PARITY, REFERENCE, error

import fastrnn

# The configuration varies slowest, so that the expected values are computed once for all ISAs.
EVERYTHING = [(isa, c) for c in CONFIGURATIONS for isa in fastrnn.isas()]


@lru_cache(maxsize=2)
def reference_wanted(configuration: Configuration) -> Arrays:
    return run_reference(configuration)


@lru_cache(maxsize=2)
def torch_wanted(configuration: Configuration) -> Arrays:
    return run_torch(configuration, dtype="float64")


def check(found: Arrays, wanted: Arrays) -> None:
    for name, a, b in zip(("y", "h_n", "c_n"), found, wanted, strict=False):
        assert a.dtype == np.float32
        assert error(a, b) <= PARITY, name
    assert len(found) == len(wanted)


@pytest.mark.parametrize(("isa", "configuration"), EVERYTHING, ids=str)
def test_parity(isa: str, configuration: Configuration) -> None:
    """The layer, the specification and torch.nn agree, and y is 0 beyond the lengths."""
    found, specified = run_fastrnn(configuration, isa), reference_wanted(configuration)
    check(found, specified)
    if configuration.lengths is not None:
        for row, length in enumerate(configuration.lengths):
            assert not found[0][length:, row].any()
    pytest.importorskip("torch")
    wanted = torch_wanted(configuration)
    check(found, wanted)
    assert all(error(a, b) <= REFERENCE for a, b in zip(specified, wanted, strict=True))


@pytest.mark.parametrize("case", [*golden_cases()], ids=lambda case: case.name)
def test_parity_golden(isa: str, case: GoldenCase) -> None:
    check(run_fastrnn(case.configuration, isa, case.data), case.wanted)
