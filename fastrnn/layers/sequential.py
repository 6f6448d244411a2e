# SPDX-License-Identifier: MIT
"""`Sequential`: layers that run one after another, as one."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any, overload

import numpy as np
from numpy.typing import ArrayLike, NDArray

from . import empty_rows as recurrent
from .arrays import FLOAT32, Array, float_array
from .backward import Gradients
from .base import Axes, Backward, Flow, Layer, Lengths, _all_take, checked_dy, entry_flow
from .checks import drawn_seed
from .recurrent import GRU, LSTM, RNN
from .streams import SequentialStream
from .weighted import check_state_dict, with_dot

Child = Any  # a Layer, an LSTM, GRU or RNN, or a Sequential

# One layer of a pass: from the gradients of its y and last state to all others.
_Step = tuple[str, Child, NDArray[Any], Callable[[Array, Any], Gradients]]


class Sequential:
    """Layers that run one after another, each on the y of the one before, as torch.nn.Sequential.

    Made of layers, which are then called "0", "1", ..., or of names: a dict or keywords. Layers are
    `fastrnn`'s own, `Sequential` among them; weights have their layer's name in front, as
    "encoder.0.weight". `model["encoder"]`, `model[0]`, `model["encoder.0"]`, slices, iteration and
    len() work as in PyTorch. Unlike there, a recurrent layer hands on its y alone.

    x: what the first layer takes. state: None, or a dict of the states of layers that have one, by
    name (some may be left out or None: zeros, or what `initial_state` says); the last states come
    back in such a dict, or as None where no layer has any. lengths: the valid steps of each row;
    every layer gets them, as they are after the layers before it, and y is 0 beyond them.

    initial_state: first states of recurrent layers, by name, used where a call gives none: h of
    shape (L*D, R), for an LSTM (h, c), the same for each row of a batch.

    ValueError and TypeError as the layers have them, with the name of the layer in front.

    >>> import numpy as np, fastrnn
    >>> model = fastrnn.Sequential(
    ...     embed=fastrnn.Embedding(100, 8),
    ...     rnn=fastrnn.LSTM(8, 16, batch_first=True),
    ...     last=fastrnn.Last(batch_first=True),
    ...     head=fastrnn.Linear(16, 2),
    ... )
    >>> y, state = model(np.array([[3, 1, 4], [1, 5, 0]]), lengths=[3, 2])
    >>> y.shape, state["rnn"][0].shape, list(model.state_dict())[-2:]
    ((2, 2), (1, 2, 16), ['head.weight', 'head.bias'])
    """

    def __init__(self, *layers: Any, **named: Any) -> None:
        if len(layers) == 1 and isinstance(layers[0], Mapping) and not named:
            children = dict(layers[0])
        elif layers and named:
            raise TypeError("layers: expected layers or names of layers, got both")
        else:
            children = named or {str(i): layer for i, layer in enumerate(layers)}
        for name, layer in children.items():
            _check_child(name, layer)
        self._children: dict[str, Child] = children
        self._initial: dict[str, Any] = {}
        self._finds_lengths = any(getattr(c, "_finds_lengths", False) for c in children.values())
        names = [key for name, child in children.items() for key in _keys(name, child)]
        twice = sorted({key for key in names if names.count(key) > 1}) if names else []
        if twice:
            raise ValueError(f"layers: expected weights of different names, got two of {twice}")

    # --- A collection of layers ---

    @property
    def layers(self) -> tuple[Child, ...]:
        """The layers in order."""
        return tuple(self._children.values())

    def items(self) -> Iterator[tuple[str, Child]]:
        """The names and layers in order."""
        yield from self._children.items()

    def __len__(self) -> int:
        return len(self._children)

    def __iter__(self) -> Iterator[Child]:
        return iter(self.layers)

    @overload
    def __getitem__(self, key: slice) -> Sequential: ...
    @overload
    def __getitem__(self, key: int | str) -> Any: ...

    def __getitem__(self, key: int | str | slice) -> Any:
        if isinstance(key, slice):
            part = Sequential(dict(list(self._children.items())[key]))
            part._initial = {n: s for n, s in self._initial.items() if n in part._children}
            return part
        if isinstance(key, str):
            return self._by_name(key)
        try:
            return self.layers[key]
        except IndexError:
            raise IndexError(f"layer: expected one of {len(self)}, got {key}") from None

    def _by_name(self, name: str) -> Child:
        if name in self._children:
            return self._children[name]
        for own, child in self._children.items():
            if name.startswith(own + ".") and isinstance(child, Sequential):
                return child._by_name(name.removeprefix(own + "."))
        raise KeyError(f"no layer {name!r}, the layers are {list(self._children)}")

    def __repr__(self) -> str:
        lines = [f"  ({name}): {layer!r}" for name, layer in self._children.items()]
        return f"Sequential(\n{_indented(lines)}\n)" if lines else "Sequential()"

    # --- Weights ---

    def _shapes(self) -> dict[str, tuple[int, ...]]:
        return {
            f"{name}.{key}": shape
            for name, child in self._children.items()
            for key, shape in child._shapes().items()
        }

    def state_dict(self) -> dict[str, Array]:
        """Copies of all weights by PyTorch's names, as "encoder.0.weight", float32."""
        return {
            f"{name}.{key}": array
            for name, child in self._children.items()
            for key, array in child.state_dict().items()
        }

    def load_state_dict(self, arrays: Mapping[str, ArrayLike], prefix: str = "") -> None:
        """Take the weights of all layers, named as `state_dict` names them, behind `prefix`.

        ValueError names what is missing, unexpected under the prefix, or misshapen, TypeError what
        is not floating point; all layers are then unchanged.
        """
        self._set_weights(check_state_dict(arrays, with_dot(prefix), self._shapes()))

    def _set_weights(self, taken: Mapping[str, ArrayLike]) -> None:
        for name, child in self._children.items():
            child._set_weights({key: taken[f"{name}.{key}"] for key in child._shapes()})

    @contextmanager
    def editing(self) -> Iterator[dict[str, Array]]:
        """Write into all weights in place: `with model.editing() as weights: ...`."""
        with ExitStack() as stack:
            own = {n: stack.enter_context(child.editing()) for n, child in self._children.items()}
            given = {f"{n}.{key}": a for n, arrays in own.items() for key, a in arrays.items()}
            yield given
            for n, arrays in own.items():
                arrays.update({key: given[f"{n}.{key}"] for key in arrays})

    # --- States ---

    @property
    def initial_state(self) -> dict[str, Any]:
        """First states, by layer, used where a call gives none; assign to set them."""
        return dict(self._initial)

    @initial_state.setter
    def initial_state(self, states: Mapping[str, Any]) -> None:
        self._initial = {
            name: _checked_initial(name, self._recurrent(name), state)
            for name, state in states.items()
        }

    def _recurrent(self, name: str) -> recurrent.Recurrent:
        child = self._children.get(name)
        if not isinstance(child, recurrent.Recurrent):
            raise ValueError(f"initial_state: expected names of recurrent layers, got {name!r}")
        return child

    def _checked_states(self, state: Any, what: str) -> dict[str, Any]:
        """What a call gives as states, by layer."""
        if state is None:
            return {}
        if not isinstance(state, Mapping):
            raise TypeError(
                f"{what}: expected a dict of states by layer, got {type(state).__name__}"
            )
        for name, own in state.items():
            stateful = isinstance(self._children.get(name), recurrent.Recurrent | Sequential)
            if own is not None and not stateful:
                raise ValueError(
                    f"{what}: expected states of layers that have one, "
                    f"{[n for n, c in self._children.items() if _has_state(c)]}, got {name!r}"
                )
        return {name: own for name, own in state.items() if own is not None}

    # --- Running ---

    def __call__(
        self,
        x: ArrayLike,
        state: Mapping[str, Any] | None = None,
        *,
        lengths: ArrayLike | Sequence[int] | None = None,
    ) -> tuple[Array, dict[str, Any] | None]:
        """Run the layers: `y, state = model(x, state)`; x, y and states stand in the class."""
        array = self._input(x)
        if lengths is None and not self._finds_lengths:
            return self._run_full(array, state)
        flow = entry_flow([self], array, lengths)
        y, last, after = self._run(flow.zeroed(array), state, flow)
        _check_places(after)
        return y, last

    def _run_full(self, x: NDArray[Any], state: Any) -> tuple[Array, Any]:
        """As `_run`, of rows without lengths, so that nothing asks where rows and steps are.

        With a flow from layer to layer, `silero_chunk` of benchmarks.whole takes 55 us more.
        """
        states = {} if state is None else self._checked_states(state, "state")
        last: dict[str, Any] = {}
        y, flow = x, Flow(first=x)
        for name, child in self._children.items():
            try:
                if isinstance(child, Layer):
                    y = child._forward(y, flow)
                elif isinstance(child, Sequential):
                    y, last[name] = child._run_full(y, states.get(name))
                else:
                    y, last[name] = child(y, self._first(name, child, states.get(name), y))
            except (ValueError, TypeError) as error:
                if type(error) in (ValueError, TypeError):
                    raise type(error)(f"layer {name!r}: {error}") from error
                raise
        return y, _or_none(last)

    def _run(self, x: NDArray[Any], state: Any, flow: Flow) -> tuple[Array, Any, Flow]:
        states, last, outer = self._checked_states(state, "state"), {}, flow.first
        y, flow = x, Flow(flow.lengths, flow.axes, x, flow.moved)
        for name, child in self._children.items():
            with _naming(name):
                own = states.get(name)
                if isinstance(child, Sequential):
                    y, last[name], flow = child._run(y, own, flow)
                elif isinstance(child, recurrent.Recurrent):
                    y, last[name], flow = recurrent.run(
                        child, y, self._first(name, child, own, y), flow
                    )
                else:
                    y, flow = child._run(y, flow)
        return y, _or_none(last), Flow(flow.lengths, flow.axes, outer, flow.moved)

    def vjp(
        self,
        x: ArrayLike,
        state: Mapping[str, Any] | None = None,
        *,
        lengths: ArrayLike | Sequence[int] | None = None,
        seed: int | None = None,
    ) -> tuple[Array, dict[str, Any] | None, Backward]:
        """Run the layers as in training: `y, state, backward = model.vjp(x, state)`.

        `grads = backward(dy, dstate=None)` then has grads.x (None where x is of integers),
        grads.state (a dict as the states) and grads.weights by the names of the state dict; dy and
        any part of dstate may be None for zeros. Dropout is active; every layer draws from a seed
        of its own, which follows from `seed` (0 to 2**64 - 1; None: another each time).

        >>> import numpy as np, fastrnn
        >>> layers = [fastrnn.GRU(3, 5), fastrnn.Dropout(0.5), fastrnn.Linear(5, 2)]
        >>> model = fastrnn.Sequential(*layers)
        >>> y, state, backward = model.vjp(np.ones((7, 2, 3), np.float32), seed=1)
        >>> grads = backward(np.ones_like(y))
        >>> grads.x.shape, grads.state["0"].shape, grads.weights["2.weight"].shape
        ((7, 2, 3), (1, 2, 5), (2, 5))
        """
        array = self._input(x)
        flow = entry_flow([self], array, lengths)
        seed = drawn_seed(seed)
        y, last, after, back = self._run_vjp(flow.zeroed(array), state, flow, seed)
        _check_places(after)

        def whole(dy: Any, dstate: Any) -> Gradients:
            grads = back(checked_dy(dy, y.shape), dstate)
            dx = None if grads.x is None else flow.zeroed(grads.x)
            return Gradients(dx, grads.state, grads.weights)

        return y, last, Backward(whole)

    def _run_vjp(
        self, x: NDArray[Any], state: Any, flow: Flow, seed: int
    ) -> tuple[Array, Any, Flow, Callable[[Array, Any], Gradients]]:
        states, last, outer = self._checked_states(state, "state"), {}, flow.first
        y, flow = x, Flow(flow.lengths, flow.axes, x, flow.moved)
        steps: list[_Step] = []
        seeds = np.random.SeedSequence(seed).generate_state(len(self), np.uint64)
        for (name, child), drawn in zip(self._children.items(), seeds, strict=True):
            with _naming(name):
                own, before = states.get(name), y
                if isinstance(child, Sequential):
                    y, last[name], flow, back = child._run_vjp(y, own, flow, int(drawn))
                elif isinstance(child, recurrent.Recurrent):
                    first = self._first(name, child, own, y)
                    y, last[name], flow, back = recurrent.run_vjp(child, y, first, flow, int(drawn))
                else:
                    y, flow, simple = child._run_vjp(y, flow, int(drawn))
                    back = _stateless(simple)
                steps.append((name, child, before, back))
        after = Flow(flow.lengths, flow.axes, outer, flow.moved)
        return y, _or_none(last), after, lambda dy, dstate: self._back(steps, flow, x, dy, dstate)

    def _back(
        self, steps: list[_Step], flow: Flow, first: NDArray[Any], dy: Array, dstate: Any
    ) -> Gradients:
        given = self._checked_states(dstate, "dstate")
        dx: Any = flow.zeroed(dy)
        extra: Any = None
        states: dict[str, Any] = {}
        weights: dict[str, Array] = {}
        for name, child, x, back in reversed(steps):
            if isinstance(child, Layer):
                own = child._to_first(dx, first)
                extra = own if extra is None else extra if own is None else extra + own
            if dx is None:  # integers from here on
                dx = np.zeros(x.shape, FLOAT32)
            with _naming(name):
                grads = back(dx, given.get(name))
            dx = grads.x
            if _has_state(child):
                states[name] = grads.state
            weights |= {f"{name}.{key}": array for key, array in grads.weights.items()}
        ordered = {name: states[name] for name in self._children if name in states}
        order = self._shapes()
        total = dx if extra is None or dx is None else dx + extra
        return Gradients(total, _or_none(ordered), {key: weights[key] for key in order})

    def _first(self, name: str, child: recurrent.Recurrent, own: Any, x: NDArray[Any]) -> Any:
        """The first state of a layer in this call."""
        if own is None and name in self._initial:
            return recurrent.expanded(self._initial[name], x, child)
        return own

    def _input(self, x: ArrayLike) -> NDArray[Any]:
        for child in self._children.values():
            if isinstance(child, recurrent.Recurrent):
                break
            return child._input(x)  # type: ignore[no-any-return]
        return float_array(x, "x")

    def lengths_after(self, lengths: Lengths | None, x: NDArray[Any]) -> Lengths | None:
        """The valid steps of each row of y, given those of x."""
        flow = entry_flow([self], x, lengths)
        return self._run(flow.zeroed(x), None, flow)[2].lengths

    def stream(self, batch_size: int = 1) -> SequentialStream:
        """Return `batch_size` streams that run step by step: see `SequentialStream`.

        ValueError, with all names and reasons, where a layer needs more than the steps so far.
        """
        return SequentialStream(self, batch_size)

    # --- One layer of several ---

    def _takes(self, axes: Axes, ndim: int) -> bool:
        return _all_take(self.layers, axes, ndim)

    def _axes_after(self, axes: Axes, ndim: int) -> Axes | None:
        now: Axes | None = axes
        for child in self.layers:
            if now is None:
                return None
            now, ndim = child._axes_after(now, ndim), child._ndim_after(ndim)
        return now

    def _ndim_after(self, ndim: int) -> int:
        for child in self.layers:
            ndim = child._ndim_after(ndim)
        return ndim


