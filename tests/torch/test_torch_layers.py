# SPDX-License-Identifier: MIT
"""fastrnn.torch's layers and cells give the results, gradients and errors of torch.nn's."""

from __future__ import annotations

import copy
import sys
import unittest
from collections.abc import Iterator
from types import ModuleType
from typing import Any

import pytest
from configurations import CONFIGURATIONS, Configuration, cell_options, time_axis

torch = pytest.importorskip("torch")
from torch import nn  # noqa: E402
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence, pack_sequence  # noqa: E402
from torch_pairs import (  # noqa: E402
    CELLS,
    LAYERS,
    compare,
    leaves,
    make_pair,
    run_pass,
    same_pass,
    tensor,
)

import fastrnn.torch  # noqa: E402

torch.set_num_threads(1)
HALF = CONFIGURATIONS[::2]


@pytest.mark.parametrize("configuration", HALF, ids=str)
def test_configurations(configuration: Configuration, monkeypatch: pytest.MonkeyPatch) -> None:
    """On every instruction set."""
    data, order = configuration.data(), {"batch_first": configuration.batch_first}
    theirs, ours = make_pair(
        configuration.cell,
        configuration.input_size,
        configuration.hidden_size,
        configuration.num_layers,
        bias=configuration.bias,
        bidirectional=configuration.bidirectional,
        **order,
        **cell_options(configuration),
    )
    x: Any = tensor(time_axis(configuration, data.x))
    if configuration.lengths is not None:
        lengths = torch.tensor(configuration.lengths)
        x = pack_padded_sequence(x, lengths, enforce_sorted=False, **order)
    (x.data if isinstance(x, PackedSequence) else x).requires_grad_()
    state: Any = None
    if data.state is not None:
        state = tuple(tensor(part).requires_grad_() for part in data.state)
        state = state if configuration.cell == "LSTM" else state[0]
    wanted = run_pass(theirs, x, state)
    for isa in fastrnn.isas():
        monkeypatch.setenv("FASTRNN_ISA", isa)
        same_pass(run_pass(copy.deepcopy(ours), x, state), wanted)


# --- The inputs of PyTorch's own tests ---


def torch_module_db() -> list[Any]:
    """PyTorch's table of modules and of inputs to test them with."""
    if "expecttest" not in sys.modules:  # of which that table needs one class, for its own tests
        stand_in = ModuleType("expecttest")
        stand_in.TestCase = unittest.TestCase  # type: ignore[attr-defined]
        sys.modules["expecttest"] = stand_in
    from torch.testing._internal.common_modules import module_db

    return [entry for entry in module_db if entry.name.removeprefix("nn.") in (*LAYERS, *CELLS)]


ENTRIES = torch_module_db()
by_name = {"ids": lambda entry: entry.name}
entries = pytest.mark.parametrize("entry", ENTRIES, **by_name)
COMMON = {"device": "cpu", "dtype": torch.float32, "requires_grad": True}


def module_inputs(entry: Any, training: bool) -> list[Any]:
    more = {"with_packed_sequence": True} if entry.name in ("nn.RNN", "nn.GRU") else {}
    return list(entry.module_inputs_func(entry, training=training, **COMMON, **more))


@entries
@pytest.mark.parametrize("training", [True, False], ids=["train", "eval"])
def test_inputs_of_torch(entry: Any, training: bool) -> None:
    count = 0
    for sample in module_inputs(entry, training):
        made = sample.constructor_input
        theirs, ours = make_pair(entry.name.removeprefix("nn."), *made.args, **made.kwargs)
        for module in (theirs, ours):
            module.train(training)
        given = sample.forward_input
        assert not given.kwargs
        compare(theirs, ours, *given.args)
        count += 1
    assert count >= 2


