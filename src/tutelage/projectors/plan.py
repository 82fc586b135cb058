"""What an automatic projector must do, read off the two shapes: a pure function."""

import math
from dataclasses import dataclass
from typing import Literal

from tutelage.errors import ShapeError
from tutelage.projectors.resize import Size

Shape = tuple[int, ...]
Kind = Literal["identity", "linear", "conv 1x1", "tokens to map", "map to tokens"]

MOST_PREFIX_TOKENS = 5  # a class token and four registers


@dataclass(frozen=True)
class Plan:
    """The way from a student's shape to a teacher's, both without the batch axis.

    Args:
        kind: What the projector becomes.
        student: Shape of one student sample.
        teacher: Shape of one teacher sample.
        in_width: Channels or width of the student's tensor.
        out_width: Channels or width of the teacher's tensor.
        size: Spatial size of the result, where it must be resized or laid out.
        grid: Rows and columns of the student's tokens (tokens to map only).
        prefix: Leading tokens that are not patches, on the side that has tokens.
    """

    kind: Kind
    student: Shape
    teacher: Shape
    in_width: int
    out_width: int
    size: Size | None = None
    grid: Size | None = None
    prefix: int = 0

    def __str__(self) -> str:
        """Show the way: ``[64,14,14] -> [256,7,7]: conv 1x1, resize``."""
        resize = ", resize" if self.kind == "conv 1x1" and self.size else ""
        return f"{_text(self.student)} -> {_text(self.teacher)}: {self.kind}{resize}"


def plan_for(student: Shape, teacher: Shape) -> Plan:
    """Return the plan for one sample's shapes: ``[D]``, ``[N, D]`` (tokens) or ``[C, H, W]``.

    Raises:
        ShapeError: If no automatic way exists: another number of axes, tokens of another count,
            or tokens that do not fill a grid.

    >>> str(plan_for((64, 14, 14), (256, 7, 7)))
    '[64,14,14] -> [256,7,7]: conv 1x1, resize'
    """
    axes = (len(student), len(teacher))
    if student == teacher:
        width = student[0] if axes[0] == 3 else student[-1] if student else 1
        return Plan("identity", student, teacher, width, width)
    if axes == (1, 1) or (axes == (2, 2) and student[0] == teacher[0]):
        return Plan("linear", student, teacher, student[-1], teacher[-1])
    if axes == (3, 3):
        size = None if student[1:] == teacher[1:] else (teacher[1], teacher[2])
        return Plan("conv 1x1", student, teacher, student[0], teacher[0], size=size)
    if axes == (2, 3):
        grid, prefix = _grid(student, teacher)
        size = (teacher[1], teacher[2])
        return Plan("tokens to map", student, teacher, student[1], teacher[0], size, grid, prefix)
    if axes == (3, 2):
        size, prefix = _grid(teacher, student)
        return Plan("map to tokens", student, teacher, student[0], teacher[1], size, prefix=prefix)
    raise _no_way(student, teacher, _advice(axes))


def _grid(tokens: Shape, maps: Shape) -> tuple[Size, int]:
    """Return the token grid and the prefix: the map's own grid if it fits, else a square."""
    count, (rows, columns) = tokens[0], maps[1:]
    if 0 <= count - rows * columns <= MOST_PREFIX_TOKENS:
        return (rows, columns), count - rows * columns
    for prefix in range(min(MOST_PREFIX_TOKENS, count - 1) + 1):
        side = math.isqrt(count - prefix)
        if side * side == count - prefix:
            return (side, side), prefix
    advice = (
        "the tokens fill no square grid; state it with TokensToMap(size=..., prefix_tokens=...)"
    )
    raise _no_way(tokens, maps, advice)


def _advice(axes: tuple[int, int]) -> str:
    if axes == (2, 2):
        return "the number of tokens differs; name layers that give the same number of tokens"
    return "name layers that both give vectors [B, D], tokens [B, N, D] or maps [B, C, H, W]"


def _no_way(student: Shape, teacher: Shape, advice: str) -> ShapeError:
    return ShapeError(
        f"AutoProjector: expected shapes that one projection joins, found per-sample shapes "
        f"{_text(student)} vs {_text(teacher)}; {advice}"
    )


def _text(shape: Shape) -> str:
    return "[" + ",".join(map(str, shape)) + "]"
