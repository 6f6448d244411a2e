# SPDX-License-Identifier: MIT
"""Many to many, equal length: restores the spaces of a text.

    python examples/tag_spaces.py [--epochs N] [--one-way]

A character is tagged 1 if a word ends there, as in the segmentation of Chinese. A bidirectional
LSTM uses the letters before and after each position; `--one-way` uses only those before. The text
is the Python language reference, which comes with Python; the last tenth is for the test.

Result: F1 of the ends of words 0.92 in 12 s, with one direction 0.77 in 6 s (one thread, Zen 4).
"""

from __future__ import annotations

import argparse
import re
import string
from pydoc_data.topics import topics

import numpy as np

import fastrnn

LETTERS = string.ascii_lowercase
STEPS, HIDDEN = 60, 64


def sentences() -> tuple[np.ndarray, np.ndarray]:
    """Return letters (N, STEPS) as indices, and tags: 1 where a word ends."""
    prose = [re.sub(r"[^a-z]+", " ", topics[name].lower()).split() for name in sorted(topics)]
    words = [word for part in prose for word in part]
    letters = np.array([LETTERS.index(c) for word in words for c in word])
    ends = np.array([n == len(word) - 1 for word in words for n in range(len(word))], np.int64)
    count = len(letters) // STEPS * STEPS
    return letters[:count].reshape(-1, STEPS), ends[:count].reshape(-1, STEPS)


def build(both_ways: bool) -> fastrnn.Sequential:
    return fastrnn.Sequential(
        {
            "letters": fastrnn.Embedding(len(LETTERS), 16, seed=0),
            "lstm": fastrnn.LSTM(16, HIDDEN, batch_first=True, bidirectional=both_ways, seed=1),
            "drop": fastrnn.Dropout(0.4),
            "tags": fastrnn.Linear(HIDDEN * (1 + both_ways), 2, seed=2),
        }
    )


def f1(found: np.ndarray, wanted: np.ndarray) -> float:
    """Return the F1 score: the harmonic mean of precision and recall of the ends of words."""
    return 2 * np.sum(found & wanted) / (np.sum(found) + np.sum(wanted))


def spaced(letters: np.ndarray, ends: np.ndarray) -> str:
    return "".join(LETTERS[n] + " " * int(end) for n, end in zip(letters, ends, strict=True))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--epochs", type=int, default=6)
    parser.add_argument("--one-way", action="store_true")
    options = parser.parse_args()

    letters, ends = sentences()
    held = len(letters) // 10
    model = build(not options.one_way)
    history = fastrnn.fit(
        model,
        (letters[:-held], ends[:-held]),
        fastrnn.cross_entropy,
        fastrnn.Adam(model, lr=5e-3),
        epochs=options.epochs,
        seed=0,
        clip_norm=1.0,
        progress=lambda now: now.record and print(f"epoch {now.epoch}: loss {now.loss:.3f}"),
    )
    scores, _ = model(letters[-held:])
    found = scores.argmax(axis=2)
    for row in (-1, -2):
        print(spaced(letters[row], found[row]))
    score = f1(found, ends[-held:])
    print(f"F1 {score:.3f} on {held} lines, trained in {sum(history['seconds']):.1f} s")


if __name__ == "__main__":
    main()
