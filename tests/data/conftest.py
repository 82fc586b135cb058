import importlib

import pytest
import torch

from tutelage.data import DataSpec, TensorImages


@pytest.fixture
def make_images():
    """Build a small data set in memory: pixel values name their image."""

    def make(count=20, *, classes=4, channels=1, side=6, **options):
        spec = DataSpec(
            name="toy",
            num_classes=classes,
            class_names=tuple(f"class {label}" for label in range(classes)),
            channels=channels,
            size=(side, side),
            mean=(0.0,) * channels,
            std=(1.0,) * channels,
        )
        pixels = torch.arange(count * channels * side * side) % 251
        images = pixels.view(count, channels, side, side).to(torch.uint8)
        return TensorImages(images, torch.arange(count) % classes, spec, **options)

    return make


@pytest.fixture
def pillow():
    try:
        return importlib.import_module("PIL.Image")
    except ImportError as error:
        pytest.skip(f"needs Pillow: {error}")


@pytest.fixture
def torchvision(pillow):
    # A torchvision built for another torch fails with RuntimeError or OSError.
    try:
        return importlib.import_module("torchvision")
    except (ImportError, RuntimeError, OSError, AttributeError) as error:
        pytest.skip(f"needs a torchvision that imports: {error}")


@pytest.fixture
def image_folder(tmp_path, pillow):
    """Return a function that writes random PNG files into class folders and gives the root."""

    def write(layout, *, side=12, name="photos"):
        root = tmp_path / name
        for folder, count in layout.items():
            (root / folder).mkdir(parents=True)
            for number in range(count):
                generator = torch.Generator().manual_seed(number * 1000 + len(folder))
                pixels = torch.randint(0, 256, (side, side, 3), generator=generator)
                image = pillow.fromarray(pixels.to(torch.uint8).numpy())
                image.save(root / folder / f"{number:03}.png")
        return root

    return write
