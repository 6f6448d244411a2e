# SPDX-License-Identifier: MIT
"""Ratios, tables, plots and the README's block, from made-up times."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from fastrnn.bench import Case, Times

from .. import readme
from ..measuring.cases import MAIN
from ..measuring.machine_limits import Limits
from ..measuring.measure import CaseResult, Measurement, Plan
from ..reports import report
from ..reports.document import Document
from ..reports.tables import geometric_mean

CASE = Case("small_gru", "GRU", 5, 3, 4, 6, 2, True, lengths="uniform")
LIMITS = Limits(1, "avx2", 90e9, ((16 << 10, 100e9), (64 << 20, 20e9)))
MACHINE = {"cpu": "Abacus", "cpus": 2, "system": "Linux", "python": "3", "caches": []}
BEST, MEDIAN = report.STATISTICS["best"], report.STATISTICS["median"]


def measured(engine: str, milliseconds: list[float], threads: int = 1) -> Measurement:
    times = Times.of([1e-3 * value for value in milliseconds])
    return Measurement(engine, threads, times=times, path="loop")


def result_of(*rows: Measurement, case: Case = CASE) -> CaseResult:
    return CaseResult(case, 9, "torch", list(rows))


@pytest.fixture
def document() -> Document:
    rows = [
        measured("fastrnn", [1.0]),
        measured("fastrnn", [0.5, 0.5], threads=2),
        measured("torch", [4.0]),
        measured("torch", [5.0], threads=2),
        measured("onnxruntime", [3.0]),
        Measurement("openvino", 1, status="unsupported", detail="because"),
    ]
    rows[0].ideal, rows[1].ideal = 0.9e-3, 0.4e-3
    slow = [measured("fastrnn", [1.0]), measured("fastrnn", [1.2], threads=2)]
    slow[0].ideal = slow[1].ideal = 0.5e-3
    other = replace(CASE, name="other_lstm", cell="LSTM", batch=30)
    engines = {"fastrnn": "1.0", "torch": "2.0", "onnxruntime": "3.0", "openvino": "4.0"}
    results = [result_of(*rows), result_of(*slow, case=other)]
    limits = {1: LIMITS, 2: replace(LIMITS, threads=2, flops=180e9)}
    return Document(engines, [1, 2], Plan(3, 0.1), results, limits, MACHINE)


def test_ratios_take_the_fastest_peer_at_its_best_threads() -> None:
    result = result_of(
        measured("fastrnn", [1.0, 2.0, 3.0]),
        measured("fastrnn", [0.5, 1.0, 2.0], threads=2),
        measured("torch", [4.0, 4.0, 9.0]),
        measured("onnxruntime", [3.0, 6.0, 7.0]),
        replace(measured("openvino", [1e-6]), status="wrong"),
    )
    assert report.peer_ratio(result, [1], BEST) == pytest.approx(3.0)
    assert report.peer_ratio(result, [1], MEDIAN) == pytest.approx(2.0)
    assert report.peer_ratio(result, [1, 2], BEST) == pytest.approx(6.0)
    assert report.peer_ratio(result, [1, 2], BEST, ["torch"]) == pytest.approx(8.0)
    assert report.peer_ratio(result, [2], BEST) is None
    assert geometric_mean([2.0, None, 8.0]) == pytest.approx(4.0)
    assert geometric_mean([None]) is None


def test_slower_is_what_best_and_median_say() -> None:
    one = measured("fastrnn", [1.0, 2.0])
    for more, slower in (([1.1, 3.0], True), ([1.1, 1.5], False), ([1.01, 2.02], False)):
        result = result_of(one, measured("fastrnn", more, threads=2))
        assert report.is_slower(result, 2) == slower
    assert not report.is_slower(result_of(one), 2)


def test_share_is_that_of_the_fewest_threads_that_suffice() -> None:
    one, two = measured("fastrnn", [1.0]), measured("fastrnn", [0.99], threads=2)
    one.ideal, two.ideal = 0.8e-3, 0.4e-3
    assert report.share(result_of(one, two), [1, 2]) == pytest.approx(0.8)
    quick = measured("fastrnn", [0.5], threads=2)
    quick.ideal = 0.4e-3
    assert report.share(result_of(one, quick), [1, 2]) == pytest.approx(0.8)
    assert report.share(result_of(two), [1]) is None


def test_markdown_shows_everything(document: Document) -> None:
    text = report.markdown(document)
    for part in (
        "Abacus, 2 CPUs",
        "`small_gru`",
        "GRU T5 B3 I4 H6 x2 bi ragged",
        "0.5 / 0.5 @2",
        "6.00",
        "8.00",
        "90 %",
        "80 %",
        "because",
        "Limits, 2 threads at once: 180 GFLOP/s",
        "1 of 2 rows are slower",
    ):
        assert part in text
    lines = text.splitlines()
    tables = [lines.index(line) for line in lines if line.startswith("| case")]
    assert all(len(lines[start]) == len(lines[start + 2]) for start in tables)
    (slow,) = [line for line in lines if "slower |" in line]
    assert "`other_lstm`" in slow
    assert "0.83" in slow


def test_a_training_run(document: Document, tmp_path: Path) -> None:
    for result in document.results:
        result.measurements[:] = [replace(row, mode="train") for row in result.measurements]
    document.engines["fastrnn_torch"] = "1.0"
    document.results[0].measurements.append(measured("fastrnn_torch", [1.0]))
    assert document.training
    assert document.results[0].flops == 3 * CASE.flops(9)
    assert document.results[0].bytes_moved == 2 * CASE.bytes_read() + CASE.weight_bytes()
    text = report.markdown(document)
    assert text.startswith("# Training")
    assert "forward and backward" in text
    assert "| PyTorch / fastrnn.torch |" in text
    assert "PyTorch, over fastrnn.torch" in text
    assert report.peer_ratio(
        document.results[0], [1, 2], BEST, ["torch"], "fastrnn_torch"
    ) == pytest.approx(4.0)
    document.write(tmp_path / "out.json")
    assert Document.read(tmp_path / "out.json").training
    with pytest.raises(ValueError, match="expected a run of inference"):
        readme.main([str(tmp_path / "out.json")])


@pytest.mark.parametrize("kind", ["svg", "png"])
def test_plots(document: Document, tmp_path: Path, kind: str) -> None:
    pytest.importorskip("matplotlib")
    from ..reports.plot import draw_bars
    from ..reports.roofline import draw_roofline

    for draw in (draw_bars, draw_roofline):
        paths = [tmp_path / f"{number}.{kind}" for number in (1, 2)]
        for path in paths:
            draw(document, path)
        assert paths[0].read_bytes() == paths[1].read_bytes()
        if kind == "svg":
            text = paths[0].read_text()
            assert "small_gru" in text
            assert "Abacus" in text
        with pytest.raises(ValueError, match=r"\.svg or \.png"):
            draw(document, tmp_path / "plot.gif")


def test_names_in_the_roofline_do_not_cover_each_other() -> None:
    pytest.importorskip("matplotlib")
    from ..reports.roofline import _free_place, _overlap

    inside = (0.0, 0.0, 400.0, 300.0)
    spots = [(50.0 + 3 * n, 150.0 + n % 2) for n in range(12)]
    boxes: list[tuple[float, float, float, float]] = []
    for spot in spots:
        boxes.append(_free_place(spot, (60.0, 9.0), boxes, inside))
    for number, box in enumerate(boxes):
        assert box[0] >= 0
        assert box[2] <= 400
        assert not any(_overlap(box, other) for other in boxes[:number])


def test_documents_are_written_between_their_markers(document: Document, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    document.write(tmp_path / "out.json")
    (tmp_path / "docs").mkdir()
    pages = [tmp_path / "README.md", tmp_path / "docs" / readme.PAGE]
    for page in pages:
        page.write_text(f"before\n\n{readme.BEGIN}\nold\n{readme.END}\n\nafter\n")
    for _ in range(2):
        assert readme.main([str(tmp_path / "out.json"), "--readme", str(pages[0])]) == 0
        for page in pages:
            text = page.read_text()
            assert text.startswith(f"before\n\n{readme.BEGIN}\nAbacus")
            assert text.endswith(f"{readme.END}\n\nafter\n")
            assert "old" not in text
            assert "| `small_gru` " in text
        assert ("share of limit" in pages[0].read_text(), "share of limit" in text) == (False, True)
        assert "(benchmark.svg)" in text
        assert (tmp_path / "docs/roofline.svg").stat().st_size > 0
    before = pages[0].read_text()
    pages[1].write_text("no markers")
    with pytest.raises(ValueError, match="found not both"):
        readme.main([str(tmp_path / "out.json"), "--readme", str(pages[0])])
    assert pages[0].read_text() == before


def test_readme_shows_some_cases_and_the_means_of_all(document: Document) -> None:
    assert set(readme.SHOWN) < {case.name for case in MAIN}
    shown = replace(document.results[0], case=replace(CASE, name=readme.SHOWN[0]))
    some = replace(document, results=[shown, document.results[1]])
    assert f"| `{readme.SHOWN[0]}` " in readme.short_block(some)
    assert "other_lstm" not in readme.short_block(some)
    assert "other_lstm" in readme.full_block(some)
    assert "all 2 cases" in readme.short_block(some)
