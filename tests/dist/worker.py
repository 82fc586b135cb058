"""What each process of test_training.py runs; alone it is the reference.

``python worker.py OUT`` or ``python -m torch.distributed.run --nproc-per-node 2 worker.py OUT``.
"""

import json
import sys
from pathlib import Path

import torch
from torch import Tensor, nn

import tutelage as tl
from tutelage.data import Splits, load
from tutelage.errors import NumericalError, RecipeError
from tutelage.runs import RunFolder
from tutelage.training import Ranks, TrainingSettings, fit, open_ranks


class Net(nn.Module):
    def __init__(self, width: int, seed: int) -> None:
        super().__init__()
        torch.manual_seed(seed)
        self.body = nn.Sequential(nn.Conv2d(1, width, 3, padding=1), nn.ReLU())
        self.deep = nn.Sequential(nn.Conv2d(width, 2 * width, 3, 2, padding=1), nn.ReLU())
        self.head = nn.Linear(2 * width, 10)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.deep(self.body(x)).mean((2, 3)))


# 100 images in batches of 17 leave a last batch of 15: neither can be halved.
SETTINGS = TrainingSettings(
    epochs=3,
    batch_size=17,
    lr=0.01,
    momentum=0.9,
    optimizer="sgd",
    scheduler="cosine",
    clip_norm=1.0,
    accumulate=2,
    log_every=1,
    checkpoint_every=1,
    device="cpu",
)


def build(extra: list[tl.Term] | None = None) -> tl.Distiller:
    student, teacher = Net(4, seed=0), Net(8, seed=1)
    torch.manual_seed(2)
    terms = [
        tl.Term(tl.CELoss(), 0.5),
        tl.Term(tl.KDLoss(temperature=4.0), 0.5),
        tl.Term(tl.HintLoss(), 0.3, at=("body", "body"), via="auto"),
        tl.Term(tl.ATLoss(), 10.0, at=("deep", "deep"), via=tl.ConvProjector(8, 16)),
    ]
    return tl.Distiller(student, tl.FrozenTeacher(teacher), [*terms, *(extra or [])])


def weights(distiller: tl.Distiller) -> dict[str, list[float]]:
    return {name: value.flatten().tolist() for name, value in distiller.named_parameters()}


def train(ranks: Ranks, run: RunFolder | None, data: Splits) -> dict[str, object]:
    distiller = build()
    found = fit(distiller, data, SETTINGS, seed=5, run=run)
    again = build()
    resumed = fit(again, data, SETTINGS, seed=5, run=run, resume=True)
    return {
        "weights": weights(distiller),
        "resumed": weights(again),
        "test": found.last.test.record(),
        "best": found.best.test.record(),
        "resumed_test": resumed.last.test.record(),
    }


def fail_on_the_last_rank(ranks: Ranks, data: Splits) -> dict[str, object]:
    """Let one process alone meet a loss that is not finite."""

    def poison(student: Tensor, teacher: Tensor) -> Tensor:
        bad = ranks.rank == ranks.world_size - 1
        return student.square().mean() * (float("inf") if bad else 1.0)

    distiller = build([tl.Term(poison, 1e-3)])
    before = Net(4, seed=0).state_dict()
    try:
        fit(distiller, data, SETTINGS, seed=5)
    except NumericalError as error:
        after = distiller.student.state_dict()
        same = all(torch.equal(after[name], value) for name, value in before.items())
        return {"error": str(error), "unchanged": same}
    return {}


def leave_a_layer_idle(data: Splits) -> str:
    distiller = build()
    distiller.student.idle = nn.Linear(2, 2)
    try:
        fit(distiller, data, SETTINGS, seed=5)
    except RecipeError as error:
        return str(error)
    return ""


def main(out: Path) -> None:
    torch.set_num_threads(1)
    data = load("digits", labelled=100)
    with open_ranks("cpu") as ranks:
        run = RunFolder.create(out, "run") if ranks.is_main else None
        report = train(ranks, run, data)
        report["failure"] = fail_on_the_last_rank(ranks, data)
        report["idle"] = leave_a_layer_idle(data) if ranks.world_size > 1 else ""
        (out / f"rank{ranks.rank}.json").write_text(json.dumps(report))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
