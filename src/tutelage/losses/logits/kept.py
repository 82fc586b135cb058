"""The softened divergence from a teacher of whom only the k likeliest classes were kept."""

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from tutelage import _check
from tutelage.errors import ShapeError
from tutelage.losses.base import widen
from tutelage.losses.reduction import blank_dropped, weighted
from tutelage.signals import SparseLogits


def kept_divergence(
    student: Float[Tensor, "*B C"],
    teacher: SparseLogits,
    *,
    temperature: float = 4.0,
    with_entropy: bool = True,
    kept: Bool[Tensor, "*B"] | None = None,
) -> Float[Tensor, "*B"]:
    r"""Return what the kept classes tell of :math:`T^2 \mathrm{KL}(p \,\|\, q)`, in nats.

    With p and q softened by T over *all* classes, K the kept ones, :math:`P = \sum_{c \in K} p_c`
    and :math:`Q = \sum_{c \in K} q_c`, the teacher's policy names one of

    .. math:: \begin{aligned}
        \mathrm{tail:}\ & T^2 \Big[\sum_{c \in K} p_c \log \frac{p_c}{q_c}
        + (1 - P) \log \frac{1 - P}{1 - Q}\Big] \\
        \mathrm{renormalise:}\ & T^2 \sum_{c \in K} \frac{p_c}{P}
        \log \frac{p_c / P}{q_c / Q} \\
        \mathrm{ignore:}\ & T^2 \sum_{c \in K} p_c \log \frac{p_c}{q_c}
        \end{aligned}

    - ``tail`` takes all other classes as one more. It is never above the full divergence, and
      below it by :math:`T^2 (1 - P)` times the divergence *within* the others: the student learns
      how much to leave to them and not how to divide it. Where it is 0, so is its gradient.
    - ``renormalise`` does not see how much the student leaves to the others. Times P it is never
      above the full divergence either. It needs no total, and so is known at every T.
    - ``ignore`` leaves their part of the sum out. It is *not* a divergence: its least value,
      :math:`T^2 P \log P`, is below 0 and lies at a student who gives the others nothing.

    With all classes kept the three are the full divergence.

    Args:
        student: Logits.
        teacher: The kept classes of the same positions.
        temperature: T above 0, at which the teacher's totals are known.
        with_entropy: Whether the teacher's logarithms count; without it these are cross-entropies.
        kept: Which positions count; the others are 0. ``None`` for all.

    Raises:
        ShapeError: The teacher's classes or positions are others.
        InputError: The teacher's totals are not known at T.

    >>> teacher = SparseLogits.from_logits(torch.tensor([[0.5, 0.25, 0.125, 0.125]]).log(), k=2)
    >>> kept_divergence(torch.zeros(1, 4), teacher, temperature=1.0)  # log(2) / 4
    tensor([0.1733])
    """
    check_sparse(student, teacher, "KDLoss")
    z = widen(blank_dropped(student, kept)) / temperature
    outside = None
    if teacher.policy == "renormalise" or teacher.is_whole:
        log_p = teacher.normalised(temperature)
        log_q = at_ids(z, teacher.ids)
        log_q = log_q.log_softmax(-1) if not teacher.is_whole else log_q - _total(z)
    else:
        log_p, log_rest = teacher.softened(temperature)
        total = _total(z)
        log_q = at_ids(z, teacher.ids) - total
        if teacher.policy == "tail":
            log_rest = blank_dropped(log_rest.unsqueeze(-1), kept)
            outside = _cross(log_rest, log_outside(z, teacher.ids) - total, with_entropy)
    values = _cross(blank_dropped(log_p, kept), log_q, with_entropy)
    if outside is not None:
        values = values + outside
    values = values * temperature**2
    return values if kept is None else values.masked_fill(~kept, 0.0)


def log_outside(logits: Float[Tensor, "*B C"], ids: Int[Tensor, "*B k"]) -> Float[Tensor, "*B 1"]:
    """Return the log of the sum of ``exp(logits)`` over the classes that are not in ``ids``.

    It is summed over those classes, for what the others lack of the whole is lost to rounding
    where the student is sure.
    """
    lowest = torch.finfo(logits.dtype).min
    # Not -inf: the derivative of a logsumexp of nothing but -inf is not a number.
    others = logits.scatter(-1, ids.long(), lowest)
    found = others.logsumexp(-1, keepdim=True)
    return found.masked_fill(found < lowest / 2, -torch.inf)


def check_sparse(student: Float[Tensor, "*B C"], teacher: SparseLogits, where: str) -> None:
    """Raise unless the teacher has k classes for each position of the student's logits."""
    _check.logits(student, where)
    ids, log_probs = teacher.ids, teacher.log_probs
    fits = ids.shape == log_probs.shape and ids.shape[:-1] == student.shape[:-1]
    if not fits or teacher.num_classes != student.shape[-1] or teacher.k > student.shape[-1]:
        raise ShapeError(
            f"{where}: expected at most C ids and log-probabilities of C classes for each position "
            f"of logits [..., C], found student {_check.shape(student)} vs teacher's ids "
            f"{_check.shape(ids)} and log-probabilities {_check.shape(log_probs)} of "
            f"{teacher.num_classes} classes; both must come from the same samples and classes"
        )


def at_ids(logits: Float[Tensor, "*B C"], ids: Int[Tensor, "*B k"]) -> Float[Tensor, "*B k"]:
    """Return the logits of the classes ``ids``, in float32 at least."""
    index = ids if ids.dtype == torch.int64 else ids.long()
    return widen(logits.gather(-1, index))


def _total(z: Float[Tensor, "*B C"]) -> Float[Tensor, "*B 1"]:
    return z.logsumexp(-1, keepdim=True)


def _cross(
    log_p: Float[Tensor, "*B k"], log_q: Float[Tensor, "*B k"], with_entropy: bool
) -> Float[Tensor, "*B"]:
    """Return the sum of ``p (log p - log q)``, or of ``-p log q``, where no p adds nothing."""
    log_p = log_p.to(log_q.dtype)
    return weighted(log_p.exp(), log_p - log_q if with_entropy else -log_q).sum(-1)