def _check_places(flow: Flow) -> None:
    """Refuses a y whose steps would silently not be those of x."""
    if flow.moved:
        raise ValueError(
            "x: expected masked steps at the end of each row alone, got some before or between "
            "others, which would move the steps of y; put the padding at the end"
        )


class _naming:  # noqa: N801 (used as a statement)
    """Puts the name of a layer in front of its errors."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: Any, error: Any, trace: Any) -> None:
        if kind in (ValueError, TypeError):
            raise kind(f"layer {self._name!r}: {error}") from error


def _check_child(name: Any, layer: Any) -> None:
    if not isinstance(name, str) or not name:
        raise TypeError(f"layers: expected names that are str and not empty, got {name!r}")
    if not isinstance(layer, Layer | LSTM | GRU | RNN | Sequential):
        raise TypeError(
            f"layers: expected layers of fastrnn, got {type(layer).__name__} as {name!r}"
        )


def _keys(name: str, child: Child) -> list[str]:
    return [f"{name}.{key}" for key in child._shapes()]


def _has_state(child: Child) -> bool:
    if isinstance(child, Sequential):
        return any(map(_has_state, child.layers))
    return isinstance(child, recurrent.Recurrent)


def _or_none(states: dict[str, Any]) -> dict[str, Any] | None:
    return {name: state for name, state in states.items() if state is not None} or None


def _stateless(back: Any) -> Callable[[Array, Any], Gradients]:
    def whole(dy: Array, dstate: Any) -> Gradients:
        dx, weights = back(dy)
        return Gradients(dx, None, weights)

    return whole


def _checked_initial(name: str, layer: recurrent.Recurrent, state: Any) -> Any:
    """Copies of the parts of a first state, without an axis of rows."""
    h, c = layer._empty_state(0)
    sizes = [part.shape[2] for part in (h, c) if part is not None]
    parts = list(state) if isinstance(state, tuple | list) else [state]
    if len(parts) != len(sizes):
        wanted = "(h, c)" if len(sizes) == 2 else "h"
        raise ValueError(f"initial_state[{name!r}]: expected {wanted}, got {len(parts)} arrays")
    arrays = []
    for part, size in zip(parts, sizes, strict=True):
        array, shape = float_array(part, f"initial_state[{name!r}]"), (len(h), size)
        if array.shape != shape:
            raise ValueError(f"initial_state[{name!r}]: expected shape {shape}, got {array.shape}")
        arrays.append(array.copy())
    return arrays[0] if len(arrays) == 1 else tuple(arrays)


def _indented(lines: list[str]) -> str:
    return "\n".join(line.replace("\n", "\n  ") for line in lines)
