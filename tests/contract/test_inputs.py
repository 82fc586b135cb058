"""How every loss takes its inputs: dropped positions, empty batches, wrong shapes, NaN."""

import pytest
import torch
from records.cases import Case, Shape, borrows, call, needs_teacher, obeys, of_logits
from torch import Tensor
from torch.utils._pytree import tree_leaves

from tutelage.errors import InputError, ShapeError


@obeys("dropped", where=of_logits)
@pytest.mark.parametrize("value", [None, torch.nan, torch.inf, -torch.inf])
def test_dropped_positions_count_nothing_whatever_stands_there(
    case: Case, value: float | None
) -> None:
    batch = case.batch((6, *case.shapes[0][1:]))
    batch.target[1] = batch.target[4] = -100
    loss, kept = case.loss(batch), batch.target != -100
    some = case.value(batch.each(lambda tensor: tensor[kept]), loss)
    if value is not None:
        for side in batch[:2]:
            for tensor in tree_leaves(side) if side is not None else []:
                tensor[1] = tensor[4, ..., 2] = value
    batch = batch.leaf()
    found = case.value(batch, loss)
    found.backward()
    torch.testing.assert_close(found, some)
    for gradient in batch.gradients():
        assert gradient[~kept].eq(0).all()
        assert gradient[kept].isfinite().all()
        assert gradient[kept].ne(0).any()


@obeys("dropped", where=of_logits)
def test_nothing_kept_is_zero_with_its_graph(case: Case) -> None:
    batch = case.batch().leaf()
    value = case.value(batch._replace(target=torch.full_like(batch.target, -100)))
    value.backward()
    assert value.item() == 0
    assert all(gradient.eq(0).all() for gradient in batch.gradients())


@obeys("empty", shapes=True)
def test_an_empty_batch_is_zero_with_its_graph(case: Case, shape: Shape) -> None:
    batch = case.batch(shape)
    loss = case.loss(batch)
    empty = batch.each(lambda tensor: tensor[:0]).leaf()
    value = call(loss, empty)
    value.backward()
    assert value.item() == 0
    assert all(leaf.grad is not None for leaf in tree_leaves(empty.student))


@obeys("broadcast", where=needs_teacher)
def test_nothing_broadcasts(case: Case) -> None:
    batch = case.batch()
    loss, shape = case.loss(batch), tree_leaves(batch.teacher)[0].shape
    free = case.record.free
    if free is None:
        free = range(1, len(shape)) if case.may_differ else ()
    for axis in range(len(shape)):
        if axis not in free and shape[axis] > 1:
            other = batch.with_(teacher=lambda tensor, axis=axis: tensor.narrow(axis, 0, 1))
            with pytest.raises(ShapeError, match=r"found student .* vs teacher"):
                call(loss, other)


@obeys("nan", where=needs_teacher)
def test_a_teacher_that_is_not_a_number_is_not_hidden(case: Case) -> None:
    batch = case.batch()
    loss = case.loss(batch)
    teacher: Tensor = tree_leaves(batch.teacher)[0]
    teacher[2, 1] = torch.nan
    assert call(loss, batch).isnan()


@obeys("channels_last", where=lambda case: not case.is_of_logits and len(case.shapes[0]) == 4)
def test_the_memory_format_does_not_count(case: Case) -> None:
    batch = case.batch()

    def last(tensor: Tensor) -> Tensor:
        return tensor.to(memory_format=torch.channels_last) if tensor.ndim == 4 else tensor

    loss = case.loss(batch)
    other = batch.each(last).leaf()
    batch = batch.leaf()
    values = case.value(other, loss), case.value(batch, loss)
    torch.testing.assert_close(*values)
    for value in values:
        value.backward()
    torch.testing.assert_close(other.gradients(), batch.gradients())


@obeys("borrows", where=borrows)
def test_it_says_what_it_has_not_borrowed_yet(case: Case) -> None:
    batch = case.batch()
    complete, bare = case.loss(batch), case.kind()
    assert complete.has_borrowed
    assert not bare.has_borrowed
    with pytest.raises(InputError, match="borrow"):
        call(bare, batch)