@entries
def test_errors_of_torch(entry: Any) -> None:
    for sample in entry.module_error_inputs_func(entry, training=True, **COMMON):
        made, given = sample.module_error_input.constructor_input, None
        kind = getattr(fastrnn.torch, entry.name.removeprefix("nn."))
        if "CONSTRUCTION" in sample.error_on.name:
            with pytest.raises(sample.error_type, match=sample.error_regex):
                kind(*made.args, **made.kwargs)
            continue
        module, given = kind(*made.args, **made.kwargs), sample.module_error_input.forward_input
        with pytest.raises(sample.error_type, match=sample.error_regex):
            module(*given.args, **given.kwargs)


# --- The rest of torch.nn's interface ---


@pytest.mark.parametrize("kind", [*LAYERS, *CELLS])
def test_is_what_torch_has(kind: str) -> None:
    theirs, ours = make_pair(kind, 3, 5)
    assert isinstance(ours, type(theirs))
    assert repr(ours) == repr(theirs)
    assert {k: v.shape for k, v in ours.state_dict().items()} == {
        k: v.shape for k, v in theirs.state_dict().items()
    }
    theirs.load_state_dict(ours.state_dict())
    if kind in LAYERS:
        ours.flatten_parameters()
        assert [[p.shape for p in w] for w in ours.all_weights] == [
            [p.shape for p in w] for w in theirs.all_weights
        ]
        assert all(a is b for a, b in zip(ours._flat_weights, ours.parameters(), strict=True))


def test_same_initial_weights_from_a_seed() -> None:
    torch.manual_seed(4)
    theirs = nn.GRU(3, 5, num_layers=2)
    torch.manual_seed(4)
    ours = fastrnn.torch.GRU(3, 5, num_layers=2)
    assert all(map(torch.equal, theirs.parameters(), ours.parameters()))


@pytest.mark.parametrize("kind", LAYERS)
@pytest.mark.parametrize("enforce_sorted", [True, False])
def test_packed_sequences(kind: str, enforce_sorted: bool) -> None:
    theirs, ours = make_pair(kind, 3, 5, num_layers=2, bidirectional=True)
    lengths = [6, 4, 4, 1] if enforce_sorted else [4, 1, 6, 4]
    x = pack_sequence([torch.randn(n, 3) for n in lengths], enforce_sorted=enforce_sorted)
    compare(theirs, ours, x)
    shape = (4, 4, 5)
    state = torch.randn(shape, requires_grad=True)
    compare(theirs, ours, x, (state, torch.randn(shape)) if kind == "LSTM" else state)
    y, _ = ours(x)
    assert isinstance(y, PackedSequence)
    assert y.batch_sizes is x.batch_sizes
    assert y.sorted_indices is x.sorted_indices
    assert y.unsorted_indices is x.unsorted_indices


@pytest.mark.parametrize("kind", LAYERS)
def test_zero_batch(kind: str) -> None:
    compare(*make_pair(kind, 3, 5, num_layers=2), torch.empty(4, 0, 3, requires_grad=True))


@pytest.mark.parametrize("kind", CELLS)
def test_zero_batch_of_a_cell(kind: str) -> None:
    compare(*make_pair(kind, 3, 5), torch.empty(0, 3, requires_grad=True))


@pytest.mark.parametrize("kind", CELLS)
@pytest.mark.parametrize("bias", [True, False])
def test_cells_step_by_step(kind: str, bias: bool) -> None:
    def unroll(cell: nn.Module, x: Any) -> list[Any]:
        state, found = None, []
        for step in x:
            state = cell(step, state)
            found += leaves(state)
        return found

    theirs, ours = make_pair(kind, 3, 20, bias=bias)
    compare(theirs, ours, torch.randn(6, 4, 3, requires_grad=True), call=unroll)


@pytest.mark.parametrize("batch_first", [True, False])
def test_strided_inputs(batch_first: bool) -> None:
    theirs, ours = make_pair("LSTM", 3, 5, batch_first=batch_first)
    x = torch.randn(7, 4, 6)
    for view in (
        x[::2, :, :3],
        x[:, 1::2, 3:],
        x.transpose(0, 1)[..., ::2],
        x[:1, :, :3].expand(5, 4, 3),
    ):
        compare(theirs, ours, view)
        assert torch.equal(ours(view)[0], ours(view.contiguous())[0])


