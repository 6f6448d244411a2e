# SPDX-License-Identifier: MIT
"""Follows the mask that accompanies the values of a Keras model.

Keras's recurrent layers skip masked steps: their state stays, and they return there what they
returned before, or zeros. Here `Mask` takes the masked steps out in front of such layers, and
`Unmask` puts them back behind, if a layer after them reads all steps.
"""

from __future__ import annotations

from dataclasses import dataclass

from ..description import DescribedLayer
from ..errors import quote
from .keras_config import CannotMapError, KerasLayer, MaskSource
from .keras_recurrent import CLASSES

_SKIPPING = (*CLASSES, "GlobalAveragePooling1D")  # layers that skip masked steps


@dataclass(frozen=True)
class _Begun:
    """A mask that no layer has used so far."""

    at: int  # where in the list of layers `Mask` belongs
    name: str
    value: object


class Masks:
    """The mask at the present end of a list of layers."""

    def __init__(self, layers: list[DescribedLayer]) -> None:
        self._layers = layers
        self._begun: _Begun | None = None
        self._made: tuple[int, str, bool] | None = None  # where Unmask belongs, name, repeat
        self._taken_out = False  # whether masked steps are out of the values
        self._origin: MaskSource | None = None  # of the mask, if there is one
        self._lost = ""  # a sum whose values at masked steps are not known
        self._reversed = ""  # a layer that returned the steps, but not the mask, in reverse order

    @property
    def active(self) -> bool:
        """Whether there is a mask."""
        return self._origin is not None

    def enter(self, layer: KerasLayer) -> None:
        """Require that the mask that a layer is called with, if the file tells, is this one."""
        if layer.mask is None:
            return
        if any(mask != self._origin for mask in layer.mask):
            raise CannotMapError("it is called with a mask that no layer before it makes")
        # A file says no mask also behind a model within the model, which may pass it on.
        if not layer.mask and self._origin and layer.type in _SKIPPING:
            raise CannotMapError("it is called without the mask that a layer before it makes")

    def begin(self, layer: KerasLayer, value: object) -> None:
        """Start a mask of the steps that hold only this value, in front of what `layer` makes."""
        if self.active:
            raise CannotMapError("a second mask is not supported")
        self._begun = _Begun(len(self._layers), layer.name, value)
        self._origin = (layer.source, value, layer.type == "Masking")

    def skip(self, layer: KerasLayer) -> bool:
        """Take masked steps out, for a layer that skips them; whether there is a mask."""
        if self._reversed:
            raise CannotMapError(
                f"a mask after {quote(self._reversed)}, which returned the steps in reverse order, "
                "is not supported"
            )
        if self._begun:
            self._take_out(self._begun)
        return self._taken_out

    def made_steps(self, name: str, repeat: bool) -> None:
        """The recurrent layer at the end has made values, between which masked steps belong."""
        self._made, self._lost = (len(self._layers), name, repeat), ""

    def join(self, at: int, masked: bool, name: str) -> None:
        """Layers from number `at` on return what is added to a value before, masked or not."""
        if self._begun and self._begun.at <= at:
            return  # no step has been taken out
        kinds = (layer.kind for layer in reversed(self._layers[:at]) if masked)
        if next((kind for kind in kinds if kind in ("Mask", "Unmask")), "") != "Mask":
            self.show_all()  # all steps are in the value before
        elif not self._taken_out:
            raise CannotMapError("a mask that one of the two values has is not supported")
        elif self._made and self._made[0] > at:
            self._made, self._lost = None, name

    def put_back(self, name: str, repeat: bool, backwards: bool) -> None:
        """Put masked steps back at once, for a layer that returns them in reverse order."""
        self._insert(
            len(self._layers), f"{name}.unmask", "Unmask", repeat=repeat, backwards=backwards
        )
        self._taken_out, self._reversed, self._lost = False, name, ""

    def show_all(self) -> None:
        """Put masked steps back and forget the mask, for a layer that reads all steps."""
        if self._lost:
            raise CannotMapError(
                f"it takes the masked steps of {quote(self._lost)}, which adds other values there"
            )
        begun = self._begun
        if begun and isinstance(begun.value, float) and begun.value != 0:
            self._take_out(begun)  # Masking makes zeros of them
            self._made = (begun.at + 1, begun.name, False)
        if self._taken_out and self._made:
            at, name, repeat = self._made
            self._insert(at, f"{name}.unmask", "Unmask", repeat=repeat, backwards=False)
        self.end()

    def end(self) -> None:
        """Forget the mask: no layer after this one gets it."""
        self._begun, self._made, self._origin = None, None, None
        self._taken_out, self._reversed, self._lost = False, "", ""

    def _take_out(self, begun: _Begun) -> None:
        self._insert(begun.at, f"{begun.name}.mask", "Mask", value=begun.value)
        self._begun, self._taken_out = None, True

    def _insert(self, at: int, name: str, kind: str, **options: object) -> None:
        self._layers.insert(at, DescribedLayer(name, kind, options))
