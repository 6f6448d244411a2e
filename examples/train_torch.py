# SPDX-License-Identifier: MIT
"""Trains a PyTorch model twice from the same weights: unchanged, and with one more line.

    python examples/train_torch.py [--steps 60] [--hidden 256] [--plot losses.png]   # needs torch

The model learns to continue a text, character by character: an embedding, two GRU layers, a linear
layer and Adam, in plain PyTorch code. The additional line is the one with `accelerate`.
"""

from __future__ import annotations

import argparse
import copy
import time
from importlib.util import find_spec
from pathlib import Path

import torch
from torch import nn

import fastrnn.torch

STEPS, BATCH = 64, 32  # consecutive characters, and texts in a batch
WARM_UP = 2  # training steps that are not timed


class Writer(nn.Module):
    """Characters [batch][steps] -> scores of the next one [batch][steps][characters]."""

    def __init__(self, characters: int, hidden: int) -> None:
        super().__init__()
        self.embedding = nn.Embedding(characters, 64)
        self.rnn = nn.GRU(64, hidden, num_layers=2, batch_first=True)
        self.head = nn.Linear(hidden, characters)

    def forward(self, text: torch.Tensor) -> torch.Tensor:
        outputs, _ = self.rnn(self.embedding(text))
        return self.head(outputs)


def read_text() -> tuple[torch.Tensor, int]:
    """Return the sources of the package fastrnn as indices, and the number of characters."""
    folder = Path(fastrnn.__file__).parent
    text = "".join(path.read_text(encoding="utf-8") for path in sorted(folder.glob("*.py")))
    characters = sorted(set(text))
    return torch.tensor([characters.index(c) for c in text]), len(characters)


def train(model: nn.Module, text: torch.Tensor, steps: int) -> tuple[list[float], float]:
    """Train and return the loss of each step and the seconds per step."""
    torch.manual_seed(0)
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    losses, start = [], 0.0
    for step in range(steps):
        if step == WARM_UP:
            start = time.perf_counter()
        places = torch.randint(len(text) - STEPS - 1, (BATCH, 1)) + torch.arange(STEPS + 1)
        batch = text[places]
        scores = model(batch[:, :-1])
        loss = nn.functional.cross_entropy(scores.flatten(0, 1), batch[:, 1:].flatten())
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        losses.append(loss.item())
    return losses, (time.perf_counter() - start) / (steps - WARM_UP)


def plot(curves: dict[str, list[float]], path: Path) -> None:
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    _, axes = plt.subplots(figsize=(6, 4), layout="constrained")
    for (name, losses), style in zip(curves.items(), ("-", "--"), strict=True):
        axes.plot(losses, style, label=name)
    axes.set(xlabel="training step", ylabel="loss per character (nats)")
    axes.legend()
    plt.savefig(path, dpi=150)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--steps", type=int, default=60, help="training steps (%(default)s)")
    parser.add_argument("--hidden", type=int, default=256, help="hidden units (%(default)s)")
    parser.add_argument("--plot", type=Path, metavar="FILE", help="write the two curves there")
    options = parser.parse_args()
    if options.plot and find_spec("matplotlib") is None:
        parser.error("--plot needs matplotlib: pip install matplotlib")

    text, characters = read_text()
    torch.manual_seed(0)
    model = Writer(characters, options.hidden)
    other = copy.deepcopy(model)
    fastrnn.torch.accelerate(other)  # the line

    curves, seconds = {}, {}
    for name, trained in (("torch.nn", model), ("fastrnn", other)):
        curves[name], seconds[name] = train(trained, text, options.steps)
    print("step  torch.nn   fastrnn")
    for step in range(0, options.steps, max(1, options.steps // 10)):
        print(f"{step:4}  {curves['torch.nn'][step]:8.5f}  {curves['fastrnn'][step]:8.5f}")
    print(f"ms per step: torch.nn {seconds['torch.nn'] * 1e3:.1f}, "
          f"fastrnn {seconds['fastrnn'] * 1e3:.1f}; "
          f"speed-up {seconds['torch.nn'] / seconds['fastrnn']:.2f}")  # fmt: skip
    if options.plot:
        plot(curves, options.plot)


if __name__ == "__main__":
    main()
