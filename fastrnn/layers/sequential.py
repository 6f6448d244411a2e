# SPDX-License-Identifier: MIT
"""`Sequential`: layers that run one after another, as one."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any, overload

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .arrays import FLOAT32, Array, float_array
from .backward import BackwardFunction, Gradients
from .base import Layer
from .checks import raise_from_layer
from .flow import Axes, Flow, Lengths, all_take, entry_flow
from .streams import SequentialStream

# One layer of a pass, with its x and its backward pass.
_Step = tuple[str, Layer, NDArray[Any], BackwardFunction]


class Sequential(Layer):
    """Layers that run one after another, each on the y of the one before, as torch.nn.Sequential.

    Made of layers, which are then called "0", "1", ..., or of names: a dict or keywords. Layers are
    `fastrnn`'s own, `Sequential` among them; weights have their layer's name in front, as
    "encoder.0.weight". `model.encoder`, `model["encoder"]`, `model[0]`, `model["encoder.0"]`,
    slices, iteration and len() work as in PyTorch. Unlike there, the layer after a recurrent one
    gets only its y.

    x: what the first layer takes. state: None, or a dict of the states of layers that have one, by
    name; for those left out or None, `initial_state` or zeros. A call returns the last states in
    such a dict, or None if no layer has a state. lengths: the valid steps of each row; every layer
    gets them, as they are after the layers before it, and y is 0 beyond them.

    `model.vjp(x, state)` is the training pass: dropout is active, and each layer draws from a seed
    of its own, which follows from `seed`. grads.state is a dict, as the states are.

    initial_state: first states of recurrent layers, by name, for calls without a state: h of shape
    (L*D, R), for an LSTM (h, c), the same for each row of a batch.

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
    >>> y, state, backward = model.vjp(np.array([[3, 1, 4], [1, 5, 0]]), seed=1)
    >>> grads = backward(np.ones_like(y))
    >>> grads.state["rnn"][0].shape, grads.weights["head.weight"].shape
    ((1, 2, 16), (2, 16))
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
        self._children: dict[str, Layer] = children
        self._initial: dict[str, Any] = {}
        self._has_state = any(child._has_state for child in children.values())
        self._finds_lengths = any(child._finds_lengths for child in children.values())
        names = [f"{name}.{key}" for name, child in children.items() for key in child._shapes()]
        twice = sorted(key for key, count in Counter(names).items() if count > 1)
        if twice:
            raise ValueError(f"layers: expected weights of different names, got two of {twice}")

    # --- A collection of layers ---

    @property
    def layers(self) -> tuple[Layer, ...]:
        """The layers in order."""
        return tuple(self._children.values())

    def items(self) -> Iterator[tuple[str, Layer]]:
        """The names and layers in order."""
        yield from self._children.items()

    def named_layers(self) -> Iterator[tuple[str, Layer]]:
        """The names and layers in order, with "encoder.0" for those of a `Sequential` inside."""
        for name, child in self._children.items():
            if isinstance(child, Sequential):
                yield from ((f"{name}.{inner}", layer) for inner, layer in child.named_layers())
            else:
                yield name, child

    def summary(self) -> str:
        """A table of the layers with their numbers of parameters.

        >>> import fastrnn
        >>> print(Sequential(rnn=fastrnn.GRU(8, 16), head=fastrnn.Linear(16, 2)).summary())
        rnn    GRU(8, 16)                                         1,248
        head   Linear(in_features=16, out_features=2, bias=True)     34
        total                                                     1,282
        """
        layers = [*self.named_layers()]
        rows = [(name, repr(layer), f"{layer.num_parameters:,}") for name, layer in layers]
        rows.append(("total", "", f"{self.num_parameters:,}"))
        a, b, c = (max(map(len, column)) for column in zip(*rows, strict=True))
        return "\n".join(f"{name:{a}}  {text:{b}}  {count:>{c}}" for name, text, count in rows)

    def __getattr__(self, name: str) -> Any:
        """`model.encoder` for `model["encoder"]`, where that is no attribute of all models."""
        children = self.__dict__.get("_children", {})
        if name in children:
            return children[name]
        raise AttributeError(
            f"{type(self).__name__!r} object has no attribute or layer {name!r}; the layers are "
            f"{list(children)}"
        )

    def __dir__(self) -> list[str]:
        return [*super().__dir__(), *self._children]

    def __len__(self) -> int:
        return len(self._children)

    def __iter__(self) -> Iterator[Layer]:
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

    def _by_name(self, name: str) -> Layer:
        if name in self._children:
            return self._children[name]
        for own, child in self._children.items():
            if name.startswith(own + ".") and isinstance(child, Sequential):
                return child._by_name(name.removeprefix(own + "."))
        raise KeyError(f"no layer {name!r}, the layers are {list(self._children)}")

    def __repr__(self) -> str:
        lines = [f"  {name}={value!r}" for name, value in self._options().items()]
        lines += [f"  ({name}): {layer!r}" for name, layer in self._children.items()]
        kind = type(self).__name__
        return f"{kind}(\n{_indented(lines)}\n)" if lines else f"{kind}()"

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
        """First states, by layer, for calls without a state; assign to set them."""
        return dict(self._initial)

    @initial_state.setter
    def initial_state(self, states: Mapping[str, Any]) -> None:
        if not isinstance(states, Mapping):
            found = type(states).__name__
            raise TypeError(f"initial_state: expected a dict of states by layer, got {found}")
        self._initial = {name: self._checked_initial(name, s) for name, s in states.items()}

    def _checked_initial(self, name: str, state: Any) -> Any:
        """Copies of the parts of a first state, without an axis of rows."""
        child = self._children.get(name)
        if child is None or not child._state_shapes:
            raise ValueError(f"initial_state: expected names of recurrent layers, got {name!r}")
        shapes = child._state_shapes
        parts = list(state) if isinstance(state, tuple | list) else [state]
        if len(parts) != len(shapes):
            wanted = "(h, c)" if len(shapes) == 2 else "h"
            raise ValueError(f"initial_state[{name!r}]: expected {wanted}, got {len(parts)} arrays")
        arrays = []
        for part, shape in zip(parts, shapes, strict=True):
            array = float_array(part, f"initial_state[{name!r}]")
            if array.shape != shape:
                raise ValueError(
                    f"initial_state[{name!r}]: expected shape {shape}, got {array.shape}"
                )
            arrays.append(array.copy())
        return arrays[0] if len(arrays) == 1 else tuple(arrays)

    def _checked_states(self, state: Any, what: str) -> dict[str, Any]:
        """The states of a call by layer, without those that are None."""
        if state is None:
            return {}
        if not isinstance(state, Mapping):
            raise TypeError(
                f"{what}: expected a dict of states by layer, got {type(state).__name__}"
            )
        for name, own in state.items():
            child = self._children.get(name)
            if own is not None and not (child and child._has_state):
                raise ValueError(
                    f"{what}: expected states of layers that have one, "
                    f"{[n for n, c in self._children.items() if c._has_state]}, got {name!r}"
                )
        return {name: own for name, own in state.items() if own is not None}

    def _first(self, name: str, x: NDArray[Any]) -> Any:
        """The first state of a layer in a call without one."""
        if name not in self._initial:
            return None
        return self._children[name]._first_states(self._initial[name], x)

    # --- Running ---

    def _run(self, x: NDArray[Any], state: Any, flow: Flow) -> tuple[Array, Any, Flow]:
        states = {} if state is None else self._checked_states(state, "state")
        last: dict[str, Any] = {}
        y, now = x, _entered(flow, x)
        for name, child in self._children.items():
            own = states.get(name)
            if own is None and self._initial:
                own = self._first(name, y)
            try:
                y, after, now = child._run(y, own, now)
            except (ValueError, TypeError) as error:
                raise_from_layer(name, error)
            if after is not None:
                last[name] = after
        return y, last or None, _left(now, flow)

    def _run_vjp(
        self, x: NDArray[Any], state: Any, flow: Flow, seed: int
    ) -> tuple[Array, Any, Flow, BackwardFunction]:
        states = self._checked_states(state, "state")
        last: dict[str, Any] = {}
        y, now = x, _entered(flow, x)
        steps: list[_Step] = []
        seeds = np.random.SeedSequence(seed).generate_state(len(self), np.uint64)
        for (name, child), drawn in zip(self._children.items(), seeds, strict=True):
            own, before = states.get(name), y
            if own is None and self._initial:
                own = self._first(name, y)
            try:
                y, after, now, back = child._run_vjp(y, own, now, int(drawn))
            except (ValueError, TypeError) as error:
                raise_from_layer(name, error)
            if after is not None:
                last[name] = after
            steps.append((name, child, before, back))

        def whole(dy: Array, dstate: Any) -> Gradients:
            return self._back(steps, now.zeroed(dy), x, dstate)

        return y, last or None, _left(now, flow), whole

    def _back(self, steps: list[_Step], dy: Array, first: NDArray[Any], dstate: Any) -> Gradients:
        """The gradients of a pass over `first`, from the last layer to the first."""
        given = self._checked_states(dstate, "dstate")
        dx: Any = dy
        extra: Any = None
        states: dict[str, Any] = {}
        weights: dict[str, Array] = {}
        for name, child, x, back in reversed(steps):
            own = child._to_first(dx, first)
            extra = own if extra is None else extra if own is None else extra + own
            if dx is None:  # integers from here on
                dx = np.zeros(x.shape, FLOAT32)
            try:
                grads = back(dx, given.get(name))
            except (ValueError, TypeError) as error:
                raise_from_layer(name, error)
            dx = grads.x
            if grads.state is not None:
                states[name] = grads.state
            weights |= {f"{name}.{key}": array for key, array in grads.weights.items()}
        total = dx if extra is None or dx is None else dx + extra
        ordered = {name: states[name] for name in self._children if name in states}
        trained = {key: weights[key] for key in self._shapes() if key in weights}
        return Gradients(total, ordered or None, trained)

    def _input(self, x: ArrayLike) -> NDArray[Any]:
        for child in self._children.values():
            return child._input(x)
        return float_array(x, "x")

    def lengths_after(self, lengths: Lengths | None, x: NDArray[Any]) -> Lengths | None:
        """The valid steps of each row of y, given those of x."""
        flow = entry_flow(self, x, lengths)
        return self._run(flow.zeroed(x), None, flow)[2].lengths

    def stream(self, batch_size: int = 1) -> SequentialStream:
        """Return `batch_size` streams that run step by step: see `SequentialStream`.

        ValueError names all layers that need more than the steps so far, and why.
        """
        return SequentialStream(self, batch_size)

    def _not_causal(self) -> Iterator[tuple[str, Layer, str]]:
        for name, child in self._children.items():
            for inner, layer, why in child._not_causal():
                yield f"{name}.{inner}" if inner else name, layer, why

    # --- One layer of several ---

    def _check_end(self, flow: Flow) -> None:
        if flow.moved:
            raise ValueError(
                "x: expected masked steps at the end of each row alone, got some before or between "
                "others, which would move the steps of y; put the padding at the end"
            )

    def _takes(self, axes: Axes, ndim: int) -> bool:
        return all_take(self.layers, axes, ndim)

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


def _check_child(name: Any, layer: Any) -> None:
    if not isinstance(name, str) or not name:
        raise TypeError(f"layers: expected names that are str and not empty, got {name!r}")
    if not isinstance(layer, Layer):
        raise TypeError(
            f"layers: expected layers of fastrnn, got {type(layer).__name__} as {name!r}"
        )


def _entered(flow: Flow, x: NDArray[Any]) -> Flow:
    """The flow inside of a `Sequential`, whose layers take its x as the model's input."""
    return flow if flow.first is x else flow.with_first(x)


def _left(now: Flow, outside: Flow) -> Flow:
    """The flow after a `Sequential`, with the input of the model that holds it."""
    return now if now.first is outside.first else now.with_first(outside.first)


def _indented(lines: list[str]) -> str:
    return "\n".join(line.replace("\n", "\n  ") for line in lines)
