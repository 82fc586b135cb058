"""What every loss obeys, whatever it computes: all of it over the index."""

import copy
import pickle

import pytest
import torch

from tutelage.losses import Loss, index

LOSSES = sorted(index())
TEACHERS = [name for name in LOSSES if index()[name].needs_teacher]
LOGITS = [name for name in LOSSES if index()[name].compares == "logits"]
FEATURES = [name for name in LOSSES if index()[name].compares == "features"]
# At equal logits these are an entropy or a cross-entropy, which is not 0.
NOT_ZERO_AT_EQUALITY = {"hard_label"}
# A squared difference has no limit where a logit is infinite.
UNDEFINED_AT_INFINITY = {"logit_mse"}
# The layouts that the losses of features can take.
LAYOUTS = [(4, 6, 3, 5), (4, 7, 6)]


def shapes(name):
    return [(4, 5), (3, 4, 5), (4, 2), (1, 5)] if name in LOGITS else LAYOUTS


def batch(name, shape=None, dtype=torch.float64):
    """Student, teacher and target for a loss; no two values alike."""
    torch.manual_seed(0)
    shape = shape or shapes(name)[0]
    student, teacher = torch.randn(2, *shape, dtype=dtype)
    target = torch.randint(shape[-1], shape[:-1]) if name in LOGITS else None
    return student, teacher if index()[name].needs_teacher else None, target


def every_shape(names):
    return [
        pytest.param(name, shape, id=f"{name}-{shape}") for name in names for shape in shapes(name)
    ]


@pytest.mark.parametrize("name", LOSSES)
def test_it_constructs_with_defaults_and_shows_its_settings(name):
    loss = index()[name]()
    assert isinstance(loss, Loss)
    assert repr(loss).startswith(f"{type(loss).__name__}(")
    assert "=" in repr(loss)


@pytest.mark.parametrize("name", LOSSES)
def test_its_file_states_formula_and_source(name):
    loss = index()[name]
    module = __import__(loss.__module__, fromlist=["_"])
    assert loss.paper in module.__doc__
    assert ".. math::" in "".join(f.__doc__ or "" for f in vars(module).values() if callable(f))
    assert loss.__doc__.count(":func:") == 1


@pytest.mark.parametrize(("name", "shape"), every_shape(LOSSES))
def test_the_value_is_a_finite_scalar_with_a_gradient(name, shape):
    student, teacher, target = batch(name, shape)
    value = index()[name]()(student.requires_grad_(), teacher, target)
    value.backward()
    assert value.shape == ()
    assert value.dtype == torch.float64
    assert value.isfinite()
    assert student.grad.isfinite().all()
    assert student.grad.ne(0).any()


@pytest.mark.parametrize(("name", "shape"), every_shape(LOSSES))
def test_the_gradient_is_that_of_the_value(name, shape):
    student, teacher, target = batch(name, shape)
    loss = index()[name]()
    assert torch.autograd.gradcheck(
        lambda tensor: loss(tensor, teacher, target), student.requires_grad_(), fast_mode=True
    )


@pytest.mark.parametrize("name", sorted({*TEACHERS} - NOT_ZERO_AT_EQUALITY))
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_equal_tensors_cost_nothing_and_ask_for_no_change(name, dtype):
    student, _, target = batch(name, dtype=dtype)
    value = index()[name]()(student.requires_grad_(), student.detach().clone(), target)
    value.backward()
    tolerance = 10 * torch.finfo(dtype).eps
    assert abs(value.item()) <= tolerance
    assert student.grad.abs().max() <= tolerance


@pytest.mark.parametrize("name", TEACHERS)
def test_no_gradient_reaches_the_teacher(name):
    student, teacher, target = batch(name)
    teacher.requires_grad_()
    index()[name]()(student.requires_grad_(), teacher, target).backward()
    assert teacher.grad is None


@pytest.mark.parametrize("name", LOSSES)
def test_the_order_of_the_samples_does_not_count(name):
    student, teacher, target = batch(name)
    loss, order = index()[name](), torch.tensor([2, 0, 3, 1])
    mixed = [None if tensor is None else tensor[order] for tensor in (student, teacher, target)]
    torch.testing.assert_close(loss(*mixed), loss(student, teacher, target))


@pytest.mark.parametrize(("name", "shape"), every_shape(LOSSES))
def test_the_batch_is_the_mean_of_its_samples(name, shape):
    student, teacher, target = batch(name, shape)
    loss = index()[name]()
    one_by_one = [
        loss(
            *(
                None if tensor is None else tensor[b : b + 1]
                for tensor in (student, teacher, target)
            )
        )
        for b in range(shape[0])
    ]
    torch.testing.assert_close(torch.stack(one_by_one).mean(), loss(student, teacher, target))


@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_agrees_with_float64_and_comes_back_in_float32(name, dtype):
    student, teacher, target = batch(name)
    loss = index()[name]()
    exact = loss(student, teacher, target)
    low = student.to(dtype).requires_grad_()
    value = loss(low, None if teacher is None else teacher.to(dtype), target)
    value.backward()
    assert value.dtype == torch.float32
    assert low.grad.dtype == dtype
    torch.testing.assert_close(value.double(), exact, rtol=1e-2, atol=1e-2)


@pytest.mark.parametrize("name", LOSSES)
def test_autocast_does_not_lower_its_precision(name):
    inputs = batch(name, dtype=torch.float32)
    loss = index()[name]()
    with torch.autocast("cpu", torch.bfloat16):
        value = loss(*inputs)
    torch.testing.assert_close(value, loss(*inputs))


