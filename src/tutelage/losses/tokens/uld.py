"""Universal logit distillation across vocabularies (Boizard et al., TMLR 2025, 2402.12030)."""

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn import functional as F

from tutelage import _check
from tutelage.errors import ShapeError
from tutelage.losses.base import Schedule, widen
from tutelage.losses.logits.base import LogitLoss
from tutelage.losses.reduction import blank_dropped, is_kept


def sorted_distance(
    student: Float[Tensor, "*B V"],
    teacher: Float[Tensor, "*B W"],
    *,
    temperature: float | Tensor = 1.0,
    teacher_temperature: float | Tensor = 1.0,
    kept: Bool[Tensor, "*B"] | None = None,
) -> Float[Tensor, "*B"]:
    r"""Measure the distance of the sorted probabilities: from 0 to 2, whatever the classes mean.

    .. math:: \sum_i \left| q_{(i)} - p_{(i)} \right|, \qquad
        q = \mathrm{softmax}(z^s / T_s), \quad p = \mathrm{softmax}(z^t / T_t)

    with the probabilities of either side from the largest down, and zeros behind those of the
    smaller vocabulary. It is the optimal transport between the two where every move costs the
    same (equation 5 of the paper). Which class is likely does not count, only how sure each is.

    Args:
        student: Logits ``[..., V]``.
        teacher: Logits ``[..., W]`` of the same positions, in any vocabulary.
        temperature: The student's, above 0.
        teacher_temperature: The teacher's, above 0.
        kept: Which positions count; the others are 0, whatever their logits. ``None`` for all.

    Raises:
        ShapeError: The positions differ, or there are fewer than two classes.

    The classes' names do not count:

    >>> import torch
    >>> teacher = torch.tensor([[0.5, 0.0, 0.5]]).log()
    >>> sorted_distance(torch.tensor([[0.5, 0.5]]).log(), teacher)
    tensor([0.])
    """
    for logits in (student, teacher):
        _check.logits(logits, "ULDLoss")
    if student.shape[:-1] != teacher.shape[:-1]:
        raise ShapeError(
            f"ULDLoss: expected logits of the same positions, found student "
            f"{_check.shape(student)} vs teacher {_check.shape(teacher)}; where the tokenizers "
            "differ, pair the tokens of both answers with paired_answers"
        )
    sides = ((student, temperature), (teacher.detach(), teacher_temperature))
    q, p = (
        (widen(blank_dropped(logits, kept)) / t).softmax(-1).sort(-1, descending=True).values
        for logits, t in sides
    )
    extra = p.shape[-1] - q.shape[-1]
    q, p = F.pad(q, (0, max(extra, 0))), F.pad(p, (0, max(-extra, 0)))
    values = (q - p).abs().sum(-1)
    return values if kept is None else values.masked_fill(~kept, 0.0)


class ULDLoss(LogitLoss):
    """Distance of sorted probabilities, mean over positions. See :func:`sorted_distance`.

    The two vocabularies may differ. Two tokenizers also cut one text into different tokens: which
    positions stand for each other is then up to ``paired_answers``, or to better knowledge. The
    paper adds it to the cross-entropy with weight 1.5.

    Args:
        temperature: The student's, above 0, or a schedule from the optimiser step to it.
        teacher_temperature: The teacher's.
        ignore_index: Class index that drops a position, where class indices are given.

    >>> import torch
    >>> ULDLoss()(torch.tensor([[0.0, 99.0]]), torch.zeros(1, 4))  # 3/4 too much, 3/4 too little
    tensor(1.5000)
    """

    name = "uld"
    paper = "2402.12030"

    temperature: float | Tensor
    teacher_temperature: float | Tensor

    def __init__(
        self,
        *,
        temperature: float | Schedule = 1.0,
        teacher_temperature: float | Schedule = 1.0,
        ignore_index: int = -100,
    ) -> None:
        super().__init__(ignore_index=ignore_index)
        self._hyper("temperature", temperature, _check.positive)
        self._hyper("teacher_temperature", teacher_temperature, _check.positive)

    def values(
        self,
        student: Float[Tensor, "*B V"],
        teacher: Float[Tensor, "*B W"] | None,
        target: Tensor | None,
        kept: Bool[Tensor, "*B"] | None,
    ) -> Float[Tensor, "*B"]:
        """Return the distance of each position, without unit."""
        assert teacher is not None
        return sorted_distance(
            student,
            teacher,
            temperature=self._value("temperature"),
            teacher_temperature=self._value("teacher_temperature"),
            kept=kept,
        )


def paired_answers(
    student: Float[Tensor, "B N V"],
    teacher: Float[Tensor, "B M W"],
    student_target: Int[Tensor, "B N"],
    teacher_target: Int[Tensor, "B M"],
    *,
    shift: int,
    ignore_index: int = -100,
) -> tuple[Float[Tensor, "B n V"], Float[Tensor, "B n W"], Int[Tensor, "B n"]]:
    """Pair the i-th answer token of the student with the i-th of the teacher, as the paper does.

    Each side has its own tokenizer, so that answers start elsewhere and differ in length: what
    the longer one has more is left out.

    Args:
        student: Logits.
        teacher: Logits of the same samples.
        student_target: The student's token ids, ``ignore_index`` outside the answer.
        teacher_target: The teacher's.
        shift: 0 where ``target[b, n]`` belongs to ``logits[b, n]``; 1 where it belongs to the
            logits before it, as in models whose target is their own input.
        ignore_index: Target that is no part of an answer.

    Returns:
        The paired logits, and a target for them that drops what has no pair: for
        ``TokenLoss(ULDLoss(), shift=0, count="sequences")``, say.
    """
    s, s_kept = _answers(student, student_target, shift, ignore_index)
    t, t_kept = _answers(teacher, teacher_target, shift, ignore_index)
    length = min(s.shape[1], t.shape[1])
    both = s_kept[:, :length] & t_kept[:, :length]
    target = torch.zeros_like(both, dtype=torch.int64).masked_fill(~both, ignore_index)
    return s[:, :length], t[:, :length], target


def _answers(
    logits: Float[Tensor, "B N V"], target: Int[Tensor, "B N"], shift: int, ignore_index: int
) -> tuple[Float[Tensor, "B n V"], Bool[Tensor, "B n"]]:
    """Return the logits of the answers, each from the front on, and which places they fill."""
    if logits.ndim != 3 or target.shape != logits.shape[:2]:
        raise ShapeError(
            f"paired_answers: expected logits [B, N, V] and targets [B, N], found "
            f"{_check.shape(logits)} and {_check.shape(target)}; give each side its own target"
        )
    logits = logits[:, : logits.shape[1] - shift]
    kept = is_kept(target[:, shift:], ignore_index)
    order = (~kept).int().sort(dim=1, stable=True).indices
    return logits.take_along_dim(order.unsqueeze(-1), 1), kept.take_along_dim(order, 1)
