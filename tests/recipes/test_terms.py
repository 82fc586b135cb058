"""What a recipe can say of a term, of an arm and of a published recipe."""

import pytest
import torch
import yaml
from safetensors.torch import save_file

import tutelage as tl
from tutelage.errors import RecipeError, TapError
from tutelage.models import Cohort, create
from tutelage.objective import Term
from tutelage.projectors import AutoProjector, ConvProjector, Deferred
from tutelage.recipes import load
from tutelage.recipes.reuse import ReuseSettings
from tutelage.recipes.schema import Recipe
from tutelage.recipes.terms import TermSettings

ALONE = "{name: alone, role: baseline, terms: [{loss: ce}]}"


def settings(text: str) -> TermSettings:
    return TermSettings.model_validate(yaml.safe_load(text))


def with_arm(arm: str, *more: str) -> Recipe:
    return load("digits", [f"compare.arms=[{ALONE}, {arm}]", *more])


@pytest.mark.parametrize(
    ("at", "places", "written"),
    [
        ("hidden1", (("hidden1", "hidden1"),), ["hidden1", "hidden1"]),
        ("[act1, act2]", (("act1", "act2"),), ["act1", "act2"]),
        ("[act1, null]", (("act1", None),), ["act1", None]),
        ("[[a, b], [c, d]]", (("a", "b"), ("c", "d")), [["a", "b"], ["c", "d"]]),
    ],
)
def test_places_are_written_as_they_are_meant(at, places, written) -> None:
    term = settings(f"{{loss: hint, at: {at}}}")
    assert term.at == places
    assert term.model_dump(mode="json")["at"] == written
    assert TermSettings.model_validate(term.model_dump(mode="json")) == term


@pytest.mark.parametrize("at", ["[a, b, c]", "[]", "3", "[[a, b], c]"])
def test_what_is_no_place_is_refused(at) -> None:
    with pytest.raises(ValueError, match="one name for both, or a list of such pairs"):
        settings(f"{{loss: hint, at: {at}}}")


def test_widths_that_are_left_out_are_read_off_the_first_tensors() -> None:
    term = settings("{loss: hint, at: a, via: {type: conv, norm: true}}").build()
    assert isinstance(term.via, Deferred)
    term.via.size_for(torch.zeros(2, 3, 4, 4), torch.zeros(2, 5, 4, 4))
    assert term.via(torch.zeros(2, 3, 4, 4)).shape == (2, 5, 4, 4)
    assert isinstance(term.via.projector.norm, torch.nn.BatchNorm2d)
    stated = settings("{loss: hint, at: a, via: {type: conv, in_channels: 3, out_channels: 5}}")
    assert isinstance(stated.build().via, ConvProjector)


def test_an_option_that_no_tensor_can_tell_is_checked_all_the_same() -> None:
    with pytest.raises(ValueError, match=r"unknown key \(did you mean 'norm'"):
        settings("{loss: hint, at: a, via: {type: conv, norms: true}}")


def test_the_teachers_tensor_can_be_normalised() -> None:
    term = settings("{loss: hint, at: a, normalize: {type: batch_norm, momentum: 0.5}}").build()
    assert isinstance(term, Term)
    assert term.normalize.momentum == 0.5
    with pytest.raises(ValueError, match=r"unknown normaliser \(did you mean 'batch_norm'\?\)"):
        settings("{loss: hint, at: a, normalize: batchnorm}")


def test_an_arm_may_learn_from_itself_with_a_student_of_its_own() -> None:
    recipe = with_arm(
        "{name: mutual, teacher: itself, student: {model: cohort, of: mlp, widths: [16]}, terms: ["
        "{loss: ce}, {loss: ce, at: members.1, name: ce 1},"
        "{loss: kd, temperature: 1, at: [members.0, members.1]},"
        "{loss: kd, temperature: 1, at: [members.1, members.0], name: kd 1}]}"
    )
    pieces = recipe.build(arm=recipe.compare.arms[1])
    assert isinstance(pieces.student, Cohort)
    assert isinstance(pieces.teacher, tl.Itself)
    batch = pieces.splits.labelled.plain().__getitems__(range(4))
    step = pieces.distiller(batch.inputs, batch.target)
    assert set(step.parts) == {"ce", "ce 1", "kd", "kd 1"}
    assert Recipe.model_validate(yaml.safe_load(recipe.to_yaml())) == recipe


