"""An exit: from a stage of the student to logits, as in one-for-all distillation (2310.19444)."""

from typing import Any, ClassVar, Literal, Self

from torch import Tensor, nn

from tutelage import _check
from tutelage.projectors.base import Projector

Pool = Literal["mean", "first"]


class ExitHead(Projector):
    """Pool a map, tokens or a vector and map it linearly to class logits ``[B, num_classes]``.

    The exits of the paper are deeper: depthwise convolutions, or merged patches and transformer
    blocks, come before the pooling. Give such a module of your own as ``via=`` where it matters.

    Args:
        in_features: Channels of the map ``[B, C, H, W]``, width of the tokens ``[B, N, D]`` or of
            the vector ``[B, D]``.
        num_classes: How many logits.
        pool: ``"mean"`` over pixels or tokens, or ``"first"`` for the class token.
        bias: Whether the linear map has a bias.

    Raises:
        InputError: ``pool`` is neither.
        ShapeError: In ``forward``, if the input has another width or number of axes.

    >>> import torch
    >>> ExitHead(64, 10)(torch.zeros(8, 64, 14, 14)).shape
    torch.Size([8, 10])
    """

    name: ClassVar[str] = "exit_head"

    def __init__(
        self, in_features: int, num_classes: int, *, pool: Pool = "mean", bias: bool = True
    ) -> None:
        super().__init__()
        self.pool = _check.one_of(pool, ("mean", "first"), "ExitHead.pool")
        self.linear = nn.Linear(in_features, num_classes, bias=bias)

    @classmethod
    def between(cls, student: Tensor, teacher: Tensor, **options: Any) -> Self:
        """Return the exit from a stage to as many classes as the teacher's logits have."""
        width = student.shape[1 if student.ndim == 4 else -1]
        return cls(width, teacher.shape[-1], **options)

    def forward(self, student: Tensor) -> Tensor:
        """Return ``[B, num_classes]``."""
        width = self.linear.in_features
        axis = 1 if student.ndim == 4 else -1
        if not 2 <= student.ndim <= 4 or student.shape[axis] != width:
            raise self._mismatch(
                f"[B, {width}, H, W], [B, N, {width}] or [B, {width}]",
                student,
                "set in_features to the stage's channels; maps must be channels-first",
            )
        logits: Tensor = self.linear(self._pooled(student))
        return logits

    def extra_repr(self) -> str:
        """Show the pooling."""
        return f"pool={self.pool!r}"

    def _pooled(self, student: Tensor) -> Tensor:
        if student.ndim == 2:
            return student
        tokens = student.flatten(2).transpose(1, 2) if student.ndim == 4 else student
        return tokens[:, 0] if self.pool == "first" else tokens.mean(1)
