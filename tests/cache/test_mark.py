"""Marks: the same pixels have the same one, others do not."""

import math

import torch

from tutelage.cache import differ, marks_of


def images(n: int = 2000) -> torch.Tensor:
    return torch.randn(n, 3, 16, 16, generator=torch.Generator().manual_seed(0))


def test_the_mark_is_the_sketch_that_is_stated() -> None:
    import hashlib

    x = images(5).double()
    bits = hashlib.shake_256(b"tutelage mark v1").digest(768 // 8)
    signs = [1 if bits[i // 8] >> (7 - i % 8) & 1 else -1 for i in range(768)]
    for image, mark in zip(x.flatten(1).tolist(), marks_of(x.float()).tolist(), strict=True):
        along = sum(a * b for a, b in zip(image, signs, strict=True)) / math.sqrt(768) / 0.25
        expected = math.floor(256 * (along % 1))
        assert min((mark - expected) % 256, (expected - mark) % 256) <= 1


def test_marks_do_not_depend_on_the_batch_and_hardly_on_precision() -> None:
    x = images()
    one_by_one = torch.cat([marks_of(image[None]) for image in x[:50]])
    assert not differ(one_by_one, marks_of(x)[:50]).any()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(marks_of(x), marks_of(x.clone()))
        assert not differ(marks_of(x), marks_of(x.contiguous(memory_format=torch.channels_last)))[
            :50
        ].any()


def test_other_pixels_have_other_marks_but_for_seven_in_256() -> None:
    x = images()
    for changed in (x.flip(3), x * 1.1 + 0.05, 0.7 * x + 0.3 * x.roll(1, 0), x.roll(1, 0)):
        assert differ(marks_of(x), marks_of(changed)).float().mean() > 0.95


def test_marks_agree_up_to_three_apart_on_the_circle() -> None:
    a = torch.tensor([0, 0, 0, 254, 100], dtype=torch.uint8)
    b = torch.tensor([3, 253, 4, 2, 97], dtype=torch.uint8)
    assert differ(a, b).tolist() == [False, False, True, True, False]
