# SPDX-License-Identifier: MIT
"""`Embedding`: a vector for each index."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .arrays import Array, dense_array
from .checks import check_int, check_size, source_of
from .flow import Flow
from .stateless import Back, Stateless
from .weighted import NOT_DRAWN, Seed


class Embedding(Stateless):
    """Rows of a table, as torch.nn.Embedding.

    x: integers of any shape, each from 0 to num_embeddings - 1; y: x's shape and (embedding_dim,).
    Weights: `weight` (num_embeddings, embedding_dim). padding_idx: an index whose row gets no
    gradient and is first zero; a negative one counts from the end. seed: of the initial weights.

    TypeError for an x that is not of integers, ValueError for an index out of range.

    >>> import numpy as np
    >>> y, _ = Embedding(10, 4, padding_idx=0)(np.array([[1, 5, 0], [7, 0, 0]]))
    >>> y.shape, y[1, 2].tolist()
    ((2, 3, 4), [0.0, 0.0, 0.0, 0.0])
    """

    def __init__(
        self,
        num_embeddings: int,
        embedding_dim: int,
        padding_idx: int | None = None,
        *,
        seed: int | np.random.Generator | None = None,
    ) -> None:
        super().__init__()
        self.num_embeddings = check_size("num_embeddings", num_embeddings)
        self.embedding_dim = check_size("embedding_dim", embedding_dim)
        self.padding_idx = None if padding_idx is None else self._checked_padding(padding_idx)
        self._weights = {} if seed is NOT_DRAWN else {"weight": self._drawn(seed)}

    def _drawn(self, seed: Seed) -> Array:
        rng = source_of(seed)
        table = rng.standard_normal((self.num_embeddings, self.embedding_dim), np.float32)
        if self.padding_idx is not None:
            table[self.padding_idx] = 0.0
        return table

    def _checked_padding(self, index: int) -> int:
        count = self.num_embeddings
        return check_int("padding_idx", index, -count, count - 1) % count

    def _shapes(self) -> dict[str, tuple[int, ...]]:
        return {"weight": (self.num_embeddings, self.embedding_dim)}

    def _options(self) -> dict[str, object]:
        options: dict[str, object] = {
            "num_embeddings": self.num_embeddings,
            "embedding_dim": self.embedding_dim,
        }
        return options if self.padding_idx is None else {**options, "padding_idx": self.padding_idx}

    def _input(self, x: ArrayLike) -> NDArray[Any]:
        array = dense_array(x, "x")
        if array.dtype.kind not in "iu" and array.size:
            raise TypeError(f"x: expected integers, indices of vectors, got {array.dtype}")
        return array if array.size else array.astype(np.intp)

    def _ndim_after(self, ndim: int) -> int:
        return ndim + 1

    def _forward(self, x: NDArray[Any], flow: Flow) -> Array:
        if x.dtype.kind not in "iu":
            raise TypeError(f"x: expected integers, indices of vectors, got {x.dtype}")
        if x.size and (x.min() < 0 or x.max() >= self.num_embeddings):
            outside = x[(x < 0) | (x >= self.num_embeddings)].flat[0]
            raise ValueError(
                f"x: expected indices from 0 to {self.num_embeddings - 1}, got {outside}"
            )
        table: Any = self._weights["weight"]
        y: Array = table[x]
        return y

    def _forward_vjp(self, x: NDArray[Any], flow: Flow, seed: int) -> tuple[Array, Back]:
        def back(dy: Array) -> tuple[None, dict[str, Array]]:
            table = np.zeros((self.num_embeddings, self.embedding_dim), np.float32)
            np.add.at(table, x.ravel(), dy.reshape(-1, self.embedding_dim))
            if self.padding_idx is not None:
                table[self.padding_idx] = 0.0
            return None, {"weight": table}

        return self._forward(x, flow), back
