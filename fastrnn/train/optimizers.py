# SPDX-License-Identifier: MIT
"""Optimizers: SGD, Adam and AdamW with the arguments and results of torch.optim."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from itertools import pairwise
from typing import Any, ClassVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..layers.checks import check_from_zero, check_number, checked_flag
from .blocks import BLOCK, blocks
from .clipping import check_gradients

Floats = NDArray[Any]  # float32, or float64 if the caller's own weights are
Target = Any  # a layer, an array, or a mapping of names to these


class Optimizer:
    """What the optimizers share: which weights, their state by name, and the step.

    target: a layer (or Sequential), whose weights change in place, or a mapping of names to float32
    or float64 arrays and to layers, whose weights then have names as "encoder.weight_ih_l0".
    """

    _rates: ClassVar[tuple[str, ...]]  # attributes that state_dict keeps
    lr: float

    def __init__(self, target: Target, lr: float, weight_decay: float) -> None:
        self.lr = check_from_zero("lr", lr)
        self.weight_decay = check_from_zero("weight_decay", weight_decay)
        self._target = target
        self._state: dict[str, dict[str, Floats]] = {}
        with _editing(target) as weights:
            self._shapes = {name: array.shape for name, array in weights.items()}
            _check_apart(weights)

    def step(self, gradients: Mapping[str, ArrayLike]) -> None:
        """Change the weights by their gradients, as grads.weights has them.

        A weight whose name is not among them stays. ValueError names an unknown one or a wrong
        shape; nothing has then changed.
        """
        check_gradients(gradients)
        given = {name: np.asarray(gradient) for name, gradient in gradients.items()}
        for name, gradient in given.items():
            if name not in self._shapes:
                raise ValueError(
                    f"gradients: {name!r} is not a weight, expected names of {[*self._shapes]}"
                )
            if gradient.shape != self._shapes[name] or gradient.dtype.kind != "f":
                raise ValueError(
                    f"gradients[{name!r}]: expected floats of shape {self._shapes[name]}, "
                    f"got {gradient.dtype} {gradient.shape}"
                )
        if not given:
            return
        with _editing(self._target, given) as weights:
            for name, gradient in given.items():
                weight = weights[name]
                self._update(name, weight, gradient.astype(weight.dtype, copy=False))

    def _update(self, name: str, weight: Floats, gradient: Floats) -> None:
        raise NotImplementedError

    def _kept(self, name: str, weight: Floats, *kinds: str) -> dict[str, Floats]:
        """The state of a weight, zeros at first; "steps" counts this one."""
        state = self._state.get(name)
        if state is None:
            state = {kind: np.zeros(weight.shape, weight.dtype) for kind in kinds}
            state["steps"] = np.zeros((), np.int64)
            self._state[name] = state
        state["steps"] += 1
        return state

    def state_dict(self) -> dict[str, NDArray[Any]]:
        """Rates and state as copies, plain arrays: `numpy.savez(path, **state)` keeps them."""
        rates = {name: np.array(getattr(self, name)) for name in self._rates}
        return rates | {
            f"{name}/{kind}": array.copy()
            for name, state in self._state.items()
            for kind, array in state.items()
        }

    def load_state_dict(self, arrays: Mapping[str, ArrayLike]) -> None:
        """Take rates and state from what state_dict returned; ValueError if they do not fit."""
        rates: dict[str, Any] = {}
        state: dict[str, dict[str, Floats]] = {}
        if not isinstance(arrays, Mapping):
            raise TypeError(f"arrays: expected a mapping of names, got {type(arrays).__name__}")
        for key, value in arrays.items():
            array = np.array(value, order="C")
            name, slash, kind = key.rpartition("/")
            if not slash:
                if key not in self._rates:
                    raise ValueError(f"{key!r}: expected one of {self._rates} or a weight's state")
                rates[key] = tuple(array.tolist()) if array.ndim else array.item()
            elif name not in self._shapes:
                raise ValueError(f"{key!r}: expected the state of one of {[*self._shapes]}")
            else:
                expected = () if kind == "steps" else self._shapes[name]
                if array.shape != expected:
                    raise ValueError(f"{key!r}: expected shape {expected}, got {array.shape}")
                state.setdefault(name, {})[kind] = array
        for own in state.values():
            missing = {*self._kinds(rates), "steps"} - own.keys()
            if missing:
                raise ValueError(f"the state of a weight lacks {sorted(missing)}")
        for name, rate in rates.items():
            setattr(self, name, rate)
        self._state = state

    def _kinds(self, rates: Mapping[str, Any]) -> tuple[str, ...]:
        """What the state of a weight holds when the rates are these."""
        raise NotImplementedError

    def __repr__(self) -> str:
        arguments = [f"{name}={getattr(self, name)!r}" for name in self._rates]
        return f"{type(self).__name__}({', '.join(arguments)})"


class SGD(Optimizer):
    """Gradient descent with momentum (Polyak 1964; Sutskever et al. 2013), as torch.optim.SGD.

    g = gradient + weight_decay w, v = momentum v + (1 - dampening) g (at first v = g),
    w -= lr v, with nesterov w -= lr (g + momentum v).

    >>> import fastrnn
    >>> layer = fastrnn.GRU(3, 5, seed=0)
    >>> optimizer = SGD(layer, lr=0.1, momentum=0.9)
    >>> y, h, backward = layer.vjp(np.ones((7, 2, 3), np.float32))
    >>> optimizer.step(backward(y).weights)
    """

    _rates = ("lr", "momentum", "dampening", "weight_decay", "nesterov")

    def __init__(
        self,
        target: Target,
        lr: float = 1e-3,
        *,
        momentum: float = 0.0,
        dampening: float = 0.0,
        weight_decay: float = 0.0,
        nesterov: bool = False,
    ) -> None:
        super().__init__(target, lr, weight_decay)
        self.momentum = check_from_zero("momentum", momentum)
        self.dampening = check_number("dampening", dampening)
        self.nesterov = checked_flag("nesterov", nesterov)
        if self.nesterov and (momentum == 0 or dampening != 0):
            raise ValueError(
                "nesterov: expected momentum above 0 and dampening=0 with it, "
                f"got momentum={momentum}, dampening={dampening}"
            )

    def _kinds(self, rates: Mapping[str, Any]) -> tuple[str, ...]:
        return ("velocity",) if rates.get("momentum", self.momentum) else ()

    def _update(self, name: str, weight: Floats, gradient: Floats) -> None:
        scratch = np.empty((2, BLOCK), weight.dtype)
        if self.momentum == 0:
            for w, g in blocks(weight, gradient):
                self._descend(w, self._decayed(w, g, scratch[0]), scratch[1])
            return
        state = self._kept(name, weight, "velocity")
        first = state["steps"] == 1
        for w, g, v in blocks(weight, gradient, state["velocity"]):
            g = self._decayed(w, g, scratch[0])
            v *= self.momentum
            np.multiply(g, 1.0 if first else 1.0 - self.dampening, out=scratch[1, : len(w)])
            v += scratch[1, : len(w)]
            if self.nesterov:
                ahead = np.multiply(v, self.momentum, out=scratch[1, : len(w)])
                ahead += g
                self._descend(w, ahead, scratch[0])
            else:
                self._descend(w, v, scratch[1])

    def _decayed(self, w: Floats, g: Floats, scratch: Floats) -> Floats:
        if not self.weight_decay:
            return g
        out = np.multiply(w, self.weight_decay, out=scratch[: len(w)])
        out += g
        return out

    def _descend(self, w: Floats, by: Floats, scratch: Floats) -> None:
        w -= np.multiply(by, self.lr, out=scratch[: len(w)])


class Adam(Optimizer):
    """Adam (Kingma & Ba 2015), as torch.optim.Adam; weight_decay is added to the gradient.

    m = b1 m + (1 - b1) g, v = b2 v + (1 - b2) g^2, without their bias towards 0 after t steps m' =
    m / (1 - b1^t) and v' = v / (1 - b2^t), w -= lr m' / (sqrt(v') + eps). amsgrad: the largest v
    so far in place of v (Reddi et al. 2018).

    >>> weights = {"w": np.ones(2, np.float32)}
    >>> Adam(weights, lr=0.1).step({"w": np.array([5.0, -0.01], np.float32)})
    >>> weights["w"].round(3)
    array([0.9, 1.1], dtype=float32)
    """

    _rates = ("lr", "betas", "eps", "weight_decay", "amsgrad")
    _decoupled = False

    def __init__(
        self,
        target: Target,
        lr: float = 1e-3,
        *,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        amsgrad: bool = False,
    ) -> None:
        super().__init__(target, lr, weight_decay)
        self.betas = _checked_betas(betas)
        self.eps = check_from_zero("eps", eps)
        self.amsgrad = checked_flag("amsgrad", amsgrad)

    def _kinds(self, rates: Mapping[str, Any]) -> tuple[str, ...]:
        kinds = ("mean", "square")
        return (*kinds, "largest") if rates.get("amsgrad", self.amsgrad) else kinds

    def _update(self, name: str, weight: Floats, gradient: Floats) -> None:
        kinds = self._kinds({})
        state = self._kept(name, weight, *kinds)
        steps = int(state["steps"])
        b1, b2 = self.betas
        rate = self.lr / (1.0 - b1**steps)
        root = math.sqrt(1.0 - b2**steps)
        scratch = np.empty((2, BLOCK), weight.dtype)
        for w, g, m, v, *rest in blocks(weight, gradient, *(state[kind] for kind in kinds)):
            a, b = scratch[0, : len(w)], scratch[1, : len(w)]
            if self.weight_decay and self._decoupled:
                w *= 1.0 - self.lr * self.weight_decay
            elif self.weight_decay:
                g = np.add(g, np.multiply(w, self.weight_decay, out=b), out=b)
            np.subtract(g, m, out=a)
            a *= 1.0 - b1
            m += a
            np.multiply(g, g, out=a)
            a *= 1.0 - b2
            v *= b2
            v += a
            if rest:
                v = np.maximum(rest[0], v, out=rest[0])
            np.sqrt(v, out=a)
            a /= root
            a += self.eps
            np.divide(m, a, out=a)
            a *= rate
            w -= a


class AdamW(Adam):
    """Adam with decoupled weight decay (Loshchilov & Hutter 2019), as torch.optim.

    w -= lr weight_decay w, then the step of Adam.

    >>> weights = {"w": np.ones(2, np.float32)}
    >>> AdamW(weights, lr=0.1, weight_decay=0.5).step({"w": np.zeros(2, np.float32)})
    >>> weights["w"]
    array([0.95, 0.95], dtype=float32)
    """

    _decoupled = True

    def __init__(
        self,
        target: Target,
        lr: float = 1e-3,
        *,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.01,
        amsgrad: bool = False,
    ) -> None:
        super().__init__(
            target, lr, betas=betas, eps=eps, weight_decay=weight_decay, amsgrad=amsgrad
        )


def _checked_betas(betas: Any) -> tuple[float, float]:
    if not isinstance(betas, Sequence) or len(betas) != 2:
        raise TypeError(f"betas: expected two numbers, got {betas!r}")
    first, second = (check_number("betas", beta) for beta in betas)
    if not (0.0 <= first < 1.0 and 0.0 <= second < 1.0):
        raise ValueError(f"betas: expected two numbers from 0 to below 1, got {betas}")
    return first, second


@contextmanager
def _editing(
    target: Target, touched: Mapping[str, Any] | None = None
) -> Iterator[dict[str, Floats]]:
    """The arrays of a target by name, to be written in place; `touched`: names that will be."""
    if not isinstance(target, Mapping) and not hasattr(target, "editing"):
        raise TypeError(
            "target: expected a layer, or a mapping of names to arrays and layers, "
            f"got {type(target).__name__}"
        )
    with ExitStack() as stack:
        if not isinstance(target, Mapping):
            yield dict(stack.enter_context(target.editing()))
            return
        weights: dict[str, Floats] = {}
        for name, part in target.items():
            if not hasattr(part, "editing"):
                weights[name] = _writable(name, part)
            elif touched is None or any(key.startswith(f"{name}.") for key in touched):
                own = stack.enter_context(part.editing())
                weights |= {f"{name}.{key}": array for key, array in own.items()}
        yield weights


def _check_apart(weights: Mapping[str, Floats]) -> None:
    """ValueError if two weights share memory: it would be stepped twice."""
    places = sorted((a.ctypes.data, a.nbytes, name) for name, a in weights.items() if a.size)
    for (first, size, name), (second, _, other) in pairwise(places):
        if first + size > second:
            raise ValueError(f"target: expected weights apart, got {name!r} and {other!r} as one")


def _writable(name: str, array: Any) -> Floats:
    if (
        not isinstance(array, np.ndarray)
        or array.dtype not in (np.float32, np.float64)
        or not array.flags.c_contiguous
        or not array.flags.writeable
    ):
        found = f"{array.dtype} array" if isinstance(array, np.ndarray) else type(array).__name__
        raise TypeError(
            f"{name}: expected a layer or a writable, contiguous float32 or float64 array, "
            f"got {found}"
        )
    return array
