"""Find layers of two networks that fit together, and distil at them with projectors."""

import torch

import tutelage as tl
from tutelage.models import create


def main() -> dict[str, float]:
    torch.manual_seed(0)
    student = create("small_cnn", widths=(8, 16, 32), num_classes=10, in_channels=1, size=(28, 28))
    teacher = create("small_cnn", widths=(16, 32, 64), num_classes=10, in_channels=1, size=(28, 28))
    x, y = torch.randn(16, 1, 28, 28), torch.randint(10, (16,))

    pairs = tl.match_layers(student, teacher, x)
    for pair in pairs:
        print(f"{pair.student} {pair.student_shape}  ->  {pair.teacher} {pair.teacher_shape}")

    terms = [tl.Term(tl.CELoss()), tl.Term(tl.KDLoss(temperature=4.0))]
    terms += [tl.Term(tl.HintLoss(), at=(p.student, p.teacher), via="auto") for p in pairs]
    # With an example the projectors have their shapes before the optimiser is made.
    distiller = tl.Distiller(student, tl.FrozenTeacher(teacher), terms, example=x)
    optimiser = torch.optim.SGD(distiller.parameters(), lr=0.01)
    for _ in range(5):
        optimiser.zero_grad()
        step = distiller(x, y)
        step.loss.backward()
        optimiser.step()
    distiller.close()
    return {name: float(value) for name, value in step.parts.items()}


if __name__ == "__main__":
    for name, value in main().items():
        print(f"{name:<16} {value:.4f}")
