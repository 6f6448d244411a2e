# SPDX-License-Identifier: MIT
"""A character language model: learns to write like the reference of the Python language.

    python examples/char_model.py [--epochs N] [--characters N] [--start TEXT] [--warmth W]

An LSTM predicts the next character of the text that Python has with it (`help("LAMBDAS")`). Rows
of the batch are far parts of the text, read in pieces of 64 characters; the state goes on from
piece to piece, the gradient does not (truncated backpropagation through time, Werbos 1990). The
score is in bits per character on the last twentieth. Then a stream writes: each character is drawn
by its chance.

1.66 bits per character after 38 s (one thread, Zen 4).
"""

from __future__ import annotations

import argparse
import math
import time
from pydoc_data.topics import topics

import numpy as np

import fastrnn

ROWS, PIECE, HIDDEN = 32, 64, 160


def corpus() -> tuple[np.ndarray, str]:
    """The text as indices, and its characters."""
    text = "\n".join(topics[name] for name in sorted(topics))
    letters = "".join(sorted(set(text)))
    index = {letter: n for n, letter in enumerate(letters)}
    return np.array([index[letter] for letter in text]), letters


def pieces(text: np.ndarray, rows: int) -> list[np.ndarray]:
    """(PIECE + 1, rows) each: inputs and, one on, targets; a row goes on in the next piece."""
    columns = text[: len(text) // rows * rows].reshape(rows, -1).T
    starts = range(0, len(columns) - PIECE, PIECE)
    return [columns[first : first + PIECE + 1] for first in starts]


def epoch(model: fastrnn.Sequential, optimizer: fastrnn.Adam, text: np.ndarray) -> float:
    state, total, parts = None, 0.0, pieces(text, ROWS)
    for part in parts:
        scores, state, backward = model.vjp(part[:-1], state)
        loss, dscores = fastrnn.cross_entropy(scores, part[1:])
        gradients = backward(dscores).weights
        fastrnn.clip_grad_norm(gradients, 1.0)
        optimizer.step(gradients)
        total += loss / len(parts)
    return total


def bits(model: fastrnn.Sequential, text: np.ndarray) -> float:
    """Bits per character of a text that is read as one."""
    scores, _ = model(text[:-1, None])
    return fastrnn.cross_entropy(scores, text[1:, None])[0] / math.log(2)


def write(model: fastrnn.Sequential, letters: str, start: str, count: int, warmth: float) -> str:
    """Go on from a start; warmth below 1 keeps to what is likely, above 1 it dares more."""
    rng, stream, text = np.random.default_rng(0), model.stream(), start
    for letter in start:
        scores = stream.step(np.array([letters.index(letter)]))
    for _ in range(count):
        chances = np.exp((scores[0] - scores.max()) / warmth, dtype=np.float64)
        drawn = rng.choice(len(letters), p=chances / chances.sum())
        text += letters[drawn]
        scores = stream.step(np.array([drawn]))
    return text


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument("--characters", type=int, help="of the text; all of it where not given")
    parser.add_argument("--start", default="The ")
    parser.add_argument("--warmth", type=float, default=0.6)
    options = parser.parse_args()

    text, letters = corpus()
    text = text[: options.characters]
    held = len(text) // 20
    model = fastrnn.Sequential(
        letters=fastrnn.Embedding(len(letters), 48, seed=0),
        lstm=fastrnn.LSTM(48, HIDDEN, seed=1),
        head=fastrnn.Linear(HIDDEN, len(letters), seed=2),
    )
    optimizer, start = fastrnn.Adam(model), time.perf_counter()
    for number in range(options.epochs):
        optimizer.lr = 8e-3 * 0.5 ** (4 * number / options.epochs)
        loss = epoch(model, optimizer, text[:-held])
        print(f"epoch {number + 1}: {loss / math.log(2):.2f} bits per character")
    seconds = time.perf_counter() - start
    print(write(model, letters, options.start, 400, options.warmth))
    print(f"held out: {bits(model, text[-held:]):.2f} bits per character after {seconds:.1f} s")


if __name__ == "__main__":
    main()
