# SPDX-License-Identifier: MIT
"""Whatever a caller passes to the compiled core or does to a layer: an error, never a crash.

The calls run in a child process, because a crash would end the test run.
"""

from __future__ import annotations

import subprocess
import sys

import pytest

import fastrnn
from fastrnn import _core

# Every function and method of the core with valid arguments, and calls with some of them replaced.
_CALLS = """
import itertools, random, resource
import numpy as np
resource.setrlimit(resource.RLIMIT_AS, (2 << 30, 2 << 30))
import fastrnn
from fastrnn import _core

rng = random.Random(SEED)
F = np.float32


def z(*shape, dtype=F):
    return np.zeros(shape, dtype)


def stack(training=True):
    made = _core.Stack("lstm", 3, 4, 2, True, 2, "scalar", training)
    for layer, direction in itertools.product(range(2), range(2)):
        width = 4 if layer else 3
        made.set_weights(layer, direction, z(16, width), z(16, 2), z(16), z(16), z(2, 4))
    return made


def recorded():
    tape = _core.Tape(S, 0.0, 1, MEMORY)
    S.forward(z(5, 2, 3), z(5, 2, 4), None, None, None, None, np.array([5, 2], np.uintp), tape)
    return tape


S = stack()
ONE = _core.Stack("gru", 3, 4, 2, False, 0, "scalar")
MEMORY = z(_core.tape_bytes(S, 5, 2), dtype=np.uint8)
D = _core.Dense(3, 4, "scalar")
C = _core.Conv1d(2, 4, 3, 2, 1, 1, 1, 2, "scalar")
few = lambda n: n % 9 if type(n) is int else n  # the probes do as many rounds as they are told
lengths = lambda: np.array([5, 2], np.uintp)
states = lambda: [z(4, 2, 2), z(4, 2, 4)]
place = lambda width: [z(16, width), z(16, 2), z(16), z(16), z(2, 4)]
gradients = lambda: [place(3), place(3), place(4), place(4)]

# Name, function of the arguments, arguments that it accepts.
CALLS = [
    ("Stack", _core.Stack, ["lstm", 3, 4, 2, True, 2, "scalar", True, "float32"]),
    ("set_weights", lambda *a: stack().set_weights(*a), [1, 0, *place(4)]),
    ("forward", lambda *a: S.forward(*a),
     [z(5, 2, 3), z(5, 2, 4), *states(), *states(), lengths(), None]),
    ("record", lambda *a: S.forward(*a[:-1], _core.Tape(S, 0.0, 1, a[-1])),
     [z(5, 2, 3), z(5, 2, 4), *states(), *states(), lengths(), MEMORY]),
    ("plan", lambda *a: S.plan(*a), [5, 2]),
    ("Tape", _core.Tape, [S, 0.5, 1, MEMORY]),
    ("resume", lambda *a: _core.Tape(S, 0.5, 1, MEMORY).resume(*a), [z(5, 2, 3), lengths()]),
    ("backward", lambda *a: recorded().backward(*a),
     [z(5, 2, 4), *states(), z(5, 2, 3), *states(), gradients(), False]),
    ("tape_bytes", _core.tape_bytes, [S, 5, 2]),
    ("Stepper", _core.Stepper, [ONE, 2]),
    ("Stream", fastrnn.Stream, [ONE, 2]),
    ("step", lambda *a: fastrnn.Stream(ONE, 2).step(*a), [z(2, 3), z(2, 4)]),
    ("Dense", _core.Dense, [3, 4, "scalar"]),
    ("dense weights", lambda *a: D.set_weights(*a), [z(4, 3), z(4)]),
    ("dense run", lambda *a: D.run(*a), [z(7, 3), z(7, 4)]),
    ("Conv1d", _core.Conv1d, [2, 4, 3, 2, 1, 1, 1, 2, "scalar"]),
    ("conv weights", lambda *a: C.set_weights(*a), [z(4, 1, 3), z(4)]),
    ("conv run", lambda *a: C.run(*a), [z(2, 2, 9), z(2, 4, 5)]),
    ("conv steps", lambda *a: C.steps(*a), [9]),
    ("softmax", _core.softmax, ["scalar", z(4, 3), z(4, 3)]),
    ("log_softmax", _core.log_softmax, ["scalar", z(4, 3), z(4, 3)]),
    ("layer_norm", _core.layer_norm, ["scalar", z(4, 3), z(4, 3), z(3), z(3), 1e-5]),
    ("pool_mean", _core.pool_mean, ["scalar", z(5, 2, 3), lengths(), z(2, 3)]),
    ("pool_sum", _core.pool_sum, ["scalar", z(5, 2, 3), lengths(), z(2, 3)]),
    ("attention_pool", _core.attention_pool,
     ["scalar", z(5, 2, 3), lengths(), z(2, 5), z(2, 3)]),
    ("apply", _core.apply, ["scalar", "softplus", z(7), z(7), 1.0, 20.0]),
    ("apply_backward", _core.apply_backward, ["scalar", "gelu", z(7), z(7), z(7), 0.0, 0.0]),
    ("functions", _core.functions, []),
    ("batch_norm", _core.batch_norm,
     ["scalar", z(4, 3), z(4, 3), z(3), z(3), z(3), z(3), 1e-5]),
    ("probe_fma", lambda isa, n: _core.probe_fma(isa, few(n)), ["scalar", 2]),
    ("probe_read", lambda isa, x, n: _core.probe_read(isa, x, few(n)), ["scalar", z(100), 2]),
]


def others(value):
    # What may come in place of a valid argument.
    yield from (None, "x", 0, -1, 1 << 70, 2.5, b"abc", [], (), {}, object(), S, D, MEMORY)
    yield from (float("nan"), True, z(), z(0), z(0, 0, 0), z(1), z(1, 1), z(1, 1, 1), z(1, 1, 1, 1))
    yield lengths() + 9
    if isinstance(value, int):
        yield from (value + 1, 1 << 15, 1 << 30, (1 << 31) - 1)
    if isinstance(value, list):
        yield from (value[:-1], [*value, value[0]], [v[:-1] for v in value], [None] * len(value))
        for j in range(len(value[2])):
            for bad in others(value[2][j]):
                changed = [list(part) for part in value]
                changed[2][j] = bad
                yield changed
    if isinstance(value, np.ndarray):
        yield from (value[:-1], value.repeat(2, -1), value[..., None], value[None], value.T)
        yield from (value.astype(d) for d in (np.float64, np.int32, ">f4", np.complex64, object))
        yield from (value.tolist(), memoryview(value), np.ma.masked_array(value, mask=True))
        frozen = value.copy()
        frozen.flags.writeable = False
        yield frozen
        odd = np.zeros(value.nbytes + 1, np.uint8)[1:].view(value.dtype).reshape(value.shape)
        yield odd
        yield np.lib.stride_tricks.as_strided(value, value.shape, (0,) * value.ndim, writeable=True)
        yield np.repeat(value, 3, -1)[..., ::3]
        yield value[::-1]
        gone = value.copy()
        gone.resize((1,) * value.ndim, refcheck=False)
        yield gone
"""

