"""``tutelage evaluate``: the student of a run folder, tested again."""

from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer

from tutelage.cli.arguments import Device, Run

if TYPE_CHECKING:
    from tutelage.training import Evaluation


class Part(StrEnum):
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
    typer.echo(f"student    {_words(found.student)}")
    if found.teacher is not None:
        typer.echo(f"teacher    {_words(found.teacher)}")
        typer.echo(
            f"agreement  {found.student.agreement:.2%}, "
            f"KL(teacher || student) {found.student.kl:.4f} nats"
        )


def _words(found: "Evaluation") -> str:
    return f"accuracy {found.accuracy:.2%}, NLL {found.nll:.4f} nats, ECE {found.ece:.3f}"
