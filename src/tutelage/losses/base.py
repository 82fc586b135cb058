"""What every loss is: ``(student, teacher, target=None) -> scalar``."""

import inspect
from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn

from tutelage.errors import InputError
from tutelage.losses.scheduled import Schedule as Schedule
from tutelage.losses.scheduled import Scheduled
from tutelage.signals import SparseLogits


def widen(tensor: Tensor) -> Tensor:
    """Return the tensor in float32, or in float64 where it has it.

    >>> widen(torch.ones(1, dtype=torch.float16)).dtype
    torch.float32
    """
    return tensor.float() if tensor.dtype in (torch.float16, torch.bfloat16) else tensor


class Loss(Scheduled, ABC):
    """Abstract root of the losses.

    Most stand below :class:`~tutelage.losses.logits.base.LogitLoss`,
    :class:`~tutelage.losses.features.base.FeatureLoss` or
    :class:`~tutelage.losses.relations.base.RelationLoss`, which take the mean for them.

    A loss knows no models, no layer names, no weight and no projection, and it changes nothing
    in eval mode. Half-precision inputs are widened to float32 and the value comes back so;
    float64 stays float64. An empty batch, and one of which every position is dropped, costs 0
    with its graph. What stands at a dropped position counts nothing, be it NaN.

    Class attributes:
        name: Its name in recipes and lists.
        paper: arXiv id of its source, or a short citation where there is none.
        compares: ``"logits"`` or ``"features"``: which signals it is meant for.
        needs_teacher: Whether it reads the teacher's tensor.
        reads_student: Whether it reads the student's; a loss that only readies itself does not,
            and gets ``None``.
        needs_target: Whether it is undefined without ``target``.
        takes_invented_labels: Whether class 0 for every sample is a target that it can read, so
            that a dry run may try it without the real ones.
        needs_ids: Whether ``forward`` takes the samples' ids ``[B]`` as a fourth argument.
        compares_samples: Whether samples are compared with each other, so that the value of a
            batch is not the mean of its samples' values.
        takes_layers: Whether student and teacher are sequences of tensors, one for each layer.
        takes_sparse: Whether the teacher may be a :class:`~tutelage.signals.SparseLogits`, of which
            a cache keeps the likeliest classes only.
        projector: The name of the projector that the paper uses (``via="paper"``), if any.
        projector_options: Its options.
        borrows: What it needs of the teacher's own module, in words, if anything.
    """

    name: ClassVar[str]
    paper: ClassVar[str]
    compares: ClassVar[Literal["logits", "features"]] = "logits"
    needs_teacher: ClassVar[bool] = True
    reads_student: bool = True
    needs_target: ClassVar[bool] = False
    takes_invented_labels: ClassVar[bool] = True
    needs_ids: ClassVar[bool] = False
    compares_samples: ClassVar[bool] = False
    takes_layers: ClassVar[bool] = False
    takes_sparse: ClassVar[bool] = False
    projector: ClassVar[str | None] = None
    projector_options: ClassVar[Mapping[str, Any]] = {}
    borrows: ClassVar[str | None] = None

    @abstractmethod
    def forward(self, student: Any, teacher: Any, target: Tensor | None = None) -> Tensor:
        """Return the scalar loss, in nats unless the subclass says otherwise.

        Args:
            student: The student's tensor, or a sequence of them where ``takes_layers``.
            teacher: The teacher's, which gets no gradient.
            target: Class indices or probabilities, where they are read.
        """

    @property
    def has_borrowed(self) -> bool:
        """Whether it has all that it needs of the teacher's module."""
        return self.borrows is None

    def borrow(self, module: nn.Module) -> None:
        """Copy what this loss needs from ``module`` of the teacher.

        Raises:
            InputError: It needs nothing, or not of such a module.
        """
        raise InputError(
            f"{type(self).__name__}: borrows nothing from the teacher; leave out borrow="
        )

    def check_sparse(self, example: SparseLogits) -> None:
        """Raise unless it has a value for a teacher that gives logits such as these.

        Raises:
            InputError: It needs every class, or a total that is not there.
        """
        if not self.takes_sparse:
            raise InputError(
                f"{type(self).__name__}: needs every class, and this teacher keeps {example.k} of "
                f"{example.num_classes}; build the cache without --top-k, or use KDLoss, "
                "HardLabelLoss or TopKLoss(...) around another divergence"
            )

    def follow(self, earlier: Any) -> None:
        """Take over from this loss in an earlier stage what the first batch needs already.

        The state of equal shapes is copied afterwards in any case; by default nothing is needed.
        """

    def know(self, ids: Tensor) -> None:
        """Take note of the ids of all training samples, where ``needs_ids``.

        Whoever has the data calls it before the training. A loss that remembers samples then keeps
        room for these and for no others; by default it is of no use.
        """

    def some_ids(self, count: int) -> Tensor:
        """Return ids with which the loss can be tried."""
        return torch.arange(count)

    def extra_repr(self) -> str:
        """Show the hyper-parameters, as the constructor takes them."""
        names = inspect.signature(type(self)).parameters
        values = {name: getattr(self, name, self) for name in names}  # itself where there is none
        plain = [name for name, value in values.items() if not isinstance(value, nn.Module)]
        return ", ".join(f"{name}={self._shown(name)}" for name in plain)
