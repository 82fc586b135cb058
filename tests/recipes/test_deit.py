"""Recipes for students with a distillation token, and for two sub-networks of one student."""

from pathlib import Path

import pytest
import torch

from tutelage.errors import RecipeError
from tutelage.models import DistilledViT, Submodels
from tutelage.recipes import Recipe, from_text, load
from tutelage.recipes.check import check

SMALL = "patch: 4, width: 16, depth: 2, heads: 2"
DIGITS = f"""
name: tokens
data: {{name: digits, labelled: 50}}
student: {{model: distilled_vit, {SMALL}}}
teacher: {{model: mlp, widths: [16], weights: TEACHER}}
terms:
  - {{loss: ce, weight: 0.5}}
  - {{loss: hard_label, at: ["output:1", null], weight: 0.5}}
training: {{steps: 2}}
compare:
  seeds: 1
  arms:
    - name: plain
      role: baseline
      terms: [{{loss: ce}}]
      student: {{model: distilled_vit, distilled: false, {SMALL}}}
    - {{name: token}}
    - name: cosub
      teacher: itself
      student: {{model: submodels, of: distilled_vit, distilled: false, drop_path: 0.3, {SMALL}}}
      terms:
        - {{loss: bce, weight: 0.25}}
        - {{loss: bce, weight: 0.25, at: second, name: bce of the other}}
        - {{loss: bce_kd, probabilities: sigmoid, weight: 0.25, at: [first, second]}}
        - loss: bce_kd
          probabilities: sigmoid
          weight: 0.25
          at: [second, first]
          name: kd of the other
"""


@pytest.fixture
def recipe(tmp_path: Path) -> Recipe:
    from tutelage.models import create

    path = tmp_path / "teacher.pt"
    make = {"num_classes": 10, "in_channels": 1, "size": (8, 8)}
    torch.save(create("mlp", widths=(16,), **make).state_dict(), path)
    return from_text(DIGITS.replace("TEACHER", str(path)))


def test_the_token_learns_from_the_teacher_and_the_class_token_from_the_labels(recipe) -> None:
    pieces = recipe.build()
    assert isinstance(pieces.student, DistilledViT)
    images = pieces.splits.labelled.plain().__getitems__(range(8))
    step = pieces.distiller(*images)
    cls, dist = pieces.student(images.inputs)
    decision = pieces.teacher(images.inputs).logits.argmax(-1)
    cross_entropy = torch.nn.functional.cross_entropy
    torch.testing.assert_close(step.parts["ce"], cross_entropy(cls, images.target).detach())
    torch.testing.assert_close(step.parts["hard_label"], cross_entropy(dist, decision).detach())


def test_two_submodels_teach_each_other_in_an_arm(recipe) -> None:
    arm = recipe.compare.arms[2]
    pieces = recipe.build(arm=arm)
    assert isinstance(pieces.student, Submodels)
    step = pieces.distiller(*pieces.splits.labelled.plain().__getitems__(range(8)))
    assert list(step.parts) == ["bce", "bce of the other", "bce_kd", "kd of the other"]
    assert step.parts["bce"] != step.parts["bce of the other"]


def test_the_check_shows_the_token_beside_the_teachers_logits(tmp_path, recipe) -> None:
    path = tmp_path / "recipe.yaml"
    path.write_text(recipe.to_yaml())
    lines = dict(check(str(path)))
    assert "output:1 [" in lines["term hard_label"]


def test_a_place_that_the_student_does_not_return_is_placed(tmp_path, recipe) -> None:
    text = recipe.to_yaml().replace("output:1", "outptu:1")
    path = tmp_path / "recipe.yaml"
    path.write_text(text)
    with pytest.raises(RecipeError, match=r"no 'outptu:1'"):
        list(check(str(path)))


def test_the_shipped_recipe_sets_tokens_beside_plain_students() -> None:
    recipe = load("deit-small-images")
    arms = {arm.name: arm for arm in recipe.compare.arms}
    for name, kind in (("token hard", "hard_label"), ("token soft", "kd")):
        student, terms = recipe.student_of(arms[name]), recipe.terms_of(arms[name])
        assert student.options.get("distilled", True)
        assert [(term.loss, term.at) for term in terms] == [
            ("ce", None),
            (kind, (("output:1", None),)),
        ]
        plain = recipe.student_of(arms[name.replace("token", "plain")])
        assert plain.options == student.options | {"distilled": False}
    roles = [arm.role for arm in recipe.compare.arms]
    assert roles.count("baseline") == 1
    assert roles.count("control") == 2
