# SPDX-License-Identifier: MIT
"""Checks the guarantees of docs/guarantees.md on random layers for a long time; bounds memory.

    PYTHONPATH=tests/support python tests/soak.py --minutes 30

Each round draws a layer and runs every check on it. A line every minute says how many rounds ran
and how much memory is resident. It ends with an error at the first check that fails, or if the
memory at the end is more than GROWTH above that after the first tenth of the time.
"""

from __future__ import annotations

import argparse
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from limits import GRADIENT, GRADIENT_FLOOR, PARITY, error, error_of_largest
from random_stacks import Case, draw_case, found_gradients, wanted_gradients

import fastrnn
from fastrnn import reference

GROWTH = 16 << 20  # bytes: fragments of the allocator; a leak of 1 kB a round would exceed it


def resident() -> int:
    """Return the resident memory of this process in bytes."""
    status = Path("/proc/self/status").read_text()
    line = next(line for line in status.splitlines() if line.startswith("VmRSS:"))
    return int(line.split()[1]) << 10


def arrays(result: Any) -> list[np.ndarray]:
    """Return y and the parts of the state that a call gives."""
    y, state = result
    return [y, *(state if isinstance(state, tuple) else (state,))]


def same_bits(found: list[np.ndarray], wanted: list[np.ndarray]) -> bool:
    return [a.tobytes() for a in found] == [b.tobytes() for b in wanted]


def run(layer: Any, case: Case) -> list[np.ndarray]:
    return arrays(layer(case.x, case.bare(case.state), lengths=case.lengths))


def check_values(layer: Any, case: Case) -> None:
    """Guarantee 3, with the weights as PyTorch initializes them."""
    wanted = reference.forward(*case.specified(), **case.options())
    measure = error_of_largest if case.spec.cell == "rnn_relu" else error
    for found, array in zip(run(layer, case), wanted, strict=True):
        assert measure(found, array) <= PARITY, (layer, measure(found, array))


def check_rows_alone(layer: Any, case: Case) -> None:
    """Guarantees 1 and 2: a row without its padding has the same bits alone."""
    y, *states = run(layer, case)
    for row in range(case.x.shape[1]):
        length = len(case.x) if case.lengths is None else int(case.lengths[row])
        own = slice(row, row + 1)
        start = None if case.state is None else tuple(part[:, own] for part in case.state)
        alone = arrays(layer(case.x[:length, own], case.bare(start)))
        assert same_bits(alone, [y[:length, own], *(part[:, own] for part in states)])
        assert not y[length:, row].any()


def check_padding(layer: Any, case: Case) -> None:
    """Guarantee 1: the contents of padding do not matter."""
    if case.lengths is not None:
        x = case.x.copy()
        for row, length in enumerate(case.lengths):
            x[length:, row] = np.nan
        assert same_bits(run(layer, case._replace(x=x)), run(layer, case))


def check_threads(layer: Any, case: Case) -> None:
    """Guarantees 1 and 7: one thread, several, and several callers at once."""
    wanted = run(layer, case)
    threads = fastrnn.get_num_threads()
    fastrnn.set_num_threads(1)
    assert same_bits(run(layer, case), wanted)
    fastrnn.set_num_threads(threads)
    with ThreadPoolExecutor(3) as pool:
        for found in pool.map(lambda _: run(layer, case), range(6)):
            assert same_bits(found, wanted)


def check_stream(layer: Any, case: Case) -> None:
    """Guarantee 1: streaming step by step equals the whole sequence."""
    if not case.spec.bidirectional:
        whole = layer(case.x)[0]
        stream = layer.stream(case.x.shape[1])
        assert b"".join(stream.step(x).tobytes() for x in case.x) == whole.tobytes()


def check_floating_point_mode(layer: Any, case: Case) -> None:
    """Guarantee 4: denormals outside of a pass are as they were."""
    run(layer, case._replace(x=case.x * np.float32(1e-39)))
    tiny = np.full(3, 1e-39, np.float32)
    assert (tiny * np.float32(2) > tiny).all()


def check_gradients(layer: Any, case: Case) -> None:
    """The bound of docs/training.md; and the same bits again."""
    isa = layer.isa
    found, wanted = found_gradients(case, isa), wanted_gradients(case)
    again = found_gradients(case, isa)
    for name, array in wanted.items():
        most = GRADIENT * max(GRADIENT_FLOOR, float(np.max(np.abs(array), initial=0)))
        assert np.max(np.abs(found[name] - array), initial=0) <= most, name
        assert found[name].tobytes() == again[name].tobytes()


def check_files(layer: Any, case: Case) -> None:
    """Guarantee 6: a saved layer is read back; a damaged file is refused or read."""
    with TemporaryDirectory() as folder:
        path = Path(folder) / "layer.frnn"
        fastrnn.save(layer, path)
        assert same_bits(run(fastrnn.load(path, isa=layer.isa), case), run(layer, case))
        content = bytearray(path.read_bytes())
        rng = np.random.default_rng(len(content))
        for place in rng.integers(0, len(content), 8):
            content[place] ^= 1 << rng.integers(8)
            path.write_bytes(content[: int(rng.integers(1, len(content) + 1))])
            with suppress(fastrnn.FormatError):
                fastrnn.load(path)


CHECKS = (
    check_values,
    check_rows_alone,
    check_padding,
    check_threads,
    check_stream,
    check_floating_point_mode,
    check_gradients,
    check_files,
)


def soak(minutes: float) -> None:
    start, rounds, next_line, settled = time.monotonic(), 0, 0.0, 0
    while (passed := time.monotonic() - start) < 60 * minutes:
        isas = fastrnn.isas()
        case = draw_case(rounds, (1,))
        layer = case.layer(isas[rounds % len(isas)])
        for check in CHECKS:
            check(layer, case)
        rounds += 1
        if not settled and passed >= 6 * minutes:
            settled = resident()
        if passed >= next_line:
            print(f"{passed:6.0f} s {rounds:8} rounds {resident() >> 10:10} kB", flush=True)
            next_line += 60
    end = resident()
    print(f"resident: {settled >> 10} kB after a tenth of the time, {end >> 10} kB at the end")
    assert end <= settled + GROWTH


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--minutes", type=float, default=30.0)
    soak(parser.parse_args().minutes)
