"""Every loss at its extremes: precision, size, degenerate batches."""

import pytest
import torch
from records.cases import Batch, Case, needs_teacher, obeys, of_logits
from torch import Tensor

HALVES = [torch.float16, torch.bfloat16]
EVERY = [*HALVES, torch.float32]


@obeys("half")
@pytest.mark.parametrize("dtype", HALVES)
def test_half_precision_agrees_with_float64_and_comes_back_in_float32(
    case: Case, dtype: torch.dtype
) -> None:
    batch = case.batch()
    low = batch.with_(student=lambda t: t.to(dtype).requires_grad_(), teacher=lambda t: t.to(dtype))
    value = case.value(low)
    value.backward()
    assert value.dtype == torch.float32
    assert all(gradient.dtype == dtype for gradient in low.gradients())
    torch.testing.assert_close(value.double(), case.value(batch), rtol=1e-2, atol=1e-2)


@obeys("autocast")
def test_autocast_does_not_lower_its_precision(case: Case) -> None:
    batch = case.batch(dtype=torch.float32)
    expected, low = batch.leaf(), batch.leaf()
    value = case.value(expected)
    with torch.autocast("cpu", torch.bfloat16):
        found = case.value(low)
    torch.testing.assert_close(found, value)
    value.backward()
    found.backward()
    torch.testing.assert_close(low.gradients(), expected.gradients())


@obeys("extreme")
@pytest.mark.parametrize("size", [1e4, 1e-4])
def test_extreme_inputs_stay_finite(case: Case, size: float) -> None:
    for dtype in EVERY:
        batch = case.batch(dtype=dtype)
        batch = batch.with_(student=lambda t: size * t.sign(), teacher=lambda t: -size * t.sign())
        case.finite(case.sound(batch), f"in {dtype}")


@obeys("certain", where=of_logits)
def test_one_class_certain_stays_finite(case: Case) -> None:
    for dtype in EVERY:
        batch = case.batch(dtype=dtype)
        for student, teacher in [(0, 0), (0, 1), (1, None), (None, 1)]:
            sides = {"student": _certain(student)}
            if batch.teacher is not None:
                sides["teacher"] = _certain(teacher)
            made = batch.with_(**sides)._replace(target=torch.zeros_like(batch.target))
            case.finite(made, f"in {dtype}, student of {student}, teacher of {teacher}")


def _certain(which: int | None):
    def make(logits: Tensor) -> Tensor:
        certain = torch.zeros_like(logits)
        certain[..., which] = 1000.0
        return certain

    return (lambda logits: logits) if which is None else make


@obeys("ruled_out", where=lambda case: needs_teacher(case) and of_logits(case))
def test_classes_that_the_teacher_rules_out_stay_finite(case: Case) -> None:
    def rule_out(logits: Tensor) -> Tensor:
        return torch.cat([logits[..., :1], torch.full_like(logits[..., 1:3], -torch.inf),
                          logits[..., 3:]], -1)  # fmt: skip

    case.finite(case.batch().with_(teacher=rule_out))


@obeys("two_classes", where=of_logits)
def test_two_classes_are_enough(case: Case) -> None:
    shape = case.shapes[0]
    assert not isinstance(shape[0], tuple)
    case.finite(case.batch((*shape[:-1], 2)))


@obeys("batch_of_one")
def test_one_sample_is_enough(case: Case) -> None:
    batch = case.batch()
    case.finite(batch.each(lambda tensor: tensor[:1]))


def sides(batch: Batch) -> list[list[str]]:
    if batch.teacher is None:
        return [["student"]]
    return [["student"], ["teacher"], ["student", "teacher"]]


@obeys("constant")
def test_constant_samples_stay_finite(case: Case) -> None:
    batch = case.batch(dtype=torch.float32)
    for value in (0.0, 1.0):
        for who in sides(batch):
            constant = batch.with_(
                **dict.fromkeys(who, lambda tensor, value=value: torch.full_like(tensor, value))
            )
            case.finite(constant, f"{who} of {value}")


@obeys("duplicates")
def test_equal_samples_stay_finite(case: Case) -> None:
    batch = case.batch(dtype=torch.float32)
    for who in sides(batch):
        repeated = batch.with_(
            **dict.fromkeys(who, lambda tensor: tensor[:1].expand_as(tensor).clone())
        )
        case.finite(repeated, f"{who}")
