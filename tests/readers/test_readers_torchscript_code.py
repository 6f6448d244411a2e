# SPDX-License-Identifier: MIT
"""Calls and methods of TorchScript code: read as torch runs them, or refused with the reason."""

from __future__ import annotations

import re

import numpy as np
import pytest
from description_runner import run
from limits import IMPORTED, error
from reader_files import Entry, dict_, global_, pickle, storage, tensor, zip_file

from fastrnn.readers import FormatError, UnsupportedModel, describe_file

VALUES = np.array([1, -2, 3, 4], "<f4")
STORAGES = {"0": VALUES, "1": np.array([1, 0, 2, 3], "<i8"), "2": VALUES.astype("<f2")}
# The attributes of the module by name. The code has a variable of the same name for each.
TENSORS = {
    "w": tensor([2, 2]),
    "v": tensor([2], source=storage(4)),
    "i": tensor([2], source=storage(4, "1", "LongStorage")),
    "h": tensor([2, 2], source=storage(4, "2", "HalfStorage")),
}


def described(folder, text: str):
    """The description of a module whose forward method has these lines and returns the last."""
    *lines, last = text.split("; ")
    used = {name: raw for name, raw in TENSORS.items() if re.search(rf"\b{name}\b", text)}
    lines = [*(f"{name} = self.{name}" for name in used), *lines, f"return {last}"]
    code = "class Net(Module):\n  def forward(self, x: Tensor) -> Tensor:\n"
    return read(folder, code + "".join(f"    {line}\n" for line in lines), used)


def read(folder, code: str, state: dict[str, bytes]):
    """The description of a module of a class Net in this code."""
    members = {f"data/{key}": array.tobytes() for key, array in STORAGES.items()} | {
        "data.pkl": pickle(global_("__torch__", "Net") + b")\x81" + dict_(state) + b"b"),
        "constants.pkl": pickle(b")"),
        "code/__torch__.py": code.encode(),
        "version": b"3\n",
    }
    path = folder / "m.pt"
    path.write_bytes(zip_file([Entry(f"m/{name}", raw) for name, raw in members.items()]))
    return describe_file(path)


class Aten:
    """The operators as the code calls them."""

    def __getattr__(self, name: str):
        return getattr(pytest.importorskip("torch").ops.aten, name)


def returned(text: str, x: np.ndarray) -> np.ndarray:
    """What torch computes by the same lines."""
    torch = pytest.importorskip("torch")
    w = torch.tensor(VALUES).reshape(2, 2)
    names = {"torch": Aten(), "x": torch.tensor(x), "w": w, "v": w[0]}
    *lines, last = text.split("; ")
    for line in lines:
        exec(line, names)
    return eval(last, names).numpy()


LINEAR = "y = torch.linear(x, w)"
CENTRED = f"{LINEAR}; m = torch.sub(y, torch.mean(y, [-1], True))"
VARIANCE = "torch.add(torch.mean(torch.pow(m, 2), [-1], True), 1e-5)"
WEIGHTS = "a = torch.softmax(torch.linear(x, torch.slice(w, 0, 0, 1)), 1)"
CHANNELS = "y = torch.transpose(x, 1, 2); k = torch.unsqueeze(w, 2)"
ZEROS = "h = torch.{}[1, torch.size(x, 1), 2])"
BOTH = f"{ZEROS.format('zeros(')}".replace("[1,", "[2,") + (
    "; y = torch.rnn_tanh(x, h, [w, w, w, w], False, 1, 0., False, True, False)"
)
LARGE = "e = torch.expand(torch.unsqueeze(v, 0), [100000, 2])"
CALL = "y = torch.rnn_tanh(x, {}, [w, w], False, 1, 0., False, False, False)"

