"""A hint from the middle of the teacher (FitNets), as the tutorials mean it.

The teacher's head is trained before anyone learns from it, the projector stands on the student's
side and in the optimiser, the best student by validation is kept as a copy, and the same student
trained alone says what the teacher was worth. `tutelage check docs/counter_example.py:wiring`
shows what happens otherwise.
"""

import torch

import tutelage as tl
from tutelage import data, models
from tutelage.training import TrainingSettings, fit

SETTINGS = TrainingSettings(steps=300, batch_size=50, lr=3e-3, selection="best", device="cpu")


def net(*widths: int) -> torch.nn.Module:
    torch.manual_seed(0)
    return models.create("mlp", num_classes=10, in_channels=1, size=(8, 8), widths=widths)


def main() -> None:
    torch.set_num_threads(1)
    digits = data.load("digits", labelled=100, seed=0)
    with tl.Distiller(big := net(256, 256), None, [tl.CELoss()]) as alone:
        teacher = fit(alone, data.load("digits", seed=0), SETTINGS, seed=0)
    big.load_state_dict(teacher.student)  # the best by validation, not the last
    print(f"teacher        {teacher.scores.test.accuracy:.1%}")

    with tl.Distiller(net(32), None, [tl.CELoss()]) as alone:
        baseline = fit(alone, digits, SETTINGS, seed=0)
    print(f"student alone  {baseline.scores.test.accuracy:.1%}")

    terms = [
        tl.Term(tl.CELoss(), 0.1),
        tl.Term(tl.KDLoss(temperature=3.0), 0.9),
        tl.Term(tl.HintLoss(), 10.0, at=("act1", "act2"), via="auto"),  # 32 values to 256
    ]
    example = digits.labelled.__getitems__(range(4)).inputs
    with tl.Distiller(net(32), tl.FrozenTeacher(big), terms, example=example) as distiller:
        result = fit(distiller, digits, SETTINGS, seed=0)
        student = distiller.student_only()
    student.load_state_dict(result.student)  # plain weights: no projector, no hooks, no teacher
    print(f"with the hint  {result.scores.test.accuracy:.1%}  (epoch {result.scores.epoch})")


if __name__ == "__main__":
    main()
