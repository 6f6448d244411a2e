# SPDX-License-Identifier: MIT
"""Sums of a Keras model: an `Add` of what a layer returns and of values from before it.

A sum is a `Residual`, which holds the layers between the two values. So the values of a model's
sums may be in front of each other or within each other, but may not overlap.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from ..description import DescribedLayer
from .keras_config import CannotMapError, KerasLayer
from .keras_mapper import Mapper, Shape


@dataclass(frozen=True)
class _Kept:
    """A value that a later `Add` takes, and the layer that holds those that follow it."""

    place: int  # the number of the model's layers before it
    layer: DescribedLayer
    shape: Shape
    masked: bool


class Sums:
    """The sums of a model that are not complete yet, the innermost last."""

    def __init__(self) -> None:
        self._kept: list[_Kept] = []

    def keep(self, to: Mapper, place: int) -> None:
        """Begin a sum with the present value."""
        holder = DescribedLayer("sum", "Residual", {"layers": 0})
        self._kept.append(_Kept(place, holder, to.shape, to.masks.active))
        to.layers.append(holder)

    def complete(self, to: Mapper, layer: KerasLayer) -> None:
        """Complete the sums of an `Add`, which are within each other if it adds several values."""
        if not layer.adds or layer.extra:
            raise CannotMapError("it adds something that no layer before it makes")
        for number, place in enumerate(sorted(layer.adds)[::-1], 1 - len(layer.adds)):
            if self._kept[-1].place != place:
                raise CannotMapError("its sum and another one of the model overlap")
            name = f"{layer.name}.{-number}" if number else layer.name
            _complete(to, self._kept.pop(), name)
        if "trainable" not in layer.config:  # the operator +, which passes no mask on
            to.masks.show_all()


def _complete(to: Mapper, kept: _Kept, name: str) -> None:
    """Put the layers since a value was kept into one that adds it to what they return."""
    if to.shape is None or kept.shape is None or not _same(kept.shape, to.shape):
        raise CannotMapError(f"it adds values of the shapes {kept.shape} and {to.shape}")
    if to.version < (3, 0) and kept.masked != to.masks.active:
        raise CannotMapError("it adds a value with a mask to one without")
    at = next(i for i, layer in enumerate(to.layers) if layer is kept.layer)
    to.masks.join(at, kept.masked, name)
    inside = to.layers[at + 1 :]
    del to.layers[at:]
    if not inside:
        to.put(name, "Scale", factor=2.0, offset=0.0)
        return
    held = sum(layer.options["layers"] for layer in inside if layer.kind == "Residual")  # type: ignore[misc]
    to.put(name, "Residual", layers=len(inside) - held)
    to.layers += [replace(layer, name=f"{name}.{layer.name}") for layer in inside]
    to.sealed = to.layers[-1]


def _same(a: tuple[int | None, ...], b: tuple[int | None, ...]) -> bool:
    """Whether two shapes are the same, as far as they are known: 1 is repeated for others."""
    pairs = list(zip(a[1:], b[1:], strict=False))
    return len(a) == len(b) and all(
        p == q or (None in (p, q) and 1 not in (p, q)) for p, q in pairs
    )
