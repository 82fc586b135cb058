"""The recipe of hints: what it states, and that it fits together on a folder of images."""

from pathlib import Path

import pytest
import torch

from tutelage.recipes import Recipe, load
from tutelage.recipes.check import check

# Both nets at 32 pixels, so that a check takes seconds.
SMALL = ["data.size=32", "training.workers=0", "teacher.train.workers=0"]


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    image = pytest.importorskip("PIL.Image")
    generator = torch.Generator().manual_seed(0)
    for number in range(60):
        folder = tmp_path / "photos" / ("cat", "dog", "eel")[number % 3]
        folder.mkdir(parents=True, exist_ok=True)
        pixels = torch.randint(256, (40, 40, 3), generator=generator, dtype=torch.uint8)
        image.fromarray(pixels.numpy()).save(folder / f"{number}.png")
    return tmp_path / "photos"


def recipe_of(root: Path | str) -> Recipe:
    return load("hint-resnet", [f"data.root={root}", *SMALL])


def test_the_recipe_holds_what_the_article_left_out() -> None:
    recipe = recipe_of("photos")
    # The teacher, and its head with it, is trained before anyone learns from it.
    assert recipe.teacher is not None
    assert recipe.teacher.train is not None
    # The best epoch, which the loop judges by validation images; several seeds.
    assert recipe.training.selection == recipe.teacher.train.selection == "best"
    assert recipe.compare is not None
    assert recipe.compare.seeds >= 3
    arms = {arm.name: arm for arm in recipe.compare.arms}
    assert {arm.role for arm in arms.values()} == {"baseline", "method", "control"}
    assert [stage.name for stage in arms["two stages"].stages] == ["hint"]


def test_check_builds_it_on_a_folder_of_images(photos: Path) -> None:
    pytest.importorskip("timm", exc_type=ImportError)
    pytest.importorskip("torchvision", exc_type=ImportError)
    lines = [str(line) for line in check("hint-resnet", [f"data.root={photos}", *SMALL])]
    text = "\n".join(lines)
    assert "layer3" in text
    assert "256" in text  # the student's channels there
    assert "1024" in text  # the teacher's
