# SPDX-License-Identifier: MIT
"""Weights that PyTorch's wrappers compute from other tensors before each call.

A wrapper registers tensors in the place of a weight, here called its parts: "weight_hh_l0_g" and
"weight_hh_l0_v" for weight_hh_l0. The formulas are those of torch.nn.utils in eval mode; sums are
float64.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from .containers.budget import ARRAY_OVERHEAD, Budget
from .containers.elements import Array
from .errors import FormatError, listing, quote

_PARAMETRIZED = "parametrizations."


def split_part(name: str) -> tuple[str, str]:
    """Split a tensor's name, as "weight_g", into that of a weight and the rest, as "_g".

    The rest is empty if the name is not that of a part.
    """
    if name.startswith(_PARAMETRIZED):
        weight, dot, rest = name.removeprefix(_PARAMETRIZED).partition(".")
        if weight and rest:
            return weight, dot + rest
    ending = next((e for e in _ENDINGS if name.endswith(e) and name != e), "")
    return name.removesuffix(ending), ending


def part_name(weight: str, rest: str) -> str:
    """Put together what `split_part` splits."""
    return f"parametrizations.{weight}{rest}" if rest.startswith(".") else weight + rest


def plain_tensors(
    prefix: str, own: Mapping[str, str], arrays: Mapping[str, Array], budget: Budget | None = None
) -> dict[str, Array]:
    """The tensors of a module by their local names; weights that a wrapper computes are computed.

    `own` maps the local names to those in the file. What is computed is charged to the budget.
    """
    tensors: dict[str, Array] = {}
    computed: dict[str, dict[str, Array]] = {}
    for local, name in own.items():
        weight, rest = split_part(local)
        if rest:
            computed.setdefault(weight, {})[rest] = arrays[name]
        else:
            tensors[local] = arrays[name]
    for weight, parts in computed.items():
        # The module in a weight-drop wrapper also keeps the weight of its last call.
        if weight in tensors and parts.keys() != {"_raw"}:
            both = [weight, *(part_name(weight, rest) for rest in parts)]
            raise FormatError(f"ambiguous tensors under {quote(prefix)}: {listing(both)}")
        if budget is not None:  # a weight is not larger than the largest part, of the same type
            largest = max(part.nbytes for part in parts.values())
            budget.spend(largest + ARRAY_OVERHEAD, f"weight {quote(prefix + weight)}")
        tensors[weight] = compute_weight(prefix, weight, parts)
    return tensors


def compute_weight(prefix: str, weight: str, parts: Mapping[str, Array]) -> Array:
    """Compute a weight of the module at `prefix` from its parts, by the rest of their names ("_g").

    FormatError if they are not those of a known wrapper, or do not fit each other.
    """
    names = {rest: prefix + part_name(weight, rest) for rest in parts}
    form = next((form for form in _FORMS if set(form[0]) == parts.keys()), None)
    if form is None:
        raise FormatError(
            f"{quote(prefix + weight)} is computed from {listing(names.values())}, expected the "
            "plain weight, or what weight_norm, spectral_norm, pruning or weight drop compute it "
            "from: undo it before saving (torch.nn.utils.parametrize.remove_parametrizations, "
            "torch.nn.utils.prune.remove)"
        )
    for rest, array in parts.items():
        if array.dtype.kind not in ("fbiu" if rest == "_mask" else "f"):
            raise FormatError(f"{quote(names[rest])} has dtype {array.dtype}, expected floats")
    order, formula = form
    with np.errstate(all="ignore"):  # NaN for a row of zeros, as in PyTorch
        value = formula(*(parts[rest] for rest in order))
    if value is None:
        shapes = ", ".join(f"{quote(names[rest])} {array.shape}" for rest, array in parts.items())
        raise FormatError(f"the parts of {quote(prefix + weight)} do not fit each other: {shapes}")
    return value


# Each formula returns None if the shapes do not fit.


def _weight_norm(g: Array, v: Array) -> Array | None:
    """v * g / |v|, with a norm for each place along one axis, or one for all of v."""
    sizes = enumerate(v.shape)
    shapes = {axis: tuple(np.where(np.arange(v.ndim) == axis, size, 1)) for axis, size in sizes}
    axis = next((axis for axis, shape in shapes.items() if shape == g.shape), None)
    if axis is None and g.ndim:
        return None
    axes = list(range(v.ndim))
    squares = np.einsum(v, axes, v, axes, [] if axis is None else [axis], dtype=np.float64)
    return _product(v, g / np.sqrt(squares).reshape(g.shape))


def _spectral_norm(original: Array, u: Array, v: Array) -> Array | None:
    """W / (u W v), with the largest singular value of W estimated by its vectors u and v."""
    if original.ndim != 2 or (u.shape, v.shape) != (original.shape[:1], original.shape[1:]):
        return None
    sigma = np.einsum("i,ij,j", u, original, v, dtype=np.float64)
    if u.shape == v.shape and abs(sigma) < abs(
        np.einsum("i,ij,j", v, original, u, dtype=np.float64)
    ):
        return None  # the vectors are those of the transposed weight: dim=1
    return _product(original, 1 / sigma)


def _pruned(original: Array, mask: Array) -> Array | None:
    return _product(original, mask) if original.shape == mask.shape else None


def _undropped(raw: Array) -> Array:
    return raw  # weight drop acts in training only


def _product(weight: Array, factor: Array) -> Array:
    """weight * factor in float64, rounded to the weight's type, without a float64 copy."""
    product: Array = np.multiply(
        weight, factor, out=np.empty_like(weight), dtype=np.float64, casting="same_kind"
    )
    return product


_FORMS: tuple[tuple[tuple[str, ...], Callable[..., Array | None]], ...] = (
    (("_g", "_v"), _weight_norm),
    ((".original0", ".original1"), _weight_norm),
    (("_orig", "_u", "_v"), _spectral_norm),
    ((".original", ".0._u", ".0._v"), _spectral_norm),
    (("_orig", "_mask"), _pruned),
    (("_raw",), _undropped),
)
_ENDINGS = {rest for parts, _ in _FORMS for rest in parts if rest.startswith("_")}
