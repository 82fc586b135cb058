"""Divergences from a teacher's top k (Anshumann et al., Sparse Logit Sampling, 2503.16870)."""

from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from tutelage import _check
from tutelage.errors import InputError
from tutelage.losses.base import Schedule, widen
from tutelage.losses.logits.base import LogitLoss
from tutelage.losses.logits.kd import KDLoss
from tutelage.losses.logits.kept import at_ids, check_sparse
from tutelage.losses.reduction import blank_dropped
from tutelage.signals import SparseLogits
from tutelage.signals.sparse import log_rest

OUTSIDE = ("tail", "power", "renormalise", "zero")


def few_outcomes(
    student: Float[Tensor, "*B V"],
    teacher: SparseLogits,
    *,
    outside: str = "tail",
    temperature: float | Tensor = 1.0,
    kept: Bool[Tensor, "*B"] | None = None,
) -> tuple[Float[Tensor, "*B K"], Float[Tensor, "*B K"]]:
    r"""Return student and teacher as logits over the teacher's k classes, and the rest as one.

    Their softmax, which every divergence takes, is

    .. math:: \mathrm{tail:}\ (q_1, \dots, q_k, 1 - Q),\ \frac{(p_1^r, \dots, p_k^r, S - \Sigma_k)}
        {S} \qquad
        \mathrm{power:}\ (q_1, \dots, q_k, 1 - Q),\ \frac{(p_1^r, \dots, p_k^r, (1 - P)^r)}
        {\Sigma} \qquad
        \mathrm{renormalise:}\ \frac{(q_1, \dots, q_k)}{Q},\ \frac{(p_1^r, \dots, p_k^r)}{\Sigma}
        \qquad
        \mathrm{zero:}\ (q_1, \dots, q_k, 1 - Q),\ \frac{(p_1^r, \dots, p_k^r, 0)}{\Sigma}

    with the student's :math:`q = \mathrm{softmax}(z^s / T)` over all V classes, :math:`Q = \sum_i
    q_i`, the teacher's kept probabilities p at its own temperature g, :math:`P = \sum_i p_i`,
    :math:`r = g / T`, :math:`\Sigma` the sum of the terms above it, :math:`\Sigma_k` that of the
    first k and :math:`S` the sum of :math:`p_c^r` over all V classes, which is 1 at g = T and must
    be known elsewhere. ``"tail"`` is exact but for what happens within the tail. ``"power"`` is
    the same at g = T and needs no S elsewhere, but :math:`(1 - P)^r` is not the mass that the
    other classes have there, which one number cannot tell: at T = 2 it may be a tenth of it.

    The student's tail is known to the rounding of its sum: below the dtype's epsilon (1e-7 in
    float32) it is that epsilon, without gradient.

    Args:
        student: Logits ``[..., V]``.
        teacher: The teacher's k classes of each position. With all V there is no rest.
        outside: What stands for the other classes: ``"tail"``, one class more that holds their
            mass (TRL's tail); ``"power"``, the same with a mass that is guessed at other
            temperatures (DistillKit's ``symmetric_uniform``); ``"renormalise"``, nothing on either
            side, so that the student may say there what it likes; ``"zero"``, which says that the
            teacher rules them out.
        temperature: T above 0 of the student.
        kept: Which positions count; the student's logits of others are not read.

    Raises:
        ShapeError: The teacher has no k classes for each position.
        InputError: ``"tail"`` needs a total at T that the teacher does not have.

    >>> import torch
    >>> log_probs = torch.tensor([[0.5, 0.25]]).log()
    >>> teacher = SparseLogits(torch.tensor([[2, 0]]), log_probs, num_classes=4)
    >>> for log_probs in few_outcomes(torch.zeros(1, 4), teacher):
    ...     print(log_probs.exp())
    tensor([[0.2500, 0.2500, 0.5000]])
    tensor([[0.5000, 0.2500, 0.2500]])
    """
    check_sparse(student, teacher, "TopKLoss")
    z_s = widen(blank_dropped(student, kept)) / temperature
    log_q = at_ids(z_s, teacher.ids) - z_s.logsumexp(-1, keepdim=True)
    power = teacher.temperature / temperature
    log_p = teacher.log_probs.detach().to(log_q.dtype)  # kept in half precision, perhaps
    if outside == "renormalise" or log_q.shape[-1] == student.shape[-1]:
        return log_q, log_p * power
    log_q = torch.cat([log_q, log_rest(log_q).unsqueeze(-1)], -1)
    if outside == "tail":
        log_p, rest = (part.detach().to(log_q.dtype) for part in teacher.softened(temperature))
        return log_q, torch.cat([log_p, rest.unsqueeze(-1)], -1)
    rest = log_rest(log_p) if outside == "power" else torch.full_like(log_p[..., 0], -torch.inf)
    return log_q, torch.cat([log_p, rest.unsqueeze(-1)], -1) * power