@pytest.mark.parametrize("kind", LAYERS)
def test_wrong_shapes(kind: str) -> None:
    theirs, ours = make_pair(kind, 3, 5)
    state = torch.zeros(1, 2, 4)
    hx = (state, state) if kind == "LSTM" else state
    for given in (
        (torch.zeros(3),),
        (torch.zeros(4, 2, 2),),
        (torch.zeros(0, 2, 3),),
        (torch.zeros(4, 2, 3), hx),
        (torch.zeros(4, 3), hx),
    ):
        with pytest.raises((RuntimeError, ValueError)) as wanted:
            theirs(*given)
        with pytest.raises(type(wanted.value)) as found:
            ours(*given)
        words = str(wanted.value).split("\n")[0].replace(" tensor instead", " instead")
        assert str(found.value).startswith(words), words


@pytest.mark.parametrize("kind", ["LSTM", "LSTMCell"])
def test_not_two_states(kind: str) -> None:
    theirs, ours = make_pair(kind, 3, 5)
    shape = (2, 5) if kind in CELLS else (1, 2, 5)
    x, state = torch.zeros(*([4] if kind in LAYERS else []), 2, 3), torch.zeros(shape)
    for hx in ((state,), (state, state, state), *([state] if kind in CELLS else [])):
        with pytest.raises((RuntimeError, TypeError, IndexError)) as wanted:
            theirs(x, hx)
        with pytest.raises(
            (RuntimeError, TypeError), match=r"two hidden states|must be tuple"
        ) as e:
            ours(x, hx)
        assert isinstance(e.value, type(wanted.value)) or wanted.type is IndexError


@pytest.mark.parametrize("kind", LAYERS)
def test_wrong_shapes_of_packed_sequences(kind: str) -> None:
    """torch.nn.LSTM lets some of these pass unseen."""
    layer, state = getattr(fastrnn.torch, kind)(3, 5), torch.zeros(1, 2, 4)
    packed = pack_sequence([torch.zeros(2, 3)])
    with pytest.raises(
        RuntimeError, match=r"Expected hidden(\[0\])? size \(1, 1, 5\), got \[1, 2, 4"
    ):
        layer(packed, (state, state) if kind == "LSTM" else state)
    with pytest.raises(RuntimeError, match="Expected 3, got 4"):
        layer(packed._replace(data=torch.zeros(2, 4)))


def test_refuses_other_types_and_devices() -> None:
    layer = fastrnn.torch.LSTM(3, 5)
    with pytest.raises(ValueError, match="RNN input dtype"):
        layer(torch.zeros(4, 2, 3, dtype=torch.float64))
    h = torch.zeros(1, 2, 5, dtype=torch.float64)
    with pytest.raises(TypeError, match="expected tensors that are float32 on the CPU, got"):
        layer(torch.zeros(4, 2, 3), (h, h))
    double = fastrnn.torch.GRU(3, 5, dtype=torch.float64)
    with pytest.raises(
        TypeError, match=r"torch\.GRU: expected weights .* got torch.float64 on cpu; "
    ):
        double(torch.zeros(4, 2, 3, dtype=torch.float64))
    elsewhere = fastrnn.torch.RNNCell(3, 5, device="meta")
    with pytest.raises(TypeError, match=r"got torch\.float32 on meta; torch\.nn\.RNNCell runs"):
        elsewhere(torch.zeros(2, 3, device="meta"))
    layer.weight_hh_l0 = nn.Parameter(torch.zeros(20, 6))
    with pytest.raises(ValueError, match=r"weight_hh_l0: expected float32 of shape \(20, 5\), got"):
        layer(torch.zeros(4, 2, 3))


