# SPDX-License-Identifier: MIT
"""Random models of each framework and writer: loaded with the framework's values, or refused."""

from __future__ import annotations

import contextlib
import io
import logging
import warnings
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")

from generated_models import TorchModel, keras_model  # noqa: E402
from keras_models import import_keras, output, save  # noqa: E402
from limits import IMPORTED, error  # noqa: E402
from onnx_files import session  # noqa: E402
from random_keras import RandomModels  # noqa: E402

import fastrnn  # noqa: E402

torch.set_num_threads(1)
pytestmark = pytest.mark.filterwarnings("ignore")

# Of a format: the models of the short suite and of the long one.
COUNTS = {
    "scripted": (14, 120),
    "traced": (14, 120),
    "exported": (5, 70),
    "onnx": (14, 120),
    "onnx dynamo": (4, 20),
    "keras": (12, 60),
}

Pair = tuple[np.ndarray, Any]  # an input, and the framework's result for it


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Exporters write to the terminal, to loggers and as warnings."""
    with warnings.catch_warnings(), torch.no_grad(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        logging.disable(logging.CRITICAL)
        yield
        logging.disable(logging.NOTSET)


def write_torch(form: str, made: TorchModel, path: Path) -> None:
    module, x = made.module, made.example
    if form == "scripted":
        torch.jit.script(module).save(str(path))
    elif form == "traced":
        torch.jit.trace(module, x).save(str(path))
    elif form == "exported":
        torch.export.save(torch.export.export(module, (x,)), path)
    else:
        axes = {0: "first", 1: "second"}
        options: dict[str, Any] = {"dynamo": False, "dynamic_axes": {"x": axes}}
        if form == "onnx dynamo":
            options = {"dynamo": True, "external_data": False, "verbose": False}
        torch.onnx.export(module, (x,), str(path), input_names=["x"], **options)


def torch_results(form: str, made: TorchModel, path: Path) -> Iterator[Pair]:
    """What the framework that runs the file returns, where it runs it."""
    for x in (made.example, made.other):
        try:
            if form in ("scripted", "traced"):
                yield x.numpy(), torch.jit.load(str(path))(x).numpy()
            elif form == "exported":
                yield x.numpy(), torch.export.load(path).module()(x).numpy()
            else:
                yield x.numpy(), session(path).run(None, {"x": x.numpy()})[0]
        except Exception:  # the writer fixed sizes that this input has not
            continue


def outcome(path: Path, results: list[Pair]) -> str:
    """Whether a file is loaded with these results, refused, or wrong."""
    try:
        model = fastrnn.load(path)
    except fastrnn.FormatError:
        return "refused"
    for at, (x, wanted) in enumerate(results):
        try:
            y = np.asarray(model(x)[0])
        except (ValueError, TypeError) as why:
            if at == 0:
                return f"wrong: {why}"
            continue  # other sizes than the file's
        if y.shape != wanted.shape or not error(y, wanted) <= IMPORTED:
            return f"wrong: {y.shape} for {wanted.shape}, {model}"
    return "loaded"


def outcome_of_seed(form: str, seed: int, folder: Path) -> str:
    if form == "keras":
        keras, path = import_keras(), folder / ("m.keras", "m.h5")[seed // 2 % 2]
        masked = RandomModels(keras).draw(np.random.default_rng(seed))
        model, x = masked if seed % 2 else keras_model(keras, seed)
        return outcome(save(model, path), [(x, output(model, x))])
    path, made = folder / "m.bin", TorchModel(seed)
    with quiet():
        try:
            write_torch(form, made, path)
        except Exception:  # of the writer, which cannot do all that torch can
            return "not written"
        results = list(torch_results(form, made, path))
    return outcome(path, results)


def check(form: str, seeds: range, folder: Path) -> Counter[str]:
    """Require that no model is wrong, and that some are loaded and some are not; their counts."""
    found = {seed: outcome_of_seed(form, seed, folder) for seed in seeds}
    wrong = {seed: what for seed, what in found.items() if what.startswith("wrong")}
    assert not wrong, "\n".join(f"{form}, seed {seed}: {what}" for seed, what in wrong.items())
    return Counter(found.values())


@pytest.mark.parametrize("form", COUNTS)
def test_generated(form, tmp_path):
    counts = check(form, range(COUNTS[form][0]), tmp_path)
    assert counts["loaded"]


@pytest.mark.long
@pytest.mark.parametrize("form", COUNTS)
def test_many_generated(form, tmp_path, record_property):
    counts = check(form, range(1000, 1000 + COUNTS[form][1]), tmp_path)
    for what, count in counts.items():
        record_property(f"{form} {what}", count)
    assert counts["loaded"]
    assert counts["refused"]
