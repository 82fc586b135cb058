from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from tutelage.errors import RecipeError, TeacherError
from tutelage.recipes import Recipe, load
from tutelage.recipes.build import (
    build_distiller,
    build_splits,
    build_student,
    build_teacher,
    build_teacher_model,
)

USER_MODEL = """\
from torch import nn


def net(num_classes, in_channels, size, hidden=4):
    pixels = in_channels * size[0] * size[1]
    return nn.Sequential(nn.Flatten(), nn.Linear(pixels, hidden), nn.Linear(hidden, num_classes))
"""


@pytest.fixture(scope="module")
def digits() -> Recipe:
    return load("digits", ["terms.2={loss: hint, at: [act1, act2], via: auto}"])


def same(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[key], other[key]) for key in one)


def test_all_arms_of_a_seed_start_from_one_student_and_one_data_set(digits: Recipe) -> None:
    assert digits.compare is not None
    starts = []
    for seed in (0, 1):
        splits = build_splits(digits, seed)
        teacher = build_teacher_model(digits, splits.spec)
        for arm in digits.compare.arms:
            with build_distiller(digits, splits, teacher, seed=seed, arm=arm) as distiller:
                starts.append(distiller.student.state_dict())
    count = len(digits.compare.arms)
    assert all(same(starts[0], start) for start in starts[1:count])
    assert all(same(starts[count], start) for start in starts[count + 1 :])
    assert not same(starts[0], starts[count])


def test_seeds_change_the_labelled_images_and_neither_validation_nor_test(digits: Recipe) -> None:
    first, second = build_splits(digits, 0), build_splits(digits, 1)
    assert not torch.equal(first.labelled.ids, second.labelled.ids)
    assert torch.equal(first.validation.ids, second.validation.ids)
    assert torch.equal(first.test.ids, second.test.ids)


def test_building_leaves_the_random_state_alone(digits: Recipe) -> None:
    before = torch.get_rng_state()
    splits = build_splits(digits, 0)
    build_student(digits, splits.spec, 0)
    build_distiller(digits, splits, build_teacher_model(digits, splits.spec), seed=0).close()
    assert torch.equal(before, torch.get_rng_state())


def test_automatic_projectors_are_sized_at_once(digits: Recipe) -> None:
    splits = build_splits(digits, 0)
    with build_distiller(digits, splits, build_teacher_model(digits, splits.spec), seed=0) as made:
        assert made.objective.is_sized


def test_the_teacher_gets_images_normalised_as_it_expects() -> None:
    recipe = load("digits", ["teacher.mean=[0.5]", "teacher.std=[0.25]"])
    splits = build_splits(recipe, 0)
    seen: list[Tensor] = []
    model = build_teacher_model(recipe, splits.spec)
    model.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    images = splits.test.__getitems__([0, 1]).inputs
    with build_teacher(recipe, model, splits.spec) as teacher:
        teacher(images)
    pixels = images * splits.spec.std[0] + splits.spec.mean[0]
    torch.testing.assert_close(seen[0], (pixels - 0.5) / 0.25)


def test_a_shuffled_arm_hears_about_other_samples() -> None:
    recipe = load("digits")
    assert recipe.compare is not None
    splits = build_splits(recipe, 0)
    model = build_teacher_model(recipe, splits.spec)
    arm = next(arm for arm in recipe.compare.arms if arm.teacher == "shuffled")
    images = splits.test.__getitems__(list(range(8))).inputs
    with torch.no_grad():
        own = model.eval()(images)
    with build_distiller(recipe, splits, model, seed=0, arm=arm) as distiller:
        assert distiller.teacher is not None
        shuffled = distiller.teacher(images).logits
    assert shuffled is not None
    assert not (shuffled == own).all(dim=1).any()
    torch.testing.assert_close(shuffled.sort(dim=0).values, own.sort(dim=0).values)


def test_a_user_function_is_a_model(tmp_path: Path) -> None:
    file = tmp_path / "mine.py"
    file.write_text(USER_MODEL)
    changes = ["teacher=null", "terms=[{loss: ce}]", "compare=null"]
    recipe = load("digits", [f"student={{model: '{file}:net', hidden: 6}}", *changes])
    pieces = recipe.build()
    assert isinstance(pieces.student[1], nn.Linear)  # type: ignore[index]
    assert pieces.student[1].out_features == 6  # type: ignore[index]
    with pytest.raises(RecipeError, match=r"hiden = 6: unknown key .did you mean 'hidden'"):
        load("digits", [f"student={{model: '{file}:net', hiden: 6}}", *changes])


def test_a_teacher_to_be_trained_cannot_be_built_by_itself() -> None:
    with pytest.raises(RecipeError, match="train_teacher"):
        load("digits").build()


def test_a_teacher_of_other_classes_is_refused_without_a_map(digits: Recipe) -> None:
    recipe = load("digits", ["teacher.num_classes=12", "teacher.class_map=[0, 1]"])
    splits = build_splits(recipe, 0)
    model = build_teacher_model(recipe, splits.spec)
    with pytest.raises(ValueError, match="10"):
        build_distiller(recipe, splits, model, seed=0)
    twice = load("digits", ["teacher.class_map=[0, 0]"])
    with pytest.raises(TeacherError, match="distinct"):
        build_teacher(twice, model, splits.spec)
