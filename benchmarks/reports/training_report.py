# SPDX-License-Identifier: MIT
"""The results of `benchmarks.training` in Markdown."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from ..engines.engines import TITLES
from ..measuring.measure import CaseResult, Measurement
from ..peak import CASE as MEMORY
from ..peak import Peak
from .document import Document
from .tables import geometric_mean, milliseconds, percent, ratio, table, threads_word

OWN = ("fastrnn", "fastrnn_torch")
MB = 1e6


def markdown(document: Document, peaks: Sequence[Peak]) -> str:
    """A section for each part that was measured, with a table for each number of threads."""
    parts = [f"# Training, float32\n\n{document.about()}\n"]
    writers: dict[str, Callable[[list[CaseResult], int], str]] = {
        "packed": _packed,
        "step": _step,
        "repack": _repack,
    }
    for group, write in writers.items():
        results = [result for result in document.results if result.case.group == group]
        if results:
            parts.append(ABOUT[group])
        for threads in document.threads if results else []:
            parts += [f"### {threads_word(threads).capitalize()}\n", write(results, threads)]
    if peaks:
        parts += [ABOUT["memory"], _memory(peaks)]
    if problems := _problems(document.results):
        parts += ["## Not measured\n", problems]
    return "\n".join(parts)


ABOUT = {
    "packed": (
        "## Rows of unequal length\n\n"
        "Forward and backward of one layer; `work` is the sum of the lengths over steps * batch. "
        "fastrnn gets the padded batch and its lengths; PyTorch and fastrnn.torch pack it, run, "
        "and pad the result. Times are median / best, ratios of best times.\n"
    ),
    "step": (
        "## A step of a whole model\n\n"
        "Embedding of 1000 words, 2 layers of GRU, linear over the words, cross entropy, backward, "
        "Adam; `accelerated` is the same after fastrnn.torch.accelerate(model).\n"
    ),
    "repack": (
        "## New weights\n\n"
        "What an update of the weights costs beside the update: they are packed again before the "
        "next pass. A recorded step of one row right after a change (fastrnn: layer.editing; "
        "fastrnn.torch: a new version of each parameter) minus the same without one, beside "
        "forward and backward of the batch. Best times.\n"
    ),
    "memory": (
        "## Memory of a training step\n\n"
        "Peak resident memory of a process that trains one step, over that of a process that only "
        "imports the engine and makes x and dy. Layer, weights and gradients count.\n"
    ),
}


def _packed(results: list[CaseResult], threads: int) -> str:
    engines = [e for e in ("fastrnn", "fastrnn_torch", "torch") if _any(results, e, "train")]
    own = [engine for engine in engines if engine in OWN]
    header = ["case", "shape", "work", *(f"{TITLES[engine]} ms" for engine in engines)]
    header += [f"PyTorch / {TITLES[engine]}" for engine in own]
    rows = []
    leads: dict[str, list[float | None]] = {engine: [] for engine in own}
    for result in results:
        work = result.row_steps / (result.case.steps * result.case.batch)
        peer = result.find("torch", threads, "train")
        for engine in own:
            leads[engine].append(_quotient(peer, result.find(engine, threads, "train")))
        cells = [f"`{result.case.name}`", result.case.shape.removesuffix(" ragged"), ratio(work)]
        cells += [_times(result.find(engine, threads, "train")) for engine in engines]
        rows.append([*cells, *(ratio(leads[engine][-1]) for engine in own)])
    means = [f"{ratio(geometric_mean(leads[e]))} times as long as {TITLES[e]}" for e in own]
    text = f"\nIn geometric mean PyTorch takes {', '.join(means)}.\n" if means else ""
    return table(header, rows) + text


def _step(results: list[CaseResult], threads: int) -> str:
    rows = []
    for result in results:
        plain, swapped = (result.find(e, threads, "step") for e in ("torch", "fastrnn_torch"))
        times = [_times(plain), _times(swapped), ratio(_quotient(plain, swapped))]
        rows.append([f"`{result.case.name}`", result.case.shape, *times])
    header = ["case", "shape", "PyTorch ms", "accelerated ms", "PyTorch / accelerated"]
    return table(header, rows)


def _repack(results: list[CaseResult], threads: int) -> str:
    rows = []
    for result in results:
        for engine in OWN:
            step, new, same = (
                result.find(engine, threads, mode) for mode in ("train", "repack", "reuse")
            )
            if step is None or new is None or same is None:
                continue
            cost = max(new.best - same.best, 0.0)
            cells = [f"`{result.case.name}`", result.case.shape, TITLES[engine]]
            cells += [f"{result.case.weight_bytes() / MB:.2f}", milliseconds(step.best)]
            rows.append([*cells, milliseconds(cost), percent(cost / step.best)])
    header = ["case", "shape", "engine", "weights MB", "forward and backward ms", "packing ms"]
    return table([*header, "share"], rows)


def _memory(peaks: Sequence[Peak]) -> str:
    base = next((peak.taken for peak in peaks if peak.engine == "torch"), None)
    rows = []
    for peak in peaks:
        sizes = [f"{size / MB:.0f}" for size in (peak.baseline, peak.step, peak.taken)]
        over = None if base is None else peak.taken / base
        rows.append([TITLES[peak.engine], str(peak.threads), *sizes, ratio(over)])
    header = ["engine", "threads", "before MB", "peak MB", "taken MB", "taken / PyTorch's"]
    return f"{MEMORY.shape}.\n\n{table(header, rows)}"


def _any(results: Sequence[CaseResult], engine: str, mode: str) -> bool:
    rows = (row for result in results for row in result.measurements)
    return any((row.engine, row.mode) == (engine, mode) for row in rows)


def _quotient(above: Measurement | None, below: Measurement | None) -> float | None:
    return None if above is None or below is None else above.best / below.best


def _times(row: Measurement | None) -> str:
    return "-" if row is None else f"{milliseconds(row.median)} / {milliseconds(row.best)}"


def _problems(results: Sequence[CaseResult]) -> str:
    lines = [
        f"- `{result.case.name}`, {TITLES[row.engine]} {row.mode}, threads {row.threads}: "
        f"{row.status}: {row.detail}"
        for result in results
        for row in result.measurements
        if not row.ok
    ]
    return "\n".join(lines) + "\n" if lines else ""
