"""What the gradients of every loss obey."""

import copy

import torch
from records.cases import Case, Shape, call, learns, needs_teacher, obeys
from torch.autograd import gradcheck
from torch.func import functional_call
from torch.utils._pytree import tree_flatten, tree_leaves, tree_unflatten


@obeys("gradcheck", shapes=True)
def test_the_gradient_is_that_of_the_value(case: Case, shape: Shape) -> None:
    batch = case.batch(shape).leaf()
    loss = case.loss(batch)
    leaves, form = tree_flatten(batch.student)

    def value(*tensors: torch.Tensor) -> torch.Tensor:
        return case.value(batch._replace(student=tree_unflatten(list(tensors), form)), loss)

    assert gradcheck(value, leaves, fast_mode=True)


@obeys("own_gradcheck", where=learns)
def test_so_are_the_gradients_of_its_own_parameters(case: Case) -> None:
    batch = case.batch()
    loss = case.loss(batch)
    own = {name: p.detach().clone() for name, p in loss.named_parameters() if p.requires_grad}

    def value(*tensors: torch.Tensor) -> torch.Tensor:
        torch.manual_seed(1)
        arguments = tuple(batch if batch.ids is not None else batch[:3])
        parts = dict(zip(own, tensors, strict=True))
        return functional_call(copy.deepcopy(loss), parts, arguments)

    assert gradcheck(value, [tensor.requires_grad_() for tensor in own.values()], fast_mode=True)


@obeys("teacher", where=needs_teacher)
def test_no_gradient_reaches_the_teacher(case: Case) -> None:
    batch = case.batch().leaf()
    batch = batch.with_(teacher=lambda tensor: tensor.requires_grad_())
    call(case.loss(batch), batch).backward()
    assert all(tensor.grad is None for tensor in tree_leaves(batch.teacher))
