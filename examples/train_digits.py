# SPDX-License-Identifier: MIT
"""Trains the digit classifier of `fastrnn demo` with PyTorch and exports its files.

    python examples/train_digits.py [FOLDER]        # needs torch and scikit-learn

An 8x8 image is read row by row: 8 steps of 8 pixels, scaled to 0..1. The classifier is an LSTM and
a linear layer on its last step. Images keep the order of the data set, in which those of one writer
are close together. The first 1,347 are for training, the last 450, mostly by other writers, for the
test.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import torch
from sklearn.datasets import load_digits
from torch import nn

DATA = Path(__file__).resolve().parent.parent / "fastrnn" / "demo_data"
HELD_OUT = 450
HIDDEN = 64
PIXEL_MAX = 16  # a pixel counts the dark points of a 4x4 block: 0..16
RECORDED = 50  # the number of images whose outputs are stored at every step; logits: all


class RowReader(nn.Module):
    """Digit classifier over the rows of an image: x [batch][rows][pixels] -> logits [batch][10]."""

    def __init__(self, pixels: int = 8, hidden: int = HIDDEN) -> None:
        super().__init__()
        self.lstm = nn.LSTM(pixels, hidden, batch_first=True)
        self.head = nn.Linear(hidden, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y, _ = self.lstm(x)
        return self.head(y[:, -1])


def shifted(images: torch.Tensor) -> torch.Tensor:
    """Shift each image by -1, 0 or 1 pixels in both axes: simple data augmentation."""
    padded = nn.functional.pad(images, (1, 1, 1, 1))
    down, right = (torch.randint(0, 3, (len(images), 1)) for _ in range(2))
    rows, columns = torch.arange(8) + down, torch.arange(8) + right
    return padded[torch.arange(len(images))[:, None, None], rows[:, :, None], columns[:, None, :]]


def train(model: RowReader, images: torch.Tensor, labels: torch.Tensor, epochs: int = 100) -> None:
    batch = 64
    steps = epochs * -(-len(images) // batch)
    optimizer = torch.optim.AdamW(model.parameters(), lr=5e-3, weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=5e-3, total_steps=steps)
    for epoch in range(epochs):
        total = 0.0
        for rows in torch.randperm(len(images)).split(batch):
            logits = model(shifted(images[rows]))
            loss = nn.functional.cross_entropy(logits, labels[rows], label_smoothing=0.05)
            optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            schedule.step()
            total += loss.item() * len(rows)
        if (epoch + 1) % 20 == 0:
            print(f"epoch {epoch + 1}: training loss {total / len(images):.4f}")


@torch.inference_mode()
def export(model: RowReader, pixels: np.ndarray, labels: np.ndarray, folder: Path) -> None:
    """Store the weights, the test images (uint8, 0..16) and PyTorch's outputs for them."""
    x = torch.from_numpy(pixels.astype(np.float32) / PIXEL_MAX)
    outputs, _ = model.lstm(x)
    logits = model.head(outputs[:, -1])
    accuracy = (logits.argmax(1).numpy() == labels).mean()
    print(f"held out: {len(labels)} images, accuracy {accuracy:.4f}")
    folder.mkdir(parents=True, exist_ok=True)
    torch.save(model.state_dict(), folder / "digits_lstm.pt")
    np.savez_compressed(
        folder / "digits_heldout.npz",
        inputs=pixels,
        labels=labels.astype(np.uint8),
        outputs=outputs[:RECORDED].numpy(),
        logits=logits.numpy(),
    )


def main(folder: Path) -> None:
    torch.set_num_threads(1)
    torch.manual_seed(0)
    digits = load_digits()
    pixels = digits.images.astype(np.uint8)
    images = torch.from_numpy(pixels[:-HELD_OUT].astype(np.float32) / PIXEL_MAX)
    labels = torch.from_numpy(digits.target[:-HELD_OUT])
    model = RowReader()
    train(model, images, labels)
    export(model, pixels[-HELD_OUT:], digits.target[-HELD_OUT:], folder)


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else DATA)
