"""The criterion that DeiT's engine calls: the task's loss beside that of a teacher (2012.12877)."""

from collections.abc import Callable
from typing import Any, Self

from torch import Tensor, nn

from tutelage import _check
from tutelage.adapters.deit.batch import first_half, heads_of, refuse_single_batch
from tutelage.adapters.deit.cosub import CosubLoss
from tutelage.adapters.deit.frozen import frozen
from tutelage.errors import InputError, TeacherError
from tutelage.losses import HardLabelLoss, KDLoss, Loss
from tutelage.losses.base import widen
from tutelage.losses.logits.kd import VARIANTS
from tutelage.objective import Objective, Term
from tutelage.signals import Signals
from tutelage.teachers import Teacher

KINDS = ("none", "soft", "hard")
CLS, DIST = ("cls 1", "cls 2"), ("dist 1", "dist 2")
"""Where the terms find the heads of the first and of the second pass."""


class DistillationLoss(nn.Module):
    r"""The task's loss on the class head, and a teacher's on the distillation head.

    .. math:: (1 - \alpha)\, \ell(z_{cls}, y) + \alpha\, d(z_{dist}, z^t)

    Called as ``criterion(inputs, outputs, labels)`` like the one of DeiT's engine. The outputs
    may be ``(cls, dist)``, a mapping of them, or one tensor, from which a student with one head
    then learns both. The teacher is frozen and stays in eval mode, whatever ``criterion.train()``
    says; it is in neither ``parameters()`` nor ``state_dict()``, but follows ``.to(device)``.

    ``parts`` holds the values of the last call by name, detached and not multiplied by their
    shares: ``base``, and ``soft`` or ``hard``.

    Args:
        base_criterion: The task's loss: any callable of ``(outputs, labels)``, one of ours such as
            ``CELoss()``, or a :class:`CosubLoss`. For that one the engine hands over inputs and
            outputs of the batch twice, the second copy behind the first, and its labels once; the
            teacher is asked once, and both passes learn from it.
        teacher_model: A module, which is frozen in place, a model's name, or one of our teachers.
        distillation_type: ``"none"``, which trains the class head alone; ``"soft"``,
            :class:`~tutelage.KDLoss`; or ``"hard"``, the teacher's decision as label,
            :class:`~tutelage.HardLabelLoss`.
        alpha: Share of the distillation, from 0 to 1.
        tau: Temperature of the soft distillation, above 0.
        variant: Of the soft distillation, and for it alone. ``"paper"`` is the mean over samples.
            ``"numel"`` is the authors' code, which divides by the number of classes C as well:
            smaller by the factor C in value and gradient, so that their alpha means another
            mixture here.
        head: Which item of the outputs is the distillation head: its place in a tuple, its key
            in a mapping (whose class head is ``logits``).
        teacher_options: What else :class:`~tutelage.FrozenTeacher` takes: ``given=`` with the
            statistics of the loader, ``class_map=`` for a teacher of other classes, ``weights=``
            and ``num_classes=`` beside a name.

    Raises:
        InputError: If a number is out of range, a word unknown, or ``variant`` of no use.
        TeacherError: If there is no teacher to learn from, or one that would run for nothing.

    >>> import torch
    >>> student, teacher = nn.Linear(4, 3), nn.Linear(4, 3)
    >>> criterion = DistillationLoss(nn.CrossEntropyLoss(), teacher, "hard", alpha=0.5)
    >>> x, y = torch.zeros(2, 4), torch.tensor([0, 2])
    >>> criterion(x, student(x), y).ndim, list(criterion.parts)
    (0, ['base', 'hard'])
    """

    parts: dict[str, Tensor]

    def __init__(
        self,
        base_criterion: Callable[..., Tensor],
        teacher_model: nn.Module | str | Teacher | None = None,
        distillation_type: str = "none",
        alpha: float = 0.5,
        tau: float = 1.0,
        *,
        variant: str = "paper",
        head: int | str = 1,
        **teacher_options: Any,
    ) -> None:
        super().__init__()
        self.distillation_type = _check.one_of(distillation_type, KINDS, "distillation_type")
        self.alpha = _check.fraction(alpha, "alpha")
        self.tau = _check.positive(tau, "tau")
        self._check_variant(variant)
        self.head = head
        self.has_two_passes = isinstance(base_criterion, CosubLoss)
        self.objective = Objective(self._terms(base_criterion, variant))
        self.parts = {}
        # In a tuple the teacher is no submodule: nothing that walks the criterion finds it.
        self._teacher_box = (self._held(teacher_model, teacher_options),)

    @property
    def teacher(self) -> Teacher | None:
        """The teacher; deliberately not a submodule."""
        return self._teacher_box[0]

    def forward(self, inputs: Any, outputs: Any, labels: Tensor) -> Tensor:
        """Return the scalar loss, at least float32.

        Args:
            inputs: What the student was given, which the teacher converts for itself.
            outputs: What the student returned.
            labels: Class indices ``[B]``, or probabilities ``[B, C]``.

        Raises:
            ShapeError: If teacher and student have other classes; give ``class_map=``.
            InputError: If it is not clear which of the outputs is the distillation head.
        """
        cls, dist = heads_of(outputs, self.head)
        if self.has_two_passes:
            refuse_single_batch(cls, labels)
        teacher = self._ask_teacher(inputs, dist)
        loss, self.parts = self.objective(self._signals(cls, dist), teacher, labels)
        # A head of which nothing is learnt gets a gradient of 0: without any, DDP stops.
        idle = [dist] if self.distillation_type == "none" or self.alpha == 0 else []
        idle += [cls] if self.distillation_type != "none" and self.alpha == 1 else []
        for head in idle:
            loss = loss + (head * 0).nan_to_num().sum()
        total: Tensor = loss
        return total

    def close(self) -> None:
        """Give the teacher's module back as it was."""
        if self.teacher is not None:
            self.teacher.close()

    def extra_repr(self) -> str:
        """Return the settings that ``repr`` shows."""
        return f"{self.distillation_type}, alpha={self.alpha:g}, tau={self.tau:g}"

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Self:
        super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        if self.teacher is not None:
            self.teacher.apply_to_tensors(fn)
        return self

    def _check_variant(self, variant: str) -> None:
        _check.one_of(variant, VARIANTS, "variant")
        if variant != "paper" and self.distillation_type != "soft":
            raise InputError(
                f'variant: expected "paper", the default, beside distillation_type='
                f'"{self.distillation_type}", found "{variant}", which only the soft distillation '
                'has; leave it out, or give distillation_type="soft"'
            )

    def _terms(self, base: Callable[..., Tensor], variant: str) -> list[Term]:
        kind = self.distillation_type
        share = 0.0 if kind == "none" else self.alpha
        loss = base if isinstance(base, Loss) else _Task(base)
        both = [(place, None) for place in CLS] if self.has_two_passes else None
        terms = [Term(loss, 1 - share, both, name="base")]
        if kind == "none":
            return terms
        places = DIST if self.has_two_passes else DIST[:1]
        for place in places:
            far = (
                HardLabelLoss() if kind == "hard" else KDLoss(temperature=self.tau, variant=variant)
            )
            name = f"{kind} of pass {place[-1]}" if self.has_two_passes else kind
            terms.append(Term(far, share / len(places), (place, None), name=name))
        return terms

    def _held(
        self, model: nn.Module | str | Teacher | None, options: dict[str, Any]
    ) -> Teacher | None:
        if self.distillation_type == "none":
            if model is not None:
                raise TeacherError(
                    "DistillationLoss: the teacher would run for nothing with "
                    'distillation_type="none"; give teacher_model=None, or "soft" or "hard"'
                )
            return None
        teacher = frozen(model, options)
        teacher.provide(())
        return teacher

    def _signals(self, cls: Tensor, dist: Tensor) -> Signals:
        """Return the class head as logits, and the heads of each pass under their places."""
        if not self.has_two_passes:
            return Signals(cls, {DIST[0]: dist})
        pairs = zip(CLS + DIST, (*cls.chunk(2), *dist.chunk(2)), strict=True)
        return Signals(cls, dict(pairs))

    def _ask_teacher(self, inputs: Any, dist: Tensor) -> Signals | None:
        if self.teacher is None:
            return None
        if self.has_two_passes:  # the second half shows the same images
            inputs = first_half(inputs)
        signals = self.teacher(inputs)
        _check.no_gradients({"logits": signals.logits})
        _check.same_classes(dist, signals.logits)
        return signals


class _Task(nn.Module):
    """A criterion of ``(outputs, labels)`` as a term takes it: ``(student, teacher, target)``."""

    needs_teacher = False

    def __init__(self, criterion: Callable[..., Tensor]) -> None:
        super().__init__()
        self.criterion = criterion

    def forward(self, student: Tensor, teacher: None, target: Tensor) -> Tensor:
        """Return the criterion of the logits, widened to float32 as ours are."""
        return self.criterion(widen(student), target)