_RUN = """
count = refused = 0
for name, call, valid in CALLS:
    call(*valid)
    for i, value in enumerate(valid):
        for bad in others(value):
            given = [*valid[:i], bad, *valid[i + 1:]]
            if rng.random() < 0.1:  # a second wrong one
                j = rng.randrange(len(valid))
                given[j] = rng.choice(list(others(valid[j])))
            count += 1
            try:
                call(*given)
            except (TypeError, ValueError, OverflowError, BufferError, MemoryError, KeyError,
                    AttributeError):
                refused += 1
print(count, refused)
"""


def run_child(code: str) -> str:
    """The output of Python code in a process of its own, which must end without an error."""
    done = subprocess.run(
        [sys.executable, "-P", "-X", "faulthandler", "-c", code], capture_output=True, text=True
    )
    assert done.returncode == 0, f"rc {done.returncode}: {done.stderr[-2000:]}"
    return done.stdout


def test_wrong_arguments_of_the_core() -> None:
    count, refused = map(int, run_child(f"SEED = 0\n{_CALLS}{_RUN}").split())
    assert 0.8 * count < refused < count


# Layers whose attributes somebody has changed, by all ways that Python has.
_LAYERS = """
import copy, pickle, resource, warnings
import numpy as np
import fastrnn as f
resource.setrlimit(resource.RLIMIT_AS, (2 << 30, 2 << 30))
warnings.simplefilter("ignore")
X = np.ones((5, 2, 4), np.float32)
EVERY = [
    f.LSTM(4, 4, proj_size=3), f.LSTM(4, 4, 2, coupled=True), f.GRU(4, 4, bidirectional=True),
    f.RNN(4, 4, batch_first=True), f.Linear(4, 4), f.Conv1d(2, 2, 3), f.LayerNorm(4),
    f.Embedding(9, 4), f.Softmax(-1), f.Tanh(), f.Dropout(0.5), f.Pool("mean"), f.Last(),
    f.Flatten(), f.Permute((1, 0, 2)), f.ZeroPad1d(1), f.ReflectionPad1d(1),
    f.Sequential(f.GRU(4, 4), f.Linear(4, 4)),
]
BAD = (None, -1, 3, 4000, 1 << 40, "x", {}, (0, 0), X[0, 0], f.GRU(4, 400))


def use(make):
    try:
        layer = make()
    except Exception:
        return
    x = np.ones((5, 2), int) if isinstance(layer, f.Embedding) else X
    for work in (
        lambda: layer(x),
        lambda: layer(x, lengths=[3, 5]),
        lambda: [back(y) for y, _, back in [layer.vjp(x)]],
        lambda: [layer.stream(2).step(x[0]) for _ in range(2)],
        lambda: layer.load_state_dict(layer.state_dict()),
        lambda: repr(layer),
    ):
        try:
            work()
        except Exception:
            pass


def set_directly(layer, name, value):
    vars(layer)[name] = value
    return layer


def set_in_pickle(layer, name, value):
    state = dict(vars(layer))
    state[name] = value
    made = type(layer).__new__(type(layer))
    getattr(made, "__setstate__", made.__dict__.update)(state)
    return made


for layer in EVERY:
    use(lambda: layer)
    for name in list(vars(layer)):
        if not name.startswith("_"):
            for change in (setattr, lambda layer, name, value: delattr(layer, name)):
                try:
                    change(layer, name, 4000)
                except AttributeError as error:
                    assert str(error).startswith(f"{name}: expected to stay"), error
                else:
                    raise AssertionError(f"{layer!r}.{name} has changed")
        for value in BAD:
            for tamper in (set_directly, set_in_pickle):
                use(lambda: tamper(copy.deepcopy(layer), name, value))
        broken = copy.deepcopy(layer)
        del vars(broken)[name]
        use(lambda: broken)
    for name in layer.state_dict():
        broken = copy.deepcopy(layer)
        with broken.editing() as weights:
            weights[name].resize((1,), refcheck=False)
        use(lambda: broken)
"""