@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
@pytest.mark.parametrize("size", [1e4, 1e-4])
def test_extreme_inputs_stay_finite(name, dtype, size):
    student, teacher, target = batch(name, dtype=dtype)
    student = (size * student.sign()).requires_grad_()
    teacher = None if teacher is None else -size * teacher.sign()
    value = index()[name]()(student, teacher, target)
    value.backward()
    assert value.isfinite()
    assert student.grad.isfinite().all()


@pytest.mark.parametrize("name", LOSSES)
def test_constant_rows_stay_finite(name):
    student, teacher, target = batch(name)
    for value in (0.0, 1.0):
        constant = torch.full_like(student, value).requires_grad_()
        found = index()[name]()(constant, teacher, target)
        found.backward()
        assert found.isfinite()
        assert constant.grad.isfinite().all()


@pytest.mark.parametrize("name", sorted({*LOGITS} & {*TEACHERS} - UNDEFINED_AT_INFINITY))
def test_classes_that_the_teacher_rules_out_stay_finite(name):
    student, teacher, target = batch(name)
    teacher[:, 1:3] = -torch.inf
    value = index()[name]()(student.requires_grad_(), teacher, target)
    value.backward()
    assert value.isfinite()
    assert student.grad.isfinite().all()


@pytest.mark.parametrize("name", LOGITS)
def test_dropped_positions_count_nothing(name):
    student, teacher, target = batch(name, (6, 5))
    target[1] = target[4] = -100
    kept, loss = target != -100, index()[name]()
    some = loss(student[kept], None if teacher is None else teacher[kept], target[kept])
    student.requires_grad_()
    value = loss(student, teacher, target)
    value.backward()
    torch.testing.assert_close(value, some)
    assert student.grad[~kept].eq(0).all()
    assert student.grad[kept].ne(0).any(1).all()


@pytest.mark.parametrize("name", LOGITS)
def test_nothing_kept_is_zero_with_its_graph(name):
    student, teacher, target = batch(name)
    value = index()[name]()(student.requires_grad_(), teacher, torch.full_like(target, -100))
    value.backward()
    assert value.item() == 0
    assert student.grad.eq(0).all()


@pytest.mark.parametrize("name", FEATURES)
def test_the_memory_format_does_not_count(name):
    student, teacher, _ = batch(name)
    loss = index()[name]()
    last = [tensor.to(memory_format=torch.channels_last) for tensor in (student, teacher)]
    torch.testing.assert_close(loss(*last), loss(student, teacher))


@pytest.mark.parametrize("name", LOSSES)
def test_it_changes_neither_itself_nor_its_inputs(name):
    inputs = batch(name)
    loss = index()[name]().eval()
    before = copy.deepcopy(inputs), copy.deepcopy(loss.state_dict())
    first, second = loss(*inputs), loss(*inputs)
    assert first == second
    for old, new in zip(before[0], inputs, strict=True):
        torch.testing.assert_close(new, old) if old is not None else None
    torch.testing.assert_close(dict(loss.state_dict()), dict(before[1]))


@pytest.mark.parametrize("name", LOSSES)
def test_it_survives_pickling_and_copying(name):
    inputs, loss = batch(name), index()[name]()
    for twin in (pickle.loads(pickle.dumps(loss)), copy.deepcopy(loss)):
        assert repr(twin) == repr(loss)
        assert twin(*inputs) == loss(*inputs)


@pytest.mark.parametrize("name", TEACHERS)
@pytest.mark.parametrize("change", ["batch", "rows"])
def test_nothing_broadcasts(name, change):
    student, teacher, target = batch(name)
    other = teacher[:1] if change == "batch" else teacher[..., :1]
    if change == "rows" and name == "at":
        other = teacher[..., :1, :]  # its channels may differ, its positions may not
    with pytest.raises(ValueError, match=r"found student .* vs teacher"):
        index()[name]()(student, other, target)


@pytest.mark.parametrize("name", LOGITS)
@pytest.mark.parametrize("who", ["student", "teacher", "both"])
@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_dropped_positions_count_nothing_whatever_stands_there(name, who, value):
    student, teacher, target = batch(name, (6, 5))
    target[1] = target[4] = -100
    kept, loss = target != -100, index()[name]()
    some = loss(student[kept], None if teacher is None else teacher[kept], target[kept])
    if who != "teacher":
        student[1] = student[4, 2] = value
    if who != "student" and teacher is not None:
        teacher[4] = teacher[1, 0] = value
    student.requires_grad_()
    found = loss(student, teacher, target)
    found.backward()
    torch.testing.assert_close(found, some)
    assert student.grad[~kept].eq(0).all()
    assert student.grad[kept].isfinite().all()


@pytest.mark.parametrize(("name", "shape"), every_shape(LOSSES))
def test_an_empty_batch_is_zero_with_its_graph(name, shape):
    student, teacher, target = (
        None if tensor is None else tensor[:0] for tensor in batch(name, shape)
    )
    value = index()[name]()(student.requires_grad_(), teacher, target)
    value.backward()
    assert value.item() == 0
    assert student.grad.shape == student.shape


@pytest.mark.parametrize("name", sorted({*LOGITS} & {*TEACHERS}))
def test_a_teacher_that_is_not_a_number_is_not_hidden(name):
    student, teacher, target = batch(name)
    teacher[2, 1] = float("nan")
    assert index()[name]()(student, teacher, target).isnan()