class TopKLoss(LogitLoss):
    """A divergence over the teacher's k likeliest classes and the rest. See :func:`few_outcomes`.

    The teacher is a :class:`~tutelage.signals.SparseLogits`, or dense logits of
    which the top k are taken at the loss's temperature. No tensor of the teacher's is as wide as
    the vocabulary then.

    Args:
        loss: The divergence of two rows of logits; by default the KL of
            :class:`~tutelage.losses.KDLoss`. Its own temperature must be 1.
        k: How many classes are kept of a dense teacher, at least 1.
        outside: ``"tail"``, ``"power"``, ``"renormalise"`` or ``"zero"``, whatever the teacher's
            own policy.
        temperature: T above 0, or a schedule from the optimiser step to it.
        scale_by_temperature: Whether the value is multiplied by T^2. Codes for language models
            mostly leave it out: their value and gradient are smaller by T^2.
        ignore_index: Class index that drops a position, where class indices are given.

    Raises:
        InputError: The loss has no value for each position, reads labels, or softens by itself.

    >>> TopKLoss(k=8, temperature=2.0)
    TopKLoss(
      k=8, outside='tail', temperature=2.0, scale_by_temperature=True, ignore_index=-100
      (loss): KDLoss(temperature=1.0, variant='paper', ignore_index=-100)
    )
    """

    name = "topk"
    paper = "2503.16870"
    takes_sparse = True

    k: int
    outside: str
    temperature: float | Tensor
    scale_by_temperature: bool

    def __init__(
        self,
        loss: LogitLoss | None = None,
        *,
        k: int = 50,
        outside: str = "tail",
        temperature: float | Schedule = 1.0,
        scale_by_temperature: bool = True,
        ignore_index: int = -100,
    ) -> None:
        super().__init__(ignore_index=ignore_index)
        self.loss = _checked(KDLoss(temperature=1.0) if loss is None else loss)
        if not isinstance(k, int) or isinstance(k, bool) or k < 1:
            raise InputError(f"TopKLoss.k: expected a whole number above 0, found {k!r}")
        self.k = k
        self.outside = _check.one_of(outside, OUTSIDE, "TopKLoss.outside")
        if k == 1 and outside == "renormalise":
            raise InputError(
                "TopKLoss.k: expected at least 2 for outside='renormalise', found 1: one class of "
                "its own is certain on both sides; give k=2 or outside='tail'"
            )
        self._hyper("temperature", temperature, _check.positive)
        self.scale_by_temperature = scale_by_temperature

    def check_sparse(self, example: SparseLogits) -> None:
        """Raise unless the teacher's totals are known at the temperature, if they are needed."""
        if self.outside == "tail":
            example.softened(self._number("temperature"))

    def values(
        self,
        student: Float[Tensor, "*B V"],
        teacher: Any,
        target: Tensor | None,
        kept: Bool[Tensor, "*B"] | None,
    ) -> Float[Tensor, "*B"]:
        """Return the divergence of each position, in the unit of the loss."""
        temperature: float | Tensor = self._value("temperature")
        if isinstance(teacher, SparseLogits):
            temperature = self._number("temperature")  # whose total the teacher looks up
        else:
            _check.logits(student, "TopKLoss")
            _check.same_shape(student, teacher, where="TopKLoss", hint="use the same classes")
            teacher = SparseLogits.from_logits(teacher, k=self.k, temperature=temperature)
        log_q, log_p = few_outcomes(
            student, teacher, outside=self.outside, temperature=temperature, kept=kept
        )
        values = self.loss.values(log_q, log_p, None, kept)
        return values * temperature**2 if self.scale_by_temperature else values

    def extra_repr(self) -> str:
        """Show the hyper-parameters."""
        return (
            f"k={self.k}, outside={self.outside!r}, temperature={self._shown('temperature')}, "
            f"scale_by_temperature={self.scale_by_temperature}, ignore_index={self.ignore_index}"
        )


def _checked(loss: LogitLoss) -> LogitLoss:
    if not isinstance(loss, LogitLoss) or loss.needs_target or not loss.needs_teacher:
        raise InputError(
            f"TopKLoss.loss: expected a divergence between student and teacher, such as "
            f"KDLoss(temperature=1), found {loss!r}"
        )
    if getattr(loss, "temperature", 1.0) != 1 or loss.is_scheduled:
        raise InputError(
            f"TopKLoss.loss: expected temperature=1, found {loss!r}: what it gets is softened "
            "already; give TopKLoss(..., temperature=...) instead"
        )
    return loss