READ = [
    # functions of each value, and numbers
    "torch.elu(x, 2)",
    "torch.elu(x, 1., 2., 1.)",
    "torch.log(torch.sigmoid(x))",
    "torch.clamp_min(x, 0.)",
    "torch.clamp(x, None, 2.)",
    "torch.mul(2., torch.add(x, 1.))",
    "torch.add(torch.mul(x, 2.), 1.)",
    "torch.add(torch.add(x, 1.), 0.)",
    "torch.div(x, torch.add(torch.abs(torch.mul(x, 3.)), 2.))",
    "torch.mul(x, torch.add(1., torch.erf(torch.div(x, 1.4142135))))",
    "torch.mul(x, torch.div(torch.add(1., torch.erf(torch.div(x, 1.4142135))), 2.))",
    # a value and what layers make of it
    "torch.sub(torch.linear(x, w), x)",
    "torch.sub(x, torch.linear(x, w))",
    "torch.rsub(x, torch.linear(x, w))",
    "torch.add(x, torch.linear(x, w), alpha=2.)",
    # products, and biases behind them
    "torch.mm(torch.select(x, 1, -1), w)",
    "torch.addmm(v, torch.select(x, 1, -1), w, beta=2., alpha=3.)",
    "torch.matmul(x, v)",
    f"{LINEAR}; torch.mul(torch.mul(y, v), v)",
    f"{LINEAR}; torch.add(torch.mul(y, v), v)",
    f"{LINEAR}; torch.sub(v, y)",
    f"{LINEAR}; torch.rsub(y, v)",
    f"{LINEAR}; torch.div(y, v)",
    "torch.linear(x, torch.mul(w, v))",
    "torch.linear(x, torch.full([2, 2], 0.))",
    "torch.linear(x, torch.split(w, [2, 0])[0])",
    'torch.einsum("bti,io->obt", [x, w])',
    'torch.einsum("bti,i->bt", [x, v])',
    # channels
    f"{CHANNELS}; torch.conv1d(y, k, v, [2], [1])",
    f"{CHANNELS}; torch.add(torch.conv1d(y, k), torch.unsqueeze(v, 1))",
    f"{CHANNELS}; torch.batch_norm(y, None, None, v, torch.mul(v, v), False, 0.1, 1e-5, True)",
    f"{CHANNELS}; torch.prelu(y, v)",
    f'{CHANNELS}; torch.conv1d(y, k, None, [1], "same")',
    # normalizations
    "torch.mul(torch.layer_norm(x, [2]), v)",
    "torch.add(torch.layer_norm(x, [2]), v)",
    f"{CENTRED}; torch.div(m, torch.sqrt({VARIANCE}))",
    f"{CENTRED}; torch.div(m, torch.pow({VARIANCE}, 0.5))",
    f"{CENTRED}; torch.mul(m, torch.reciprocal(torch.sqrt({VARIANCE})))",
    # parts, order and groups of axes
    "a, b, c = torch.unbind(x); c",
    "torch.split(x, [2, 1], 0)[1]",
    "torch.split(torch.linear(x, w), 2, 2)[0]",
    "torch.flip(torch.softmax(x, -1), [1])",
    "torch.cat([torch.relu(x)], 1)",
    "torch.stack([torch.relu(x)], 1)",
    "torch.amax(x, [1], True)",
    "torch.max(x, 1)[0]",
    "torch.mean(x, [1], False, dtype=6)",
    "torch.adaptive_avg_pool1d(x, [1])",
    "torch.permute(torch.relu(x), [2, 0, 1])",
    "torch.flatten(torch.relu(x))",
    f"{LINEAR}; torch.view(y, [torch.size(y, 0), -1])",
    f"{LINEAR}; torch.unflatten(y, 2, [1, 2])",
    "torch.linear(x, torch.unflatten(torch.flatten(w), 0, [2, 2]))",
    "torch.mean(torch.unsqueeze(torch.relu(x), 1), [1])",
    "torch.expand(torch.relu(x), [-1, -1, -1])",
    # attention
    f"{WEIGHTS}; torch.sum(torch.mul(x, a), [1], True)",
    f"{WEIGHTS}; torch.bmm(torch.transpose(a, 1, 2), x)",
    f"{WEIGHTS}; torch.bmm(torch.transpose(x, 1, 2), a)",
    # initial states
    f"{ZEROS.format('zeros(')}; {CALL.format('h')}; y[0]",
    f"{ZEROS.format('new_zeros(x, ')}; {CALL.format('h')}; torch.softmax(y[0], 1)",
    f"{BOTH}; torch.relu(y[1])",
    f"{ZEROS.format('zeros(')}; {CALL.format('h')}; "
    "torch.mean(torch.transpose(y[0], 0, 2), [-1], True)",
    "h = torch.zeros([4, torch.size(x, 1), 2]); k = torch.cat([w, w], 1); y = torch.rnn_tanh("
    "x, h, [w, w, w, w, k, w, k, w], False, 2, 0., False, True, False); torch.slice(y[0], 2, 0, 2)",
]