# float16: oneDNN trains no LSTM of that type on every CPU.
@pytest.mark.filterwarnings("ignore:LSTM with projections is not supported")
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("kind", [*LAYERS, *CELLS])
def test_autocast_gives_the_types_of_torch(kind: str, dtype: torch.dtype) -> None:
    x = torch.randn(5, 2, 3)[0 if kind in CELLS else slice(None)]
    h = torch.zeros((1,) * (kind in LAYERS) + (2, 5))
    state = (h, h) if "LSTM" in kind else h
    options: list[dict[str, Any]] = [{}, *[{"proj_size": 2}] * (kind == "LSTM")]
    for more in options:
        theirs, ours = make_pair(kind, 3, 5, **more)
        inputs = [(x,), (x.bfloat16(),), (x[..., :0, :],)]
        inputs += [] if more else [(x, state), (x.bfloat16(), state)]
        inputs += [] if kind in CELLS else [(pack_padded_sequence(x, [5, 3]),)]
        for given in inputs:
            with torch.autocast("cpu", dtype), torch.no_grad():
                wanted, found = (leaves(net(*given)) for net in (theirs, ours))
            for one, other in zip(found, wanted, strict=True):
                assert one.dtype == other.dtype
                assert torch.allclose(one.float(), other.float(), atol=0.02)
    with torch.autocast("cpu", dtype):
        with pytest.raises(TypeError, match=r"expected tensors that are float32 .* torch\.float64"):
            ours(x.double())
        ours(x)[0].sum().backward()
    assert all(parameter.grad is not None for parameter in ours.parameters())


@pytest.mark.parametrize("kind", CELLS)
@pytest.mark.parametrize("sizes", [(3, 0), (0, 3), (0, 0)])
def test_cells_without_units(kind: str, sizes: tuple[int, int]) -> None:
    theirs, ours = make_pair(kind, *sizes)
    x, h = torch.randn(4, sizes[0], requires_grad=True), torch.randn(4, sizes[1])
    for inputs in ((x,), (x, (h, h) if kind == "LSTMCell" else h)):
        found, wanted = run_pass(ours, *inputs), run_pass(theirs, *inputs)
        for one, other in zip(
            [*found.results, *found.owners], [*wanted.results, *wanted.owners], strict=True
        ):
            assert one.shape == other.shape
            assert torch.equal(one, other)


@pytest.fixture
def double_by_default() -> Iterator[None]:
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(before)


@pytest.mark.parametrize("kind", [*LAYERS, *CELLS])
@pytest.mark.parametrize("packed", [False, True])
def test_default_type_does_not_matter(kind: str, packed: bool, double_by_default: None) -> None:
    float32 = {"dtype": torch.float32}
    theirs, ours = make_pair(kind, 3, 5, **float32)
    x: Any = torch.randn(*(() if kind in CELLS else (4,)), 2, 3, **float32, requires_grad=True)
    if packed:
        if kind in CELLS:
            return
        x = pack_sequence([torch.randn(n, 3, **float32) for n in (4, 2)])
    for mode in (torch.enable_grad(), torch.no_grad()):
        with mode:
            compare(theirs, ours, x)
    assert all(leaf.dtype is torch.float32 for leaf in leaves(ours(x)))


def test_default_device_does_not_matter_to_dropout() -> None:
    layer, x = fastrnn.torch.GRU(3, 5, 2, dropout=0.5), torch.randn(4, 2, 3)
    torch.manual_seed(0)
    wanted = layer(x)[0]
    torch.manual_seed(0)
    with torch.device("meta"):
        assert torch.equal(layer(x)[0], wanted)


def test_refuses_other_layouts_of_memory() -> None:
    layer, x = fastrnn.torch.LSTM(3, 5), torch.randn(4, 2, 3)
    for other in (x.to_sparse(), x.to_mkldnn()):
        with pytest.raises(TypeError, match=r"expected tensors that are float32 on the CPU, got"):
            layer(other)
