"""Be your own teacher: self-distillation of early exits (Zhang et al., ICCV 2019, 1905.08094)."""

from jaxtyping import Bool, Float
from torch import Tensor

from tutelage import _check
from tutelage.losses.base import Schedule
from tutelage.losses.logits.base import LogitLoss
from tutelage.losses.logits.ce import cross_entropy
from tutelage.losses.logits.kd import tempered_divergence


def exit_loss(
    student: Float[Tensor, "*B C"],
    teacher: Float[Tensor, "*B C"],
    target: Tensor,
    *,
    temperature: float | Tensor = 3.0,
    alpha: float = 0.1,
    ignore_index: int = -100,
    kept: Bool[Tensor, "*B"] | None = None,
) -> Float[Tensor, "*B"]:
    r"""Measure how far an early exit is from the labels and from the deepest exit, in nats.

    .. math:: (1 - \alpha)\, \mathrm{CE}(z^e, y) + \alpha\, \mathrm{KL}(p \,\|\, q), \qquad
        p = \mathrm{softmax}(z^d / T), \quad q = \mathrm{softmax}(z^e / T)

    for each position: :math:`z^e` are the exit's logits, :math:`z^d` the deepest one's, a constant.
    As in the paper there is no factor :math:`T^2`, so the soft part is smaller than
    :class:`~tutelage.KDLoss` by that factor (9 by default). Neither batch size nor resolution
    counts; the soft part is about constant in the number of classes, as KD is.

    Args:
        student: Logits of the exit, ``[B, C]`` or ``[B, N, V]``.
        teacher: Logits of the deepest exit, of the same shape.
        target: Class indices ``[B]``, or probabilities of the logits' shape (mixup).
        temperature: T above 0; the authors use 3.
        alpha: Share of the deepest exit, from 0 to 1.
        ignore_index: Class index that drops a position.
        kept: Which positions count; ``None`` for all.

    >>> import torch
    >>> logits = torch.tensor([[0.0, 0.0]])
    >>> exit_loss(logits, logits, torch.tensor([1]))  # 0.9 log 2
    tensor([0.6238])
    """
    ce = cross_entropy(student, target, ignore_index=ignore_index)
    kl = tempered_divergence(student, teacher, temperature=temperature, kept=kept)
    return (1 - alpha) * ce + alpha / temperature**2 * kl


class BYOTLoss(LogitLoss):
    """Labels and the deepest exit, for an early exit, mean over positions. See :func:`exit_loss`.

    It stands with :class:`~tutelage.Itself` as the teacher:
    ``Term(BYOTLoss(), at=("stage2", None), via="paper")``. The paper adds a hint with weight 1e-6
    and a summed error between exits; that is a :class:`~tutelage.HintLoss` term of its own.

    Args:
        temperature: T above 0, or a schedule.
        alpha: Share of the deepest exit, from 0 to 1.
        ignore_index: Class index that drops a position.

    >>> BYOTLoss()
    BYOTLoss(temperature=3.0, alpha=0.1, ignore_index=-100)
    """

    name = "byot"
    paper = "1905.08094"
    needs_target = True
    projector = "exit_head"

    temperature: float | Tensor
    alpha: float

    def __init__(
        self,
        *,
        temperature: float | Schedule = 3.0,
        alpha: float = 0.1,
        ignore_index: int = -100,
    ) -> None:
        super().__init__(ignore_index=ignore_index)
        self._hyper("temperature", temperature, _check.positive)
        self.alpha = _check.fraction(alpha, "BYOTLoss.alpha")

    def values(
        self, student: Tensor, teacher: Tensor, target: Tensor, kept: Tensor | None
    ) -> Tensor:
        """Return the loss of each position."""
        return exit_loss(
            student,
            teacher,
            target,
            temperature=self._value("temperature"),
            alpha=self.alpha,
            ignore_index=self.ignore_index,
            kept=kept,
        )
