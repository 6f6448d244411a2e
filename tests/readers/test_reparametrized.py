# SPDX-License-Identifier: MIT
"""Weights that wrappers of PyTorch compute are computed as PyTorch does, or refused by name."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from limits import COMPUTED_ULPS

import fastrnn
from fastrnn.files.stacks import scan_stacks
from fastrnn.readers.reparametrized import compute_weight

torch = pytest.importorskip("torch")
prune = pytest.importorskip("torch.nn.utils.prune")
nn = torch.nn
WRAPPED = ("weight_hh_l0", "weight_ih_l1_reverse")

Wrap = Callable[[Any, str], object]


def weight_norm(dim: int | None) -> Wrap:
    return lambda module, name: nn.utils.weight_norm(module, name, dim)


def new_weight_norm(dim: int | None) -> Wrap:
    return lambda module, name: nn.utils.parametrizations.weight_norm(module, name, dim)


EXACT: dict[str, Wrap] = {
    "pruning": lambda module, name: prune.l1_unstructured(module, name, 0.5),
    "structured pruning": lambda module, name: prune.random_structured(module, name, 3, 0),
}
COMPUTED: dict[str, Wrap] = {
    "weight norm": weight_norm(0),
    "weight norm of columns": weight_norm(1),
    "weight norm of all": weight_norm(None),
    "new weight norm": new_weight_norm(0),
    "new weight norm of all": new_weight_norm(None),
    "spectral norm": lambda module, name: nn.utils.spectral_norm(module, name),
    "new spectral norm": lambda m, name: nn.utils.parametrizations.spectral_norm(m, name),
}


class Wrapped(nn.Module):
    """A bidirectional LSTM, of which a wrapper computes two weights, and a head."""

    def __init__(self, wrap: Wrap) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.rnn = nn.LSTM(3, 5, 2, bidirectional=True)
        self.head = nn.Linear(10, 2)
        for name in WRAPPED:
            wrap(self.rnn, name)
        for parameter in self.parameters():  # as after training: g is not the norm of v
            parameter.data += 0.05 * torch.randn_like(parameter)
        for _ in range(9):  # calls in training find the vectors of spectral norm
            self.call_hooks()
        self.eval()

    def call_hooks(self) -> None:
        for hook in self.rnn._forward_pre_hooks.values():
            hook(self.rnn, None)

    def weights(self) -> dict[str, np.ndarray]:
        with torch.no_grad(), nn.utils.parametrize.cached():
            self.call_hooks()
            return {name: getattr(self.rnn, name).detach().numpy() for name in WRAPPED}


def ulps(found: np.ndarray, wanted: np.ndarray) -> float:
    return float(np.max(np.abs(found - wanted) / np.spacing(np.abs(wanted))))


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("kind", [*EXACT, *COMPUTED])
def test_weights_equal_torch(tmp_path: Path, kind: str) -> None:
    model = Wrapped((EXACT | COMPUTED)[kind])
    torch.save(model.state_dict(), tmp_path / "m.pt")
    layer = fastrnn.load(tmp_path / "m.pt")
    assert (layer.num_layers, layer.bidirectional) == (2, True)
    state = layer.state_dict()
    for name, wanted in model.weights().items():
        assert ulps(state[name], wanted) <= (COMPUTED_ULPS if kind in COMPUTED else 0), name
    plain = [name for name in state if name not in WRAPPED]
    assert all(np.array_equal(state[n], model.state_dict()[f"rnn.{n}"]) for n in plain)


@pytest.mark.parametrize("of_wrapper", [True, False], ids=["fastai", "salesforce"])
def test_weight_drop(tmp_path: Path, of_wrapper: bool) -> None:
    """The raw weight is in the wrapper, beside one that was dropped; or in the wrapped module."""
    outer, lstm = nn.Module(), nn.LSTM(3, 5)
    raw = nn.Parameter(torch.randn(20, 5))
    outer.module = lstm
    (outer if of_wrapper else lstm).register_parameter("weight_hh_l0_raw", raw)
    if not of_wrapper:
        del lstm.weight_hh_l0
    torch.save({f"rnns.0.{k}": v for k, v in outer.state_dict().items()}, tmp_path / "m.pt")
    found = fastrnn.load(tmp_path / "m.pt", "rnns.0.module").state_dict()
    assert np.array_equal(found["weight_hh_l0"], raw.detach().numpy())
    assert np.array_equal(found["weight_ih_l0"], lstm.weight_ih_l0.detach().numpy())


def test_other_parametrizations_are_refused_by_name(tmp_path: Path) -> None:
    class Positive(nn.Module):
        def forward(self, x):
            return x.exp()

    for wrap in (
        lambda rnn, name: nn.utils.parametrize.register_parametrization(rnn, name, Positive()),
        lambda rnn, name: nn.utils.parametrizations.orthogonal(rnn, name),
    ):
        rnn = nn.GRU(3, 4)
        wrap(rnn, "weight_ih_l0")
        torch.save({f"a.{k}": v for k, v in rnn.state_dict().items()}, tmp_path / "m.pt")
        with pytest.raises(fastrnn.FormatError, match=r"'a.weight_ih_l0' is computed from '.*orig"):
            fastrnn.load(tmp_path / "m.pt")


def test_weight_beside_its_parts_is_ambiguous() -> None:
    state = nn.RNN(3, 4).state_dict()
    arrays = {f"a.{name}": tensor.numpy() for name, tensor in state.items()}
    parts = {"a.weight_hh_l0_g": np.ones((4, 1)), "a.weight_hh_l0_v": np.ones((4, 4))}
    assert "ambiguous" in str(scan_stacks(arrays | parts)["a."])


Shape = tuple[int, ...]


@pytest.mark.parametrize(
    ("parts", "shapes"),
    [
        (("_g", "_v"), ((3, 4), (3, 4))),
        (("_g", "_v"), ((4, 1), (3, 4))),
        (("_g", "_v"), ((1, 1), (3, 4))),
        (("_g", "_v"), ((3,), (3, 4))),
        (("_orig", "_mask"), ((3, 4), (3, 1))),
        (("_orig", "_u", "_v"), ((3, 4), (4,), (3,))),
        (("_orig", "_u", "_v"), ((3,), (3,), (3,))),
    ],
)
def test_parts_that_do_not_fit_are_refused(parts: tuple[str, ...], shapes: list[Shape]) -> None:
    arrays = {part: np.ones(shape) for part, shape in zip(parts, shapes, strict=True)}
    with pytest.raises(fastrnn.FormatError, match=r"'a.w' do not fit .*'a.w_") as caught:
        compute_weight("a.", "w", arrays)
    assert all(str(shape) in str(caught.value) for shape in shapes)


def test_vectors_of_the_transposed_weight_are_refused() -> None:
    """spectral_norm(dim=1) of a square weight: nothing but the values tells the axis."""
    model = nn.utils.spectral_norm(nn.Linear(5, 5), dim=1)
    model(torch.ones(1, 5))
    parts = {rest: getattr(model, f"weight{rest}").detach().numpy() for rest in ("_u", "_v")}
    parts["_orig"] = model.weight_orig.detach().numpy()
    with pytest.raises(fastrnn.FormatError, match="do not fit"):
        compute_weight("", "weight", parts)


@pytest.mark.parametrize("dtype", [np.int32, bool, np.complex64])
def test_parts_must_be_floats(dtype: type) -> None:
    with pytest.raises(fastrnn.FormatError, match="'w_v' has dtype"):
        compute_weight("", "w", {"_g": np.ones((3, 1)), "_v": np.ones((3, 4), dtype)})


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_types_of_elements_are_kept(dtype: type) -> None:
    v = np.full((2, 4), 3, dtype)
    found = compute_weight("", "w", {"_g": np.full((2, 1), 4, dtype), "_v": v})
    assert found.dtype == dtype
    assert np.array_equal(found, np.full((2, 4), 2))
    mask = np.arange(8).reshape(2, 4) % 2 == 0
    assert np.array_equal(compute_weight("", "w", {"_orig": v, "_mask": mask}), v * mask)