@pytest.mark.parametrize("text", READ)
def test_values(tmp_path, text):
    x = np.random.default_rng(1).standard_normal((3, 4, 2)).astype(np.float32)
    assert error(run(described(tmp_path, text), x), returned(text, x)) <= IMPORTED


NONE = CALL.format("None")
REFUSED = [
    # arguments
    ("torch.softmax(x, -1, 99)", "the type in which it computes is not a constant"),
    ("torch.softmax(x, -1, 5)", "it computes in float16, expected float32"),
    ("torch.gelu(x, approximate=x)", "its approximate is not a constant of the graph"),
    ("torch.elu(x, x)", "its alpha is not a constant of the graph"),
    ("torch.view(x, [w, 1])", "its size is not a list of whole numbers"),
    (f"torch.view(x, {[1] * 65})", "its size has 65 items, at most 64"),
    ("torch.flip(x, [torch.size(x, 0)])", "its dims is not a constant"),
    ("torch.slice(x, 0, [0, 1])", "its start is not one number"),
    ("torch.avg_pool1d(x, [2], [1], [0], False, True, 3)", "its argument 'divisor_override'"),
    ("torch.dropout(x, x, False)", "something else than a constant number"),
    ("torch.to(x, 99)", "it casts to a type that is not supported"),
    ("torch.to(x, 5)", "it rounds to float16"),
    # functions of each value, and numbers
    ("torch.elu(x, 1., 2., 3.)", "it scales its exponent"),
    ("torch.celu(x, 0.)", "its alpha is 0"),
    ("torch.log(x)", "there is no layer for this operator"),
    ("torch.dropout(x, 1.5, False)", "its ratio is 1.5, expected 0 to 1"),
    ("torch.mul(x, torch.sigmoid(torch.mul(x, 0.)))", "it joins two branches"),
    ("torch.rsub(x, torch.linear(x, w), 2.)", "it scales its second term"),
    ("torch.div(x, torch.linear(x, w))", "it joins two branches"),
    ('torch.add(torch.relu(x), "a")', "it joins two branches"),
    (f"{LINEAR}; torch.div(v, y)", "there is no layer for this operator"),
    ("torch.add(x, torch.unsqueeze(torch.unsqueeze(w, 0), 0))", "more axes than its input"),
    ("torch.erf(torch.erf(x))", "not a function that fastrnn has"),
    ("torch.abs(torch.abs(x))", "not a function that fastrnn has"),
    ("torch.tanh(torch.erf(x))", "not a function that fastrnn has"),
    ("torch.add(torch.erf(x), 2.)", "not a function that fastrnn has"),
    ("torch.div(torch.erf(x), 0.)", "not a function that fastrnn has"),
    ("torch.div(torch.add(torch.abs(x), 1.), x)", "not a function that fastrnn has"),
    ("torch.sub(x, torch.pow(x, 3))", "not a function that fastrnn has"),
    ("torch.add(torch.mul(x, 0.), torch.pow(x, 3))", "not a function that fastrnn has"),
    ("torch.mul(torch.erf(x), torch.erf(x))", "not a function that fastrnn has"),
    ("torch.pow(x, 4)", "there is no layer for this operator"),
    # products and constants
    ("torch.bmm(x, w)", "there is no layer for this operator"),
    ("torch.matmul(torch.select(x, 1, 0), x)", "it joins two branches"),
    ("torch.linear(x, torch.add(w, i))", "its constants are of different types"),
    ("torch.linear(x, torch.div(w, w))", "computes with constants in a way"),
    ("torch.linear(x, torch.cat([w, i]))", "its constants do not fit together"),
    ("torch.linear(x, torch.select(w, 0, 5))", "its constants do not fit together"),
    ("torch.linear(x, torch.expand(w, [3, 2]))", "repeats a constant in a shape that does not fit"),
    ("torch.linear(x, torch.full([2, 2], 1.))", "a constant other than zero"),
    ("torch.linear(x, torch.split(w, [3, -1])[0])", r"it splits 2 into \[3, -1\]"),
    ('torch.einsum("bti,oi", [x, w])', "its equation is not two terms"),
    ('torch.einsum("bbi,oi->bo", [x, w])', "its equation is not two terms"),
    ("torch.einsum(x, [x, w])", "its equation is not two terms"),
    ('torch.einsum("bti,ti->b", [x, w])', "there is no layer for this operator"),
    # channels
    ("torch.conv1d(x, w)", "it works over 0 axes"),
    (f"{CHANNELS}; torch.conv1d(y, k, None, [0])", r"its stride is \[0\], expected 1 numbers"),
    (f"{CHANNELS}; torch.conv1d(y, k, None, [1], [-1])", r"its padding is \[-1, -1\]"),
    (f"{CHANNELS}; torch.conv1d(y, k, None, [1], [0], [1], 3)", "3 groups do not divide 2"),
    (f"{CHANNELS}; torch.convolution(y, k, None, [1], [0], [1], True, [0], 1)", "transposed"),
    ("torch.max_pool1d(x, [2, 2, 2])", "it works over 3 axes"),
    ("torch.batch_norm(x, v, v, v, v, True, 0.1, 1e-5, True)", "it is in training mode"),
    ("torch.batch_norm(x, v, None, v, v, False, 0.1, 1e-5, True)", "not the other of weight and"),
    ("torch.prelu(x, w)", r"its slopes have shape \(2, 2\)"),
    # normalizations
    ("torch.layer_norm(x, [2], x)", "its weight is computed by the model"),
    ("torch.layer_norm(x, [2], w)", r"its weight has shape \(2, 2\), expected \(2,\)"),
    ("torch.layer_norm(x, [2], i)", "its weight does not hold floats"),
    ("torch.layer_norm(x, [4, 2])", "it normalises over several axes"),
    ("torch.layer_norm(x, [2], None, v)", "it has a bias but no weight"),
    ("torch.layer_norm(x, [torch.size(x, 2)])", "an axis of unknown size"),
    ("torch.sub(torch.relu(x), torch.mean(x, [-1], True))", "not a layer normalization"),
    ("torch.sub(x, torch.mean(x, [-1], True))", "not a layer normalization"),
    ("torch.mean(torch.mean(x, [-1], True), [-1], True)", "not a layer normalization"),
    (f"{CENTRED}; torch.div(m, torch.sqrt(torch.mean(m, [-1], True)))", "not a layer normal"),
    # parts, order and groups of axes
    ("torch.embedding(w, torch.embedding(w, x))", "its indices are not the model's input"),
    ("torch.squeeze(x)", "whether it drops an axis depends on the size of the input"),
    ("torch.flatten(x, 2, 1)", "it flattens nothing"),
    ("torch.view(x, [-1, -1])", "its shape does not follow"),
    ("torch.view(x, [-2, 4])", "a size of its shape is negative"),
    ("torch.view(x, [3, 8])", "it splits or mixes axes"),
    ("torch.expand(x, [2, 3, 4, 2])", "it repeats data"),
    ("torch.stack(torch.unbind(torch.relu(x), 2))", "takes apart an axis whose size is not known"),
    ("torch.chunk(x, 2, -1)[0]", "it splits an axis of unknown size"),
    ("torch.split(torch.linear(x, w), 5, 2)[0]", "it splits 2 into parts of 5"),
    ("torch.flip(x, [0, 1])", "it turns several axes at once"),
    ("torch.cat(x, 1)", "its inputs are not a list of tensors"),
    ("torch.mean(x)", "it works on several axes at once"),
    ("torch.adaptive_avg_pool1d(x, [2])", "it pools to several values"),
    ("torch.adaptive_avg_pool1d(torch.unsqueeze(x, 0), [1])", "it works on several axes at once"),
    (f"{LINEAR}; torch.select(y, 2, 5)", "it takes part 5 of an axis of size 2"),
    ("torch.slice(torch.relu(x), 0, 0, 9, 0)", "its step is 0"),
    # sums of steps with weights, and of a value and what layers make of it
    (f"{WEIGHTS}; torch.sum(torch.mul(x, a), [2])", "it sums over another axis"),
    (f"{WEIGHTS}; torch.sum(torch.mul(torch.relu(x), a), [1])", "it joins two branches"),
    ("torch.add(x, torch.linear(x, torch.cat([w, w])))", "it adds values of different sizes"),
    ("torch.add(torch.embedding(w, x), x)", "it adds values of 3 and 4 axes"),
    # recurrent layers and their states
    ("torch.rnn_tanh(x, None, [], False, 1, 0., False, False, False)", "not a list of parameters"),
    (f"{CALL.format('w')}; y[0]", r"its initial_h has shape \[2, 2\]"),
    (f"{CALL.format('torch.unsqueeze(w, 0)')}; y[0]", "differs within the batch"),
    (f"{NONE}; torch.select(y[1], 0, 2)", "part 2 of something else than layers' states"),
    (f"{NONE}; torch.cat([y[1], y[1]], 1)", "joins final states in a way that is not supported"),
    (f"{NONE}; torch.select(torch.select(y[0], 0, -1), 0, 0)", "not known to be time"),
    (f"{NONE}; torch.flip(y[0], [2])", "not known to be time"),
    (f"{NONE}; torch.slice(y[1], 2, 1, 1)", "it takes a part of an axis"),
    (f"{NONE}; a = torch.softmax(torch.mul(y[0], 2.), 1); torch.sum(torch.mul(y[0], a), [1])",
     "it joins two branches|not known to be time"),
    (f"{NONE}; a = torch.softmax(torch.linear(y[0], torch.slice(w, 0, 0, 1)), 1); "
     "torch.sum(torch.mul(y[0], a), [1])", "not known to be time"),
    (f"{NONE}; k = torch.slice(w, 0, 0, 1); z = torch.rnn_tanh(x, None, [k, torch.slice(k, 1, 0, "
     "1)], False, 1, 0., False, False, False); torch.cat([y[1], z[1]], 2)", "different sizes"),
    (f"{BOTH}; torch.add(y[1], y[1])", "it joins two branches"),
    (f"{BOTH}; torch.cat([torch.slice(y[0], 2, 0, 2), torch.transpose(torch.slice(y[0], 2, 2, "
     "4), 0, 1)], 2)", "joins directions whose axes differ"),
    ("torch.rnn_tanh(torch.unsqueeze(torch.select(x, 0, -1), 0), None, [w, w], False, 1, 0., "
     "False, False, False)", "its input has no time axis"),
    ("torch.rnn_tanh(x, torch.sin(x), [w, w], False, 1, 0., False, False, False)", r"\(sin\)"),
    # large constants, which are repeated ones
    (f"{LINEAR}; {LARGE}; torch.add(y, torch.select(e, 0, 3))", "a value for each feature"),
    (f"{LINEAR}; {LARGE}; torch.add(y, torch.select(torch.unsqueeze(e, 1), 0, 3))", "each feature"),
    (f"{LINEAR}; {LARGE}; torch.add(y, torch.squeeze(torch.unsqueeze(e, 0), 0))", "each feature"),
    (f"{LINEAR}; {LARGE}; torch.add(y, torch.view(e, [2, 100000]))", "reshapes a repeated"),
    (f"{LARGE}; torch.linear(x, torch.cat([e, e]))", "it joins repeated constants"),
    ("e = torch.zeros([100000, 2]); torch.linear(x, torch.cat([e, e]))", "its weight has shape"),
    (f"{LINEAR}; torch.add(y, torch.view(torch.zeros([100000, 2]), [2, 100000]))", "each feature"),
    # further ones
    ("y = torch.relu(x); z = torch.relu_(y); y", "another operator has changed in place"),
    ("torch.batch_norm(torch.unsqueeze(torch.unsqueeze(x, 0), 0), v, v, v, v, False, 0.1, 1e-5, "
     "True)", "its input has 5 axes"),
    ("torch.relu(torch.slice(x, 0, 1, 2))", "it takes a part of an axis"),
    (f"{CENTRED}; torch.mul(m, torch.sqrt({VARIANCE}))", "not a layer normalization"),
    (f"{CENTRED}; torch.sqrt({VARIANCE.replace('1e-5', '-1.')})", "not a layer normalization"),
    ("torch.view(x, [torch.floor_divide(torch.size(x, 0), torch.size(x, 1)), -1])",
     "its shape does not follow"),
    ("torch.add(torch.mul(x, 2.), torch.mul(x, 3.))", "it joins two branches"),
    ("y = torch.relu(x); " + "y = torch.add(x, y); " * 80 + "y", "layers of it hold each other"),
]  # fmt: skip


