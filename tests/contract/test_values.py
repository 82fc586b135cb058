"""What the value of every loss obeys, and what its class and file say."""

import sys

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as some
from records.cases import PROPERTIES, Case, Shape, call, cases, needs_teacher, obeys

from tutelage.losses import Loss


@pytest.mark.parametrize("case", cases(), ids=lambda case: case.name)
def test_records_exempt_from_known_properties_with_a_reason(case: Case) -> None:
    assert case.record.exempt.keys() <= PROPERTIES.keys()
    assert all(len(reason.split()) > 3 for reason in case.record.exempt.values())
    assert (case.record.minimum is None) <= ("equality" in case.record.exempt)


@obeys("constructs")
def test_it_constructs_with_defaults_and_shows_its_settings(case: Case) -> None:
    loss = case.kind()
    assert isinstance(loss, Loss)
    assert repr(loss).startswith(f"{type(loss).__name__}(")
    assert "=" in repr(loss)


@obeys("states")
def test_its_file_states_formula_and_source(case: Case) -> None:
    module = sys.modules[case.kind.__module__]
    assert case.kind.paper in (module.__doc__ or "")
    assert ".. math::" in "".join(f.__doc__ or "" for f in vars(module).values() if callable(f))
    assert ":func:" in (case.kind.__doc__ or "")


@obeys("value", shapes=True)
def test_the_value_is_a_finite_scalar_with_a_gradient(case: Case, shape: Shape) -> None:
    batch = case.batch(shape).leaf()
    value = case.value(batch)
    value.backward()
    assert value.shape == ()
    assert value.dtype == torch.float64
    assert value.isfinite()
    assert all(gradient.isfinite().all() for gradient in batch.gradients())
    assert any(gradient.ne(0).any() for gradient in batch.gradients())


@obeys("random")
def test_random_batches_give_a_finite_value_that_is_never_below_the_minimum(case: Case) -> None:
    sizes = some.integers(2, 6)

    @settings(database=None, deadline=None, derandomize=True, max_examples=8)
    @given(
        some.sampled_from(case.shapes),
        some.lists(sizes, min_size=8, max_size=8),
        some.sampled_from([torch.float64, torch.float32, torch.bfloat16, torch.float16]),
        some.sampled_from([1e-3, 0.1, 1.0, 10.0, 300.0]),
        some.integers(0, 99),
    )
    def check(shape, sizes, dtype, scale, seed):
        batch = case.batch(_resized(case, shape, sizes), dtype, seed)
        batch = case.sound(batch.with_(student=lambda t: scale * t, teacher=lambda t: scale * t))
        batch = batch.leaf()
        value = case.value(batch)
        value.backward()
        assert value.isfinite()
        assert value.dtype == (torch.float64 if dtype == torch.float64 else torch.float32)
        assert all(gradient.isfinite().all() for gradient in batch.gradients())
        assert case.record.minimum != 0 or value >= -1e-5 * max(1, scale)

    check()


def _resized(case: Case, shape: Shape, sizes: list[int]) -> Shape:
    """Return the shape with other sizes, the batch only where the record fixes the rest."""
    if isinstance(shape[0], tuple):
        return tuple((sizes[0], *layer[1:]) for layer in shape)
    if case.record.fixed:
        return (sizes[0], *shape[1:])
    return tuple(sizes[: len(shape)])


@obeys("equality", where=needs_teacher)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_equal_tensors_cost_the_minimum_and_ask_for_no_change(
    case: Case, dtype: torch.dtype
) -> None:
    batch = case.batch(dtype=dtype)
    batch = batch._replace(student=batch.teacher).leaf()
    value = case.value(batch)
    value.backward()
    tolerance = 100 * torch.finfo(dtype).eps
    assert value.item() == pytest.approx(case.record.minimum, abs=tolerance)
    assert all(gradient.abs().max() <= tolerance for gradient in batch.gradients())


@obeys("order")
def test_the_order_of_the_samples_does_not_count(case: Case) -> None:
    batch = case.batch()
    loss, order = case.loss(batch), torch.tensor([2, 0, 3, 1])
    mixed = batch.each(lambda tensor: tensor[order])
    torch.testing.assert_close(case.value(mixed, loss), case.value(batch, loss))


@obeys("samples", where=lambda case: not case.kind.compares_samples, shapes=True)
def test_the_batch_is_the_mean_of_its_samples(case: Case, shape: Shape) -> None:
    batch = case.batch(shape)
    loss, count = case.loss(batch), len(batch.tensors()[0])
    alone = [
        case.value(batch.each(lambda tensor, b=b: tensor[b : b + 1]), loss) for b in range(count)
    ]
    torch.testing.assert_close(torch.stack(alone).mean(), case.value(batch, loss))


@obeys("cuda")
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU here")
def test_a_gpu_gives_the_same(case: Case) -> None:
    batch = case.batch()
    loss = case.loss(batch).eval()
    there = batch.each(lambda tensor: tensor.cuda()).leaf()
    here = batch.leaf()
    values = call(loss, here), call(loss.cuda(), there).cpu()
    torch.testing.assert_close(values[1], values[0])
    values[0].backward()
    values[1].backward()
    gradients = [gradient.cpu() for gradient in there.gradients()]
    torch.testing.assert_close(gradients, here.gradients())
