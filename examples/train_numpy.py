# SPDX-License-Identifier: MIT
"""Trains a classifier of handwritten digits with numpy and fastrnn alone.

    python examples/train_numpy.py [EPOCHS]

A GRU reads an image row by row, and a linear layer classifies its last state. `layer.vjp` runs the
GRU and returns a function that computes gradients. The rest is stochastic gradient descent with
momentum; the norm of the gradients is clipped to 1. Of the 450 images in the package, 350 are for
training and 100 for the test.
"""

from __future__ import annotations

import sys

import numpy as np

import fastrnn
from fastrnn.demo import DATA

HIDDEN, BATCH, TRAINED = 48, 25, 350
RATE, MOMENTUM, MOST_NORM = 0.2, 0.9, 1.0

Arrays = dict[str, np.ndarray]


def softmax(scores: np.ndarray) -> np.ndarray:
    e = np.exp(scores - scores.max(axis=1, keepdims=True))
    return e / e.sum(axis=1, keepdims=True)


def loss_and_gradients(
    gru: fastrnn.GRU, head: Arrays, x: np.ndarray, labels: np.ndarray
) -> tuple[float, Arrays]:
    """Return the mean cross entropy of a batch, and its gradients by the names of the weights."""
    _, h, backward = gru.vjp(x)
    features = h[0]
    chances = softmax(features @ head["w"].T + head["b"])
    rows = np.arange(len(labels))
    loss = -np.log(chances[rows, labels]).mean()
    chances[rows, labels] -= 1.0
    dscores = chances / len(labels)
    dh = (dscores @ head["w"])[None].astype(np.float32)
    found = {"w": dscores.T @ features, "b": dscores.sum(axis=0)}
    return float(loss), {**found, **backward(None, dh).weights}


def clip(gradients: Arrays) -> None:
    """Scale all gradients so that their norm is at most MOST_NORM."""
    norm = np.sqrt(sum(float((g**2).sum()) for g in gradients.values()))
    for gradient in gradients.values():
        gradient *= min(1.0, MOST_NORM / norm)


def accuracy(gru: fastrnn.GRU, head: Arrays, x: np.ndarray, labels: np.ndarray) -> float:
    _, h = gru(x)
    return float(((h[0] @ head["w"].T + head["b"]).argmax(axis=1) == labels).mean())


def train(epochs: int) -> float:
    """Train and return the share of test images that are classified correctly."""
    rng = np.random.default_rng(0)
    with np.load(DATA / "digits_heldout.npz") as file:
        images, labels = file["inputs"].astype(np.float32) / 16, file["labels"].astype(int)
    order = rng.permutation(len(images))
    images, labels = images[order], labels[order]

    gru = fastrnn.GRU(8, HIDDEN, batch_first=True, seed=0)
    head = {"w": rng.normal(0, 0.1, (10, HIDDEN)), "b": np.zeros(10)}
    speed: Arrays = {}
    for epoch in range(epochs):
        total = 0.0
        for rows in rng.permutation(TRAINED).reshape(-1, BATCH):
            loss, gradients = loss_and_gradients(gru, head, images[rows], labels[rows])
            clip(gradients)
            weights = gru.state_dict()
            for name, gradient in gradients.items():
                speed[name] = MOMENTUM * speed.get(name, 0.0) - RATE * gradient
                (head if name in head else weights)[name] += speed[name]
            gru.load_state_dict(weights)
            total += loss / (TRAINED // BATCH)
        if epoch % 5 == 0 or epoch == epochs - 1:
            print(f"epoch {epoch}: loss {total:.3f}")
    return accuracy(gru, head, images[TRAINED:], labels[TRAINED:])


if __name__ == "__main__":
    share = train(int(sys.argv[1]) if len(sys.argv) > 1 else 30)
    print(f"recognised: {share:.0%} of 100 images not trained on")