def test_an_arm_may_learn_from_its_own_average_without_any_teacher() -> None:
    recipe = load(
        "digits",
        [
            "teacher=null",
            "terms=[{loss: ce}]",
            f"compare.arms=[{ALONE}, {{name: mean teacher, teacher: ema, terms: ["
            "{loss: ce}, {loss: kd}]}]",
        ],
    )
    assert isinstance(recipe.build(arm=recipe.compare.arms[1]).teacher, tl.EMATeacher)


def test_an_arm_with_a_teachers_loss_needs_some_teacher() -> None:
    with pytest.raises(RecipeError, match="this loss needs a teacher, and the recipe has none"):
        load(
            "digits",
            [
                "teacher=null",
                "terms=[{loss: ce}]",
                f"compare.arms=[{ALONE}, {{name: kd, terms: [{{loss: kd}}]}}]",
            ],
        )


def test_a_published_recipe_gives_terms_and_training_where_none_are_written() -> None:
    recipe = with_arm("{name: match, preset: function-matching}")
    arm = recipe.compare.arms[1]
    assert [(term.loss, term.options) for term in recipe.terms_of(arm)] == [
        ("kd", {"temperature": 1.0})
    ]
    assert recipe.training_of(arm).mixup == 1.0
    assert recipe.training.mixup is None
    own = with_arm("{name: match, preset: usi, terms: [{loss: kd}], training: {mixup: 0.5}}")
    assert [term.loss for term in own.compare.arms[1].terms] == ["kd"]
    whole = load("digits", ["preset=usi", "terms=null"])
    assert [(term.loss, term.weight) for term in whole.terms] == [("ce", 1.0), ("kd", 5.0)]
    assert Recipe.model_validate(yaml.safe_load(whole.to_yaml())) == whole


def test_an_unknown_published_recipe_is_named_at_its_key() -> None:
    with pytest.raises(RecipeError, match=r"preset = 'usy': unknown preset .did you mean 'usi'"):
        load("digits", ["preset=usy"])
    with pytest.raises(RecipeError, match=r"arms.1.preset.*unknown preset"):
        with_arm("{name: x, preset: usy}")


def test_an_arm_may_be_judged_through_the_teachers_classifier(tmp_path) -> None:
    teacher = create("small_cnn", num_classes=10, in_channels=1, widths=(8, 16))
    weights = tmp_path / "teacher.safetensors"
    save_file(teacher.state_dict(), weights)
    recipe = load(
        "digits",
        [
            "student={model: small_cnn, widths: [4, 4]}",
            f"teacher={{model: small_cnn, widths: [8, 16], weights: {weights}}}",
            f"compare.arms=[{ALONE}, {{name: simkd, reuse_head: {{at: stage2, teacher: stage2, "
            "head: head}, terms: [{loss: simkd, at: [projector, stage2]}]}]",
        ],
    )
    pieces = recipe.build(arm=recipe.compare.arms[1])
    torch.testing.assert_close(pieces.student.head.weight, teacher.head.weight.detach())
    batch = pieces.splits.labelled.plain().__getitems__(range(4))
    step = pieces.distiller(batch.inputs, batch.target)
    step.loss.backward()
    assert pieces.student.student.stage1.conv1.weight.grad.ne(0).any()
    assert pieces.student.head.weight.grad is None
    missing = recipe.compare.arms[1].model_copy(
        update={"reuse_head": ReuseSettings(at="stage2", teacher="stage2", head="fc")}
    )
    with pytest.raises(TapError, match="no layer 'fc'"):
        recipe.build(arm=missing)


def test_one_projector_stands_for_one_at_each_layer() -> None:
    places = "[[a, a], [b, b]]"
    for via, kind in (("auto", AutoProjector), ("{type: conv, norm: true}", Deferred)):
        term = settings(f"{{loss: layers, at: {places}, via: {via}}}").build()
        first, second = term.via
        assert isinstance(first, kind)
        assert isinstance(second, kind)
        assert first is not second
