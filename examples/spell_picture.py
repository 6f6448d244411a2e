# SPDX-License-Identifier: MIT
"""One to many: spells out the digit in a picture, letter by letter.

    python examples/spell_picture.py [--epochs N] [--plot FILE]

A linear layer computes the first state of a GRU from the 64 pixels. The GRU then writes "s", "e",
"v", "e", "n" and a full stop; each letter is its next input. Vinyals et al. (2015) caption
photographs this way. Of the 450 handwritten digits in the package, 350 are for training and 100 for
the test.

Result: 96 of 100 spelled correctly after 2 s (one thread, Zen 4).
"""

from __future__ import annotations

import argparse
import time
from importlib.util import find_spec

import numpy as np

import fastrnn
from fastrnn.demo import DATA

WORDS = ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"]
LETTERS = ".^" + "".join(sorted({letter for word in WORDS for letter in word}))  # end, start
HIDDEN, BATCH, TRAINED, LONGEST = 96, 25, 350, 6


def pictures() -> tuple[np.ndarray, np.ndarray]:
    """Return pixels (450, 64) from 0 to 1 and digits, in an order that mixes the writers."""
    with np.load(DATA / "digits_heldout.npz") as file:
        order = np.random.default_rng(0).permutation(len(file["labels"]))
        pixels = file["inputs"].reshape(-1, 64).astype(np.float32) / 16
        return pixels[order], file["labels"][order]


def spelled(digits: np.ndarray) -> tuple[np.ndarray, list[int]]:
    """Return the letters of the digits' words (T, B), padded with full stops, and lengths."""
    words = [WORDS[digit] + "." for digit in digits]
    letters = [[LETTERS.index(c) for c in word.ljust(LONGEST, ".")] for word in words]
    return np.array(letters).T, [len(word) for word in words]


class Speller:
    """Pixels -> first state; letters -> vectors -> GRU -> scores of the next letter."""

    def __init__(self) -> None:
        self.parts = {
            "look": fastrnn.Sequential(fastrnn.Linear(64, HIDDEN, seed=0), fastrnn.Tanh()),
            "letters": fastrnn.Embedding(len(LETTERS), 16, seed=1),
            "gru": fastrnn.GRU(16, HIDDEN, seed=2),
            "head": fastrnn.Linear(HIDDEN, len(LETTERS), seed=3),
        }

    def gradients(self, pixels: np.ndarray, digits: np.ndarray) -> tuple[float, dict]:
        look, letters, gru, head = self.parts.values()
        wanted, lengths = spelled(digits)
        start = np.full((1, len(digits)), LETTERS.index("^"))
        h, _, look_back = look.vjp(pixels)
        vectors, _, letters_back = letters.vjp(np.concatenate([start, wanted[:-1]]))
        y, _, gru_back = gru.vjp(vectors, h[None], lengths=lengths)
        scores, _, head_back = head.vjp(y)
        loss, dscores = fastrnn.cross_entropy(scores, wanted, lengths=lengths)
        of_head = head_back(dscores)
        of_gru = gru_back(of_head.x)
        found = [look_back(of_gru.state[0]), letters_back(of_gru.x), of_gru, of_head]
        return loss, {
            f"{part}.{name}": gradient
            for part, grads in zip(self.parts, found, strict=True)
            for name, gradient in grads.weights.items()
        }

    def spell(self, pixels: np.ndarray) -> list[str]:
        """Decode greedily: the most likely letter at each step, up to the full stop."""
        look, letters, gru, head = self.parts.values()
        stream = gru.stream(len(pixels))
        stream.state = look(pixels)[0][None]
        now, rows = np.full(len(pixels), LETTERS.index("^")), []
        for _ in range(LONGEST):
            now = head(stream.step(letters(now)[0]))[0].argmax(axis=1)
            rows.append(now)
        return ["".join(LETTERS[n] for n in row).split(".")[0] for row in np.array(rows).T]


def draw_pictures(pixels: np.ndarray, words: list[str], path: str) -> None:
    from matplotlib.figure import Figure

    figure = Figure()
    for axes, picture, word in zip(figure.subplots(3, 6).flat, pixels, words, strict=False):
        axes.imshow(picture.reshape(8, 8), cmap="Greys")
        axes.set_title(word)
        axes.axis("off")
    figure.savefig(path)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--epochs", type=int, default=40)
    parser.add_argument("--plot", metavar="FILE")
    options = parser.parse_args()
    if options.plot and find_spec("matplotlib") is None:
        parser.error("--plot needs matplotlib: pip install matplotlib")

    pixels, digits = pictures()
    model, rng, start = Speller(), np.random.default_rng(0), time.perf_counter()
    optimizer = fastrnn.Adam(model.parts, lr=3e-3)
    for epoch in range(1, options.epochs + 1):
        for rows in rng.permutation(TRAINED).reshape(-1, BATCH):
            loss, gradients = model.gradients(pixels[rows], digits[rows])
            fastrnn.clip_grad_norm(gradients, 1.0)
            optimizer.step(gradients)
        if epoch % 10 == 0:
            print(f"epoch {epoch}: loss {loss:.3f}, {time.perf_counter() - start:.1f} s")
    words = model.spell(pixels[TRAINED:])
    share = np.mean([word == WORDS[n] for word, n in zip(words, digits[TRAINED:], strict=True)])
    print(f"spelled right: {share:.0%} of 100 pictures not trained on, as {', '.join(words[:6])}")
    if options.plot:
        draw_pictures(pixels[TRAINED:], words, options.plot)


if __name__ == "__main__":
    main()
