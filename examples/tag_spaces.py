# SPDX-License-Identifier: MIT
"""Many to many, equal length: where the spaces were in text that has lost them.

    python examples/tag_spaces.py [--epochs N] [--one-way]

Each character is tagged 1 where a word ends, as in the segmentation of Chinese. An LSTM that reads
both ways sees the letters that come as well as those that went; `--one-way` does not. The text is
the reference of the Python language, which Python has with it; the last tenth is held out.

F1 of the ends of words: both ways 0.92 in 12 s, one way 0.77 in 6 s (one thread, Zen 4).
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
    """Letters (N, STEPS) as indices, and 1 where a word ends."""
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
    """Of the ends of words: the harmonic mean of how many are found and how many are right."""
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
