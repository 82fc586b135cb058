import functools

import numpy as np
from torch import nn

from tutelage.data import ShiftFlip
from tutelage.training.described import described


class Jitter:
    def __init__(self, size: float) -> None:
        self.size = size
        self.inner = [nn.Identity(), np.add]

    def __call__(self, image):
        return image


def test_parameters_are_part_of_the_description() -> None:
    assert described(ShiftFlip(2)) != described(ShiftFlip(3))
    assert "size=0.5" in described(Jitter(0.5))
    assert described(functools.partial(round, ndigits=1)) == "partial(round, ndigits=1)"


def test_no_place_in_memory_is_part_of_it() -> None:
    words = [described(one) for one in (Jitter(0.5), lambda image: image, Jitter(0.5).__call__)]
    assert not any("0x" in text for text in words)
    assert described(Jitter(0.5)) == described(Jitter(0.5))


def test_two_functions_have_their_own_names() -> None:
    def inner(image):
        return image

    assert described(inner).endswith("test_two_functions_have_their_own_names.<locals>.inner")
