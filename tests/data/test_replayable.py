"""Case 7 of the fault plan: random augmentation that cannot be played again."""

import functools
import importlib
import random

import numpy as np
import pytest
import torch
from torch import Tensor

from tutelage.data import ShiftFlip, check_replayable
from tutelage.data.replayable import own_generators
from tutelage.errors import InputError

WHOLE = "whenever one view of it is drawn"


class OwnGenerator:
    """Mirrors half of the images, by a generator that nobody else can seed."""

    def __init__(self) -> None:
        self.rng = np.random.default_rng(0)

    def __call__(self, image: Tensor) -> Tensor:
        return image.flip(-1) if self.rng.random() < 0.5 else image


class Counter:
    """Draws nothing, and yet gives every call something else."""

    def __init__(self) -> None:
        self.calls = 0

    def __call__(self, image: Tensor) -> Tensor:
        self.calls += 1
        return image.roll(self.calls, -1)


def from_globals(image: Tensor) -> Tensor:
    """Draw from all three global generators."""
    if torch.rand(()) < 0.5:
        image = image.flip(-1)
    image = image.roll(int(np.random.randint(6)), -1)
    return image.roll(random.randrange(6), -2)


def closure(generator: torch.Generator):
    def turn(image: Tensor) -> Tensor:
        return image.roll(int(torch.randint(6, (), generator=generator)), -1)

    return turn


@pytest.mark.parametrize("transform", [None, ShiftFlip(1), from_globals])
def test_augmentation_that_each_view_seeds_is_replayable(make_images, transform) -> None:
    check_replayable(make_images(transform=transform))


def test_transforms_of_torchvision_are_replayable(make_images, torchvision) -> None:
    v2 = importlib.import_module("torchvision.transforms.v2")
    transform = v2.Compose([v2.RandomResizedCrop(6, antialias=True), v2.RandomHorizontalFlip()])
    check_replayable(make_images(channels=3, transform=transform))


def test_image_files_under_torchvision_are_replayable(image_folder, torchvision) -> None:
    from tutelage.data import load_image_folder

    root = image_folder({"cat": 6, "dog": 6})
    splits = load_image_folder(root=root, size=8, validation=2, test=2)
    check_replayable(splits.train)


@pytest.mark.parametrize(
    ("transform", "culprit"),
    [
        (OwnGenerator(), "rng: Generator"),
        (closure(torch.Generator().manual_seed(0)), "generator: Generator"),
        (functools.partial(lambda rng, image: image.roll(rng.randrange(6), -1), random.Random(0)),
         "partial: Random"),
    ],
    ids=["numpy", "torch", "python"],
)  # fmt: skip
def test_case_7_generator_of_its_own_is_refused_and_named(make_images, transform, culprit) -> None:
    with pytest.raises(InputError, match=WHOLE) as caught:
        check_replayable(make_images(transform=transform))
    assert culprit in str(caught.value)
    assert "draw from the global generators" in str(caught.value)
    assert caught.value.exit_code == 2


def test_case_7_transform_that_remembers_its_calls_is_refused(make_images) -> None:
    with pytest.raises(InputError, match=WHOLE) as caught:
        check_replayable(make_images(transform=Counter()))
    assert "generator of its own" not in str(caught.value)


def test_the_check_leaves_the_global_generators_and_the_view_alone(make_images) -> None:
    data = make_images(transform=from_globals)
    data.set_view(3)
    states = torch.get_rng_state(), np.random.get_state()[1].tolist(), random.getstate()
    check_replayable(data)
    assert torch.equal(torch.get_rng_state(), states[0])
    assert np.random.get_state()[1].tolist() == states[1]
    assert random.getstate() == states[2]
    assert data.view == 3


def test_the_shared_generators_are_nobodys_own() -> None:
    draw = random.random
    assert own_generators(lambda image: image * draw()) == set()
