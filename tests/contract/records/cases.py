"""One loss under test: how it is built, what it is called with, and what is asked of it."""

import copy
import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import pytest
import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy
from torch.utils._pytree import tree_leaves, tree_map_only

from records import record_of
from records.kit import Record, Shape
from tutelage.losses import Loss, index
from tutelage.losses.relations.base import RelationLoss

# What is asked of every loss; a record may exempt its loss from any of them, with a reason.
PROPERTIES = {
    "constructs": "builds with its defaults and shows its settings",
    "states": "its docstrings hold formula and source",
    "value": "a finite scalar with a gradient, in every layout",
    "random": "random shapes, scales and dtypes: finite, in fp32 at least, never below its minimum",
    "equality": "equal tensors cost its minimum and ask for no change",
    "order": "the order of the samples does not count",
    "samples": "a batch is the mean of its samples",
    "gradcheck": "the gradient is that of the value",
    "own_gradcheck": "so are the gradients of its own parameters",
    "teacher": "no gradient reaches the teacher",
    "half": "half precision agrees with float64 and comes back in float32",
    "autocast": "autocast does not lower its precision",
    "extreme": "inputs of +-1e4 and 1e-4 stay finite in every precision",
    "certain": "one class certain stays finite",
    "ruled_out": "classes that the teacher rules out (-inf) stay finite",
    "two_classes": "two classes are enough",
    "batch_of_one": "one sample is enough",
    "constant": "constant samples stay finite",
    "duplicates": "equal samples stay finite",
    "dropped": "dropped positions count nothing, whatever stands there",
    "empty": "an empty batch is 0 with its graph",
    "broadcast": "unequal shapes raise",
    "nan": "a teacher that is not a number is not hidden",
    "channels_last": "the memory format does not count",
    "pickling": "survives pickling and copying",
    "state": "changes neither its inputs nor, in eval mode, itself",
    "compile": "compiles into one graph of the same value and gradient",
    "borrows": "says so where it has not got what it needs of the teacher's module",
    "cuda": "gives the same on the GPU",
}
LOGITS: Sequence[Shape] = [(4, 5), (3, 4, 5), (4, 2), (1, 5)]
FEATURES: Sequence[Shape] = [(4, 6, 3, 5), (4, 7, 6)]


class Batch(NamedTuple):
    """The arguments of a loss; student and teacher are lists where it takes layers."""

    student: Any
    teacher: Any = None
    target: Tensor | None = None
    ids: Tensor | None = None

    def each(self, function: Callable[[Tensor], Tensor]) -> "Batch":
        """Return the batch with every tensor changed."""
        return tree_map_only(Tensor, function, self)

    def with_(self, **sides: Any) -> "Batch":
        """Return the batch with some of its fields made from themselves, tensor by tensor."""
        made = {
            side: tree_map_only(Tensor, make, getattr(self, side)) if callable(make) else make
            for side, make in sides.items()
        }
        return self._replace(**made)

    def tensors(self) -> list[Tensor]:
        """Return all its tensors."""
        return [leaf for leaf in tree_leaves(self) if isinstance(leaf, Tensor)]

    def leaf(self) -> "Batch":
        """Return the batch with a student that collects gradients."""
        return self.with_(student=lambda tensor: tensor.detach().clone().requires_grad_())

    def gradients(self) -> list[Tensor]:
        """Return the student's gradients."""
        return [
            torch.zeros_like(leaf) if leaf.grad is None else leaf.grad
            for leaf in tree_leaves(self.student)
        ]


