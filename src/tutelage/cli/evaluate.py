"""``tutelage evaluate``: the student of a run folder, tested again."""

from enum import Enum
from typing import Annotated

import typer

from tutelage.cli.arguments import Device, Run


class Part(str, Enum):
    """Which images to evaluate on."""

    train = "train"
    validation = "validation"
    test = "test"


def evaluate(
    run: Run,
    on: Annotated[Part, typer.Option("--on", help="Which images.")] = Part.test,
    device: Device = None,
) -> None:
    """Evaluate the student of a run folder, beside its teacher."""
    from tutelage.recipes import evaluate_run
    from tutelage.runs import RunFolder

    found = evaluate_run(RunFolder(run), on.value, device or "auto")
    typer.echo(f"on {found.images}")
    student, teacher = found.student, found.teacher
    typer.echo(f"student  accuracy {student.accuracy:.2%}  NLL {student.nll:.4f}  ECE {student.ece:.3f}")
    if teacher is not None:
        typer.echo(
            f"teacher  accuracy {teacher.accuracy:.2%}  NLL {teacher.nll:.4f}  ECE {teacher.ece:.3f}"
        )
        typer.echo(f"agreement {student.agreement:.2%}  KL(teacher || student) {student.kl:.4f} nats")