def test_tampered_layers() -> None:
    run_child(_LAYERS)


# Memory that a caller moves between two calls.
_MOVED = """
import numpy as np
import fastrnn
from fastrnn import _core

layer = fastrnn.GRU(3, 4)


def refused(text, call):
    try:
        call()
    except ValueError as error:
        assert text in str(error), error
    else:
        raise AssertionError("not refused")


x = np.ones((50000, 2, 3), np.float32)
y, _, backward = layer.vjp(x)
x.resize((1, 1, 1), refcheck=False)
refused("x: expected the array of the forward pass", lambda: backward(y))

stream = layer.stream()
refused("does not own its data", lambda: stream._h.resize((9,), refcheck=False))
stream._h.shape = (4,)
stream.step(np.ones((1, 3), np.float32))

stack = _core.Stack("gru", 3, 4, 1, False, 0, "scalar", True)
memory = np.zeros(_core.tape_bytes(stack, 5, 2), np.uint8)
tape = _core.Tape(stack, 0.0, 0, memory)
x, y = np.ones((5, 2, 3), np.float32), np.ones((5, 2, 4), np.float32)
back = lambda: tape.backward(y, None, None, None, None, None, [], False)
refused("expected one with a recorded pass", back)
lengths = np.array([5, 1], np.uintp)
assert stack.forward(x, y, None, None, None, None, lengths, tape)
lengths[:] = 1 << 60
assert back()
refused("expected a new one", lambda: stack.forward(x, y, None, None, None, None, None, tape))
memory[:] = 255
refused("null or out of range", back)
memory.resize((8,), refcheck=False)
refused("memory: expected", back)
"""


def test_memory_that_moves() -> None:
    run_child(_MOVED)


@pytest.mark.parametrize("layers", [0, 2**15 + 1, 2**24 - 1, 2**70])
def test_number_of_layers(layers: int) -> None:
    with pytest.raises(ValueError, match="num_layers: expected 1 to 32768"):
        fastrnn.GRU(1, 1, layers)
    with pytest.raises((ValueError, OverflowError)):
        _core.Stack("gru", 1, 1, layers, False, 0, "scalar")
