"""What each process of test_training.py runs to train twice with nothing held open between."""

import json
import sys
from pathlib import Path

import torch
from torch import nn

import tutelage as tl
from tutelage.data import load
from tutelage.training import TrainingSettings, fit, open_ranks


def train(data: tl.data.Splits) -> tuple[int, float]:
    torch.manual_seed(0)
    student = nn.Sequential(nn.Flatten(), nn.Linear(64, 10))
    # The last batch of an epoch has 2 images: one for each process.
    settings = TrainingSettings(epochs=2, batch_size=16, device="cpu")
    found = fit(tl.Distiller(student, None, [tl.CELoss()]), data, settings, seed=0)
    return found.steps, found.last.test.nll


def main(out: Path) -> None:
    torch.set_num_threads(1)
    data = load("digits", labelled=50)
    fits = [train(data) for _ in range(2)]
    with open_ranks("cpu") as ranks:
        (out / f"rank{ranks.rank}.json").write_text(json.dumps(fits))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