@dataclass(frozen=True)
class Case:
    """A loss with its record."""

    name: str

    @property
    def kind(self) -> type[Loss]:
        """Its class."""
        return _index()[self.name]

    @property
    def record(self) -> Record:
        """What the tests know of it."""
        return record_of(self.name)

    @property
    def is_of_logits(self) -> bool:
        """Whether it compares logits."""
        return self.kind.compares == "logits"

    @property
    def shapes(self) -> Sequence[Any]:
        """The layouts to try."""
        return self.record.shapes or (LOGITS if self.is_of_logits else FEATURES)

    @property
    def may_differ(self) -> bool:
        """Whether the teacher's tensor may have other axes than the batch."""
        return self.record.teacher_shape is not None or issubclass(self.kind, RelationLoss)

    def batch(self, shape: Any = None, dtype: torch.dtype = torch.float64, seed: int = 0) -> Batch:
        """Draw a batch; no two values are alike."""
        torch.manual_seed(seed)
        shape = shape or self.shapes[0]
        layers = shape if isinstance(shape[0], tuple) else (shape,) * self.record.layers
        theirs = self.record.teacher_shape or (lambda shape: shape)
        student = [torch.randn(layer, dtype=torch.float64).to(dtype) for layer in layers]
        teacher = [
            self.record.sound(torch.randn(theirs(layer), dtype=torch.float64)).to(dtype)
            for layer in layers
        ]
        one = (lambda tensors: tensors) if self.kind.takes_layers else (lambda tensors: tensors[0])
        return Batch(
            one(student),
            one(teacher) if self.kind.needs_teacher else None,
            self._target(layers[0]),
            torch.arange(len(student[0])) if self.kind.needs_ids else None,
        )

    def _target(self, shape: Shape) -> Tensor | None:
        if self.is_of_logits:
            return torch.randint(shape[-1], shape[:-1])
        return torch.randint(self.record.classes, shape[:1]) if self.kind.needs_target else None

    def sound(self, batch: Batch) -> Batch:
        """Return the batch with a teacher that the loss may be given."""
        return batch.with_(teacher=self.record.sound)

    def loss(self, batch: Batch) -> Loss:
        """Build the loss, always the same, with its own parts sized for the batch."""
        torch.manual_seed(0)
        loss = (self.record.make or self.kind)()
        is_double = any(tensor.dtype is torch.float64 for tensor in batch.tensors())
        batch = batch.each(lambda t: t.detach().float() if t.is_floating_point() else t.clone())
        if not getattr(loss, "is_sized", True):
            loss.size_for(batch.student, batch.teacher)
        if any(is_lazy(tensor) for tensor in (*loss.parameters(), *loss.buffers())):
            with torch.no_grad():
                call(loss.eval(), batch)
        return loss.train().double() if is_double else loss.train()

    def value(self, batch: Batch, loss: Loss | None = None) -> Tensor:
        """Return its value; the loss given, if any, keeps its state."""
        return call(copy.deepcopy(loss) if loss else self.loss(batch), batch)

    def finite(self, batch: Batch, what: str = "") -> None:
        """Assert that value and gradient are finite."""
        batch = batch.leaf()
        value = self.value(batch)
        value.backward()
        assert value.isfinite(), f"value {value.item()} {what}"
        assert all(gradient.isfinite().all() for gradient in batch.gradients()), what


def call(loss: nn.Module, batch: Batch) -> Tensor:
    """Call a loss; what it draws at random is always the same."""
    torch.manual_seed(1)
    return loss(*batch) if batch.ids is not None else loss(*batch[:3])


_index = functools.cache(index)  # it looks for the losses of other packages on disk


def cases() -> tuple[Case, ...]:
    """Return every loss of the index."""
    return tuple(map(Case, sorted(_index())))


def obeys(
    property_: str,
    *,
    where: Callable[[Case], bool] = lambda case: True,
    shapes: bool = False,
) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Ask a property of every case, or of those ``where`` it means something.

    Args:
        property_: One of ``PROPERTIES``. A loss whose record exempts it is skipped with the reason.
        where: Of which cases it is asked.
        shapes: Whether the test takes the ``shape`` too, and runs in each layout of the case.
    """
    assert property_ in PROPERTIES

    def decorate(test: Callable[..., None]) -> Callable[..., None]:
        names = "case,shape" if shapes else "case"
        found = [_parameter(case, shape, property_) for case in cases() if where(case)
                 for shape in (case.shapes if shapes else [None])]  # fmt: skip
        test.obeys = property_  # type: ignore[attr-defined]
        return pytest.mark.parametrize(names, found)(test)

    return decorate


def _parameter(case: Case, shape: Shape | None, property_: str) -> Any:
    reason = case.record.exempt.get(property_)
    marks = [pytest.mark.skip(reason=f"exempt: {reason}")] if reason else []
    values = (case,) if shape is None else (case, shape)
    return pytest.param(*values, id="-".join(map(str, (case.name, *values[1:]))), marks=marks)


def borrows(case: Case) -> bool:
    """Whether it needs something of the teacher's own module."""
    return case.kind.borrows is not None


def needs_teacher(case: Case) -> bool:
    """Whether it reads the teacher's tensor."""
    return case.kind.needs_teacher


def of_logits(case: Case) -> bool:
    """Whether it compares logits."""
    return case.is_of_logits


def learns(case: Case) -> bool:
    """Whether it has parameters of its own that train."""
    return any(parameter.requires_grad for parameter in case.loss(case.batch()).parameters())
