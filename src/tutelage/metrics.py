"""How good a classifier is, and how close to its teacher: numbers from logits ``[N, C]``.

Each function takes all logits of a data set at once and returns a 0-d float32 (or float64)
tensor on their device, so that nothing waits for the device until the caller reads it. A NaN among
the logits makes every number NaN.

These are written out instead of taken from torchmetrics, whose top-level import takes longer than
that of torch and breaks beside a damaged torchvision, and whose calibration error takes logits
that all happen to lie in ``[0, 1]`` for probabilities. The tests compare with it.
"""

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional as F

from tutelage._check import same_shape, shape
from tutelage.errors import DataError, InputError, ShapeError


def accuracy(logits: Float[Tensor, "N C"], target: Int[Tensor, "N"]) -> Float[Tensor, ""]:
    """Return the share of samples whose largest logit is the target's (top-1), in ``[0, 1]``.

    >>> accuracy(torch.tensor([[2.0, 1.0], [0.0, 3.0]]), torch.tensor([0, 0])).item()
    0.5
    """
    _check_targets(logits, target, "accuracy")
    return _unless_nan((logits.argmax(dim=-1) == target).float().mean(), logits)


def nll(logits: Float[Tensor, "N C"], target: Int[Tensor, "N"]) -> Float[Tensor, ""]:
    """Return the mean negative log likelihood of the targets, in nats.

    ``-1/N sum_i log softmax(logits_i)[target_i]``

    >>> nll(torch.zeros(3, 10), torch.tensor([0, 1, 2])).item()  # log(10)
    2.3025851249694824
    """
    _check_targets(logits, target, "nll")
    return F.cross_entropy(_wide(logits), target)


def ece(
    logits: Float[Tensor, "N C"], target: Int[Tensor, "N"], *, bins: int = 15
) -> Float[Tensor, ""]:
    """Return the expected calibration error (arXiv:1706.04599, equation 3), in ``[0, 1]``.

    ``sum_b n_b/N |acc_b - conf_b|`` over bins of equal width in the confidence, which is the
    largest softmax probability. A confidence on an edge belongs to the bin above it, and 1 to the
    last bin.

    Args:
        logits: Outputs before the softmax.
        target: Class indices.
        bins: Number of bins in ``[0, 1]``, at least 1.

    >>> right = torch.tensor([[100.0, 0.0], [0.0, 100.0]])
    >>> ece(right, torch.tensor([0, 1])).item(), ece(right, torch.tensor([1, 0])).item()
    (0.0, 1.0)
    """
    _check_targets(logits, target, "ece")
    if bins < 1:
        raise InputError(f"ece: expected at least 1 bin, found bins={bins}; the usual number is 15")
    confidence, predicted = _wide(logits).softmax(dim=-1).max(dim=-1)
    # A NaN may become any integer: it is kept inside, and makes the sum NaN by its gap.
    which = (confidence * bins).long().clamp_(min=0, max=bins - 1)
    gap = (predicted == target).to(confidence.dtype) - confidence
    # n_b |acc_b - conf_b| is the absolute sum of the gaps in the bin.
    per_bin = torch.zeros(bins, dtype=gap.dtype, device=gap.device).index_add_(0, which, gap)
    return per_bin.abs().sum() / len(gap)


def agreement(student: Float[Tensor, "N C"], teacher: Float[Tensor, "N C"]) -> Float[Tensor, ""]:
    """Return the share of samples for which both predict one class, in ``[0, 1]``.

    Right or wrong does not matter (arXiv:2106.05945).

    >>> agreement(torch.tensor([[2.0, 1.0], [0.0, 3.0]]), torch.tensor([[9.0, 0.0], [1.0, 0.0]]))
    tensor(0.5000)
    """
    _check_pair(student, teacher, "agreement")
    same = (student.argmax(dim=-1) == teacher.argmax(dim=-1)).float().mean()
    return _unless_nan(same, student, teacher)


def kl_to_teacher(
    student: Float[Tensor, "N C"], teacher: Float[Tensor, "N C"]
) -> Float[Tensor, ""]:
    """Return the mean ``KL(teacher || student)`` of the softmaxes at temperature 1, in nats.

    ``1/N sum_i sum_c p_ic (log p_ic - log q_ic)`` with ``p`` the teacher's and ``q`` the
    student's probabilities; a class that the teacher rules out adds 0.

    >>> kl_to_teacher(torch.zeros(2, 3), torch.zeros(2, 3)).item()
    0.0
    """
    _check_pair(student, teacher, "kl_to_teacher")
    log_q = _wide(student).log_softmax(dim=-1)
    log_p = _wide(teacher).log_softmax(dim=-1)
    p = log_p.exp()
    terms = torch.where(p == 0, torch.zeros_like(p), p * (log_p - log_q))
    return terms.sum(dim=-1).mean()


def _wide(logits: Tensor) -> Tensor:
    """Return ``logits`` in at least float32: a half has too few digits for probabilities."""
    return logits if logits.dtype == torch.float64 else logits.float()


def _unless_nan(value: Tensor, *logits: Tensor) -> Tensor:
    """Return ``value``, or NaN where argmax has taken a NaN for the largest logit."""
    broken = torch.stack([tensor.isnan().any() for tensor in logits]).any()
    return value.masked_fill(broken, torch.nan)


def _check_pair(student: Tensor, teacher: Tensor, where: str) -> None:
    same_shape(student, teacher, where=where, hint="map the teacher's classes to the student's")
    _check_logits(student, where)


def _check_targets(logits: Tensor, target: Tensor, where: str) -> None:
    _check_logits(logits, where)
    if target.shape != logits.shape[:1]:
        raise ShapeError(
            f"{where}: expected one target for each row of logits {shape(logits)}, "
            f"found targets {shape(target)}; pass class indices"
        )
    low, high = int(target.min()), int(target.max())
    if low < 0 or high >= logits.shape[1]:
        raise DataError(
            f"{where}: expected targets from 0 to {logits.shape[1] - 1}, found {low} to {high}; "
            "check the labels and the number of classes"
        )


def _check_logits(logits: Tensor, where: str) -> None:
    if logits.ndim != 2:
        raise ShapeError(f"{where}: expected logits [N, C], found {shape(logits)}")
    if len(logits) == 0:
        raise InputError(f"{where}: expected at least one sample, found none; check the data set")
