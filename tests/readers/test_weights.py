# SPDX-License-Identifier: MIT
"""Stacks are found in state dicts by names and shapes, and broken ones are refused by name."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from configurations import CONFIGURATIONS, Configuration, torch_module

from fastrnn.files.stacks import FoundStack, find_stacks, scan_stacks
from fastrnn.layers.state_dicts import check_state_dict
from fastrnn.readers import FormatError
from fastrnn.readers.containers.elements import Unreadable
from fastrnn.stack_spec import LAYERS, Spec, find_cell, parameter_names

State = dict[str, np.ndarray]


def make_state(prefix: str = "", cell: str = "LSTM", **options: Any) -> State:
    """A state dict of a small stack: 2 layers, both directions, inputs 3, hidden 4."""
    sizes: dict[str, Any] = {
        "input_size": 3,
        "hidden_size": 4,
        "num_layers": 2,
        "bias": True,
        "bidirectional": True,
        "proj_size": 0,
    }
    shapes = Spec.of(cell, sizes | options).shapes()
    return {prefix + name: np.zeros(shape, np.float32) for name, shape in shapes.items()}


def problem(state: State, prefix: str = "") -> str:
    """What find_stacks has against the stack under `prefix`."""
    assert prefix not in [stack.prefix for stack in find_stacks(state)]
    found = scan_stacks(state)[prefix]
    assert isinstance(found, FormatError)
    return str(found)


# --- Names and shapes ---


def test_parameter_names_are_flat_order() -> None:
    assert parameter_names(1, True, True, 2) == [
        f"{kind}_l0{way}"
        for way in ("", "_reverse")
        for kind in ("weight_ih", "weight_hh", "bias_ih", "bias_hh", "weight_hr")
    ]
    assert parameter_names(2, False, False, 0) == [
        "weight_ih_l0",
        "weight_hh_l0",
        "weight_ih_l1",
        "weight_hh_l1",
    ]


@pytest.mark.parametrize("configuration", CONFIGURATIONS[::7], ids=str)
def test_shapes_equal_torch(configuration: Configuration) -> None:
    pytest.importorskip("torch")
    module = torch_module(configuration)
    wanted = {name: tuple(tensor.shape) for name, tensor in module.state_dict().items()}
    assert list(configuration.shapes().items()) == list(wanted.items())


# --- Finding ---


@pytest.mark.parametrize("configuration", CONFIGURATIONS, ids=str)
def test_stack_is_inferred(configuration: Configuration) -> None:
    data = configuration.data()
    prefixed = {f"model.rnn.{name}": array for name, array in data.weights.items()}
    (stack,) = find_stacks({"fc.weight": np.zeros((2, 2)), **prefixed})
    cell = find_cell(configuration.cell, {})  # the weights do not tell its options
    spec = configuration.spec._replace(cell=cell.name)
    assert stack == FoundStack("model.rnn.", spec, is_cell=False, tensors={})
    # A coupled LSTM has three gates, too: an option has to ask for it.
    coupled = ["LSTM"] if configuration.cell == "GRU" else []
    assert stack.layers == [configuration.cell, *coupled]
    taken = stack.weights()
    assert list(taken) == list(data.weights)
    assert all(taken[name] is prefixed[f"model.rnn.{name}"] for name in taken)


@pytest.mark.parametrize("cell", LAYERS)
@pytest.mark.parametrize("bias", [False, True])
def test_cell_names(cell: str, bias: bool) -> None:
    state = make_state("c.", cell, num_layers=1, bidirectional=False, bias=bias)
    state = {name.removesuffix("_l0"): array for name, array in state.items()}
    (stack,) = find_stacks(state)
    found = (stack.prefix, stack.layers[0], stack.is_cell, stack.spec.bias)
    assert found == ("c.", cell, True, bias)
    assert list(stack.weights()) == parameter_names(1, False, bias, 0)


def test_stacks_in_file_order() -> None:
    state = {**make_state("z."), **make_state("a.b.", "GRU"), **make_state("a.", "RNN")}
    found = scan_stacks(state)
    assert list(found) == ["z.", "a.b.", "a."]
    assert [(s.prefix, s.layers[0]) for s in find_stacks(state)] == [
        ("z.", "LSTM"),
        ("a.b.", "GRU"),
    ]
    assert "'a.b.weight_ih_l0'" in str(found["a."])  # a stack within a stack
    assert find_stacks({}) == find_stacks({"fc.weight": np.zeros((2, 2))}) == []


def test_options_build_the_layer() -> None:
    (stack,) = find_stacks(make_state(proj_size=2))
    assert stack.options("LSTM") == {
        "input_size": 3,
        "hidden_size": 4,
        "num_layers": 2,
        "bias": True,
        "bidirectional": True,
        "proj_size": 2,
        "coupled": False,  # as it has four gates
    }
    (gru,) = find_stacks(make_state(cell="GRU"))
    assert "proj_size" not in gru.options("GRU")
    assert str(stack) == "LSTM, input 3, hidden 4, 2 layers, projection 2, bidirectional"


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_float_types_are_found(dtype: type) -> None:
    state = {name: array.astype(dtype) for name, array in make_state().items()}
    assert len(find_stacks(state)) == 1


def test_tensors_elsewhere_do_not_matter() -> None:
    others = ["fc.weight", "rnn2.norm.weight", "rn", "weight_ih_l0x.w", "w", "rnn.words"]
    state = {**make_state("rnn."), **{name: np.zeros(3, np.int64) for name in others}}
    state["rnn.words"] = np.array(["a", "b"])  # text is no tensor
    assert [stack.prefix for stack in find_stacks(state)] == ["rnn."]


@pytest.mark.parametrize("prefix", ["", "a.rnn."])
@pytest.mark.parametrize(
    "name",
    ["layernorm_i.weight", "norms.0.cell.bias", "peephole_i", "weight_ch_l0", "weight_ih_l01",
     "bias_ih_l0_rev", "scale", "h_0", "attention.weight_ih_l0", "parametrizations.w.original0"],
)  # fmt: skip
def test_any_tensor_below_a_stack_is_refused_by_name(prefix: str, name: str) -> None:
    for other in (np.zeros((16, 3), np.float32), np.array(3)):
        state = {**make_state(prefix), prefix + name: other}
        assert f"unexpected tensors below {prefix[:-1]!r}" in problem(state, prefix)
        assert repr(prefix + name) in problem(state, prefix)
    found = scan_stacks(make_state(prefix), {prefix + name: Unreadable("float8")})[prefix]
    assert repr(prefix + name) in str(found)
    object_array = {prefix + name: Unreadable("a pickle", is_tensor=False)}
    assert isinstance(scan_stacks(make_state(prefix), object_array)[prefix], FoundStack)


# --- Broken stacks ---


@pytest.mark.parametrize("options", [{}, {"proj_size": 2}, {"bias": False}, {"cell": "GRU"}])
def test_each_missing_tensor_is_named(options: dict[str, Any]) -> None:
    whole = make_state("rnn.", **options)
    for name in whole:
        state = {other: array for other, array in whole.items() if other != name}
        text = problem(state, "rnn.")
        assert repr(name) in text
        assert "missing" in text


@pytest.mark.parametrize("options", [{}, {"proj_size": 2}, {"bias": False}, {"cell": "GRU"}])
@pytest.mark.parametrize("axis", [0, 1])
def test_misshapen_tensors_are_named(options: dict[str, Any], axis: int) -> None:
    whole = make_state("rnn.", **options)
    for name, array in whole.items():
        if axis >= array.ndim or (name, axis) == ("rnn.weight_ih_l0", 1):
            continue  # the first layer's columns are the input size, whatever they are
        shape = list(array.shape)
        shape[axis] += 1
        text = problem({**whole, name: np.zeros(shape, np.float32)}, "rnn.")
        assert "has shape" in text
        assert "expected" in text
        # where the sizes are read from, the error may name what does not go with them
        if not name.endswith(("hh_l0", "hr_l0", "ih_l0")):
            assert repr(name) in text
            assert str(tuple(shape)) in text


def test_first_layer_misshapen() -> None:
    state = make_state("r.")
    state["r.weight_hh_l0"] = np.zeros((16, 5), np.float32)
    text = problem(state, "r.")
    assert "'r.weight_hh_l0' has shape (16, 5)" in text
    assert "times the 5 columns" in text


def test_layer_gap() -> None:
    state = make_state("rnn.", num_layers=3)
    state = {name: array for name, array in state.items() if "_l1" not in name}
    assert "'rnn.weight_ih_l1'" in problem(state, "rnn.")
    high = {name.replace("_l2", "_l999999"): array for name, array in state.items()}
    assert "'rnn.weight_ih_l1'" in problem(high, "rnn.")


def test_more_layers_than_a_stack_can_have(monkeypatch) -> None:
    monkeypatch.setattr("fastrnn.files.stacks.MOST_LAYERS", 2)
    assert problem(make_state(num_layers=3)) == "expected at most 2 layers, got 3"


def test_huge_layer_number_is_extra() -> None:
    name = "weight_ih_l" + "9" * 5000
    text = problem({**make_state(), name: np.zeros((16, 3), np.float32)})
    assert "unexpected" in text
    assert len(text) < 1000


def test_cell_and_layer_names_are_ambiguous() -> None:
    state = {**make_state("r."), "r.weight_ih": np.zeros((16, 3), np.float32)}
    text = problem(state, "r.")
    assert "ambiguous" in text
    assert "'weight_ih'" in text


def test_projection_needs_an_lstm() -> None:
    state = make_state("r.", "RNN", num_layers=1, bidirectional=False)
    state["r.weight_hr_l0"] = np.zeros((2, 4), np.float32)
    text = problem(state, "r.")
    assert "only an LSTM has a projection" in text
    assert "'r.weight_hr_l0'" in text
    lstm = make_state("r.", num_layers=1, bidirectional=False, proj_size=4)
    assert "fewer rows" in problem(lstm, "r.")


@pytest.mark.parametrize(
    ("name", "array", "expected"),
    [
        ("weight_ih_l0", np.zeros((16, 3, 1), np.float32), "2 dimensions"),
        ("weight_hh_l0", np.zeros(16, np.float32), "2 dimensions"),
        ("bias_ih_l0", np.zeros((16, 1), np.float32), "1 dimension"),
        ("bias_ih_l0", np.float32(0).reshape(()), "1 dimension"),
        ("weight_hh_l0", np.zeros((0, 0), np.float32), "none of size 0"),
        ("weight_ih_l0", np.zeros((16, 0), np.float32), "none of size 0"),
        ("weight_ih_l0", np.zeros((16, 3), np.int64), "float32"),
        ("weight_ih_l0", np.zeros((16, 3), np.complex64), "float32"),
        ("weight_ih_l0", np.zeros((16, 3), bool), "float32"),
        ("weight_ih_l0", np.zeros((16, 3), np.longdouble), "float32"),
    ],
)
def test_tensor_kind_is_refused(name: str, array: np.ndarray, expected: str) -> None:
    text = problem({**make_state("r."), "r." + name: array}, "r.")
    assert repr("r." + name) in text
    assert expected in text


def test_broken_stack_beside_a_sound_one() -> None:
    broken = make_state("a.")
    del broken["a.bias_ih_l1"]
    state = {**broken, **make_state("b.")}
    assert [stack.prefix for stack in find_stacks(state)] == ["b."]
    assert isinstance(scan_stacks(state)["a."], FormatError)


# --- check_state_dict ---


def test_checked_state_dict_is_taken() -> None:
    shapes = Spec("lstm", 3, 4, 2, True, True).shapes()
    state = {**make_state("rnn."), "fc.weight": np.zeros(1)}
    for prefix in ("rnn", "rnn."):
        taken = check_state_dict(state, prefix, shapes)
        assert list(taken) == list(shapes)
        assert all(taken[name] is state["rnn." + name] for name in shapes)


def test_checked_state_dict_names_everything() -> None:
    shapes = Spec("lstm", 3, 4, 2, True, True).shapes()
    state = {**make_state("rnn."), "rnn.norm.weight": np.zeros(1), "rnn.weight_x": np.zeros(1)}
    del state["rnn.weight_ih_l0"], state["rnn.bias_hh_l1_reverse"]
    state["rnn.weight_hh_l1"] = np.zeros((16, 5))
    with pytest.raises(ValueError, match="missing") as caught:
        check_state_dict(state, "rnn", shapes)
    for part in (
        "'rnn.weight_ih_l0'",
        "'rnn.bias_hh_l1_reverse'",
        "'rnn.norm.weight'",
        "'rnn.weight_x'",
        "'rnn.weight_hh_l1' has shape (16, 5), expected (16, 4)",
    ):
        assert part in str(caught.value)


def test_checked_state_dict_without_prefix() -> None:
    with pytest.raises(ValueError, match="'weight_ih_l0'") as caught:
        check_state_dict(make_state("rnn."), "", Spec("rnn_tanh", 3, 4).shapes())
    assert "'rnn.weight_ih_l0'" in str(caught.value)
    with pytest.raises(ValueError, match="missing"):
        check_state_dict({}, "", {"weight_ih_l0": (1, 1)})


@pytest.mark.parametrize("dtype", [np.int64, np.complex128, bool, object])
def test_checked_state_dict_wants_floats(dtype: type) -> None:
    state = {name: array.astype(dtype) for name, array in make_state().items()}
    with pytest.raises(TypeError, match="'weight_ih_l0' has dtype"):
        check_state_dict(state, "", Spec("lstm", 3, 4, 2, True, True).shapes())


def test_checked_state_dict_wants_a_mapping() -> None:
    shapes = Spec("rnn_tanh", 3, 4).shapes()
    cases: list[tuple[object, object, str]] = [
        (list(make_state()), "", "arrays: expected a mapping of names, got list"),
        (None, "", "arrays: expected a mapping of names, got NoneType"),
        ({0: np.zeros(1)}, "", "arrays: expected names that are str, got 0"),
        (make_state(), None, "prefix: expected str, got NoneType"),
        (make_state(), b"rnn", "prefix: expected str, got bytes"),
    ]
    for arrays, prefix, text in cases:
        with pytest.raises(TypeError, match=f"^{text}$"):
            check_state_dict(arrays, prefix, shapes)  # type: ignore[arg-type]


def test_checked_state_dict_names_what_numpy_cannot_take() -> None:
    ragged = {"r.weight_ih_l0": [[1.0], [1.0, 2.0]]}
    with pytest.raises(TypeError, match=r"'r\.weight_ih_l0': expected an array, got list"):
        check_state_dict(ragged, "r", {"weight_ih_l0": (2, 1)})
    torch = pytest.importorskip("torch")
    for tensor in (torch.zeros(2, 1, dtype=torch.bfloat16), torch.zeros(2, 1, requires_grad=True)):
        state = {"weight_ih_l0": tensor}
        with pytest.raises(TypeError, match=r"'weight_ih_l0': .*\.detach\(\)\.float\(\)"):
            check_state_dict(state, "", {"weight_ih_l0": (2, 1)})