@pytest.mark.parametrize(("text", "why"), REFUSED)
def test_refused(tmp_path, text, why):
    with pytest.raises(UnsupportedModel, match=why):
        described(tmp_path, text)


# --- Whole methods ---


def forward(text: str) -> str:
    """A forward method of these lines."""
    lines = "".join(f"    {line}\n" for line in text.split("; "))
    return "  def forward(self, x: Tensor) -> Tensor:\n" + lines


CONDITION = forward("if {}:;   y = torch.relu(x); else:;   y = torch.tanh(x); return y")
METHODS = {
    "arguments by name": (
        forward("return (self).f(x=x)")
        + "  def f(self, x: Tensor, by: float=2.) -> Tensor:\n    return torch.mul(x, by)\n",
        "Scale",
    ),
    "a default": (
        "  def forward(self, x: Tensor, by: float=2.) -> Tensor:\n    return torch.mul(x, by)\n",
        "Scale",
    ),
    "an early return": (
        forward("if torch.eq(torch.dim(x), 3):;   return torch.relu(x); return x"),
        "ReLU",
    ),
    "several inputs": (
        "  def forward(self, x: Tuple[Tensor, Tensor]) -> Tensor:\n    return torch.relu(x[1])\n",
        "ReLU",
    ),
    "numbers": (CONDITION.format("torch.gt(3, torch.add(1, 1))"), "ReLU"),
    "a number in a list": (CONDITION.format("torch.__contains__([2, 3], torch.dim(x))"), "ReLU"),
    "nothing": (CONDITION.format("torch.__is__(None, 3)"), "Tanh"),
    "not nothing": (CONDITION.format("torch.__not__(torch.__isnot__(None, None))"), "ReLU"),
    "a type of a variable": (forward("y : Tensor = torch.relu(x); return y,"), "ReLU"),
    "the end of a list": (forward("y = [torch.relu(x), torch.tanh(x)]; return y[-1]"), "Tanh"),
    "a device": (forward("return torch.to(torch.relu(x), ops.prim.device(x), 6)"), "ReLU"),
    "a function": (
        forward("return __torch__.f(x)") + "def f(x: Tensor):\n  return torch.relu(x)\n",
        "ReLU",
    ),
    "the first result": (
        forward("a, b = torch.native_dropout(x, 0.5, False); return a"),
        "Dropout",
    ),
    "one branch raises": (
        forward("if x:;   y = torch.relu(x); else:;   ops.prim.RaiseException(x); return y"),
        "ReLU",
    ),
    "a list that is no layer's": (
        forward("self_r__flat_weights = [x, None]; return torch.relu(x)"),
        "ReLU",
    ),
    "an attribute that is not there": (forward("return torch.relu(self.q)"), "is no tensor"),
    "a long line": (forward(f"return x{' ' * (1 << 20)}, x"), "a line of 10"),
    "values alone": (CONDITION.format("torch.gt(x, 1)"), "depends on values"),
    "large numbers": (CONDITION.format("torch.gt(2000000000000, 1)"), "depends on values"),
    "a tensor in a list": (CONDITION.format("torch.__contains__(x, 3)"), "depends on values"),
    "two tensors": (CONDITION.format("torch.__is__(x, x)"), "depends on values"),
    "another input": (
        "  def forward(self, x: Dict[str, Tensor]) -> Tensor:\n    return x\n",
        r"'x' \(Dict\[str, Tensor\]\): an input of this type",
    ),
    "no forward": ("  def f(self, x: Tensor) -> Tensor:\n    return x\n", "no forward method of"),
    "a method of nobody": (forward("return self.f(x)"), "its code is not there"),
    "a call of a tensor": (forward("return (torch.relu(x))(x)"), r"\(call\): there is no layer"),
    "an attribute of a tensor": (forward("return torch.relu((x).data)"), "is no tensor"),
    "a state": (forward("self.a = x; return x"), "keeps a state in an attribute"),
    "a loop": (forward("while True:;   x = x; return x"), "a loop"),
    "a longer list": (forward("y = [x]; z = torch.append(y, x); return x"), "changes a list"),
    "too many values": (forward("a, b = [x, x, x]; return a"), "unpacks 3 values as 2"),
    "the second result": (
        forward("a, b = torch.native_dropout(x, 0.5, False); return torch.relu(b)"),
        "its input is no tensor",
    ),
    "an exception": (forward('ops.prim.RaiseException(""); return x'), "refuses such an input"),
    "nested lists": (forward(f"return torch.relu({'[' * 45}x{']' * 45})"), "more than 40 deep"),
    "nested blocks": (
        forward("; ".join(f"{'  ' * at}if x:" for at in range(60))),
        "blocks nested more than 48 deep",
    ),
    "an item": (forward("x[0] = x; return x"), "not understood"),
    "dots": (forward(f"return x{'.a' * 60}"), "not understood"),
    "an infinity": (forward("return torch.mul(x, 1e999)"), "not understood"),
    "a bracket": (forward("return torch.relu(x, [)"), "not understood"),
    "no end": ("  def forward(self, x: Tensor\n", "not understood"),
    "more behind it": ("  def forward(self, x: Tensor) 3:\n    return x\n", "not understood"),
    "a number as a name": ("  def forward(self, 3: Tensor):\n    return 3\n", "not understood"),
}  # fmt: skip


@pytest.mark.parametrize("name", METHODS)
def test_methods(tmp_path, name):
    methods, expected = METHODS[name]
    if expected in ("ReLU", "Tanh", "Scale", "Dropout"):
        (layer,) = read(tmp_path, "class Net(Module):\n" + methods, {}).layers
        assert layer.kind == expected
    else:
        with pytest.raises(FormatError, match=expected):
            read(tmp_path, "class Net(Module):\n" + methods, {})


def test_types_and_axes(tmp_path):
    """A float16 model computes in float16; mm tells that its input has two axes."""
    for text, kinds in [
        ("torch.softmax(torch.linear(x, h), -1, 5)", ["Linear", "Softmax"]),
        ("torch.mm(x, w)", ["Linear"]),
    ]:
        assert [layer.kind for layer in described(tmp_path, text).layers] == kinds
