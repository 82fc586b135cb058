"""Recipes whose teacher's answers are on disk, or are on their way there."""

from pathlib import Path

import pytest
import torch

from tutelage.errors import DataError, InputError, RecipeError, TapError
from tutelage.recipes import distill, load
from tutelage.recipes.build import build_distiller, build_splits
from tutelage.recipes.caching import build_cache, compare_cache, describe_cache
from tutelage.recipes.lookup import is_complete
from tutelage.recipes.needs import taps_of, temperatures_of
from tutelage.recipes.schema import Recipe
from tutelage.runs import RunFolder
from tutelage.teachers import CachedTeacher, ShuffledTeacher, WritingTeacher

QUICK = [
    "compare=null",
    "data.labelled=60",
    "teacher.train.steps=100",
    "training.steps=6",
    "training.batch_size=20",
]


def recipe(*changes: str) -> Recipe:
    return load("digits", [*QUICK, *changes])


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("caches") / "digits"
    build_cache(recipe(), path)
    return path


def teacher_beside(cache: Path) -> Path:
    (found,) = cache.parent.glob("digits.teacher-*.safetensors")
    return found


def without_model(path: Path, *changes: str) -> Recipe:
    tree = recipe(*changes).as_tree()
    return Recipe.model_validate({**tree, "teacher": {"cache": str(path)}})


def test_a_run_that_reads_learns_the_same_as_one_with_the_live_teacher(
    cache: Path, tmp_path: Path
) -> None:
    kept = teacher_beside(cache)
    runs = {
        "live": recipe("teacher.train=null", f"teacher.weights={kept}"),
        "beside its model": recipe(f"teacher.cache={cache}"),
        "alone": without_model(cache),
    }
    students = {}
    for name, one in runs.items():
        folder = RunFolder.create(tmp_path, name.replace(" ", "-"))
        distill(one, folder)
        students[name] = (folder.path / "student.safetensors").read_bytes()
    assert students["live"] == students["beside its model"] == students["alone"]


def test_a_second_build_has_nothing_to_do(cache: Path) -> None:
    again = build_cache(recipe(), cache)
    assert again.written == 0
    assert again.rows == 800


def test_the_first_run_fills_the_cache_that_the_next_one_reads(tmp_path: Path) -> None:
    path = tmp_path / "filled"
    # 40 steps of 20 images show all 800 of them once.
    filling = recipe(f"teacher.cache={path}", "data.labelled=null", "training.steps=40")
    distill(filling, RunFolder.create(tmp_path, "first"))
    assert is_complete(filling.teacher)  # type: ignore[arg-type]
    second = RunFolder.create(tmp_path, "second")
    distill(filling, second)
    sources = [line["source"] for line in second.read_log() if line["kind"] == "teacher"]
    assert "kept beside its cache" in sources[0]
    students = [tmp_path / name / "student.safetensors" for name in ("first", "second")]
    assert students[0].read_bytes() == students[1].read_bytes()


def test_the_kind_of_teacher_follows_from_the_cache(cache: Path, tmp_path: Path) -> None:
    splits = build_splits(recipe(), 0)
    model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(64, 10))
    for one, kind in (
        (without_model(cache), CachedTeacher),
        (recipe(f"teacher.cache={tmp_path / 'new'}"), WritingTeacher),
    ):
        with build_distiller(one, splits, model, seed=0) as distiller:
            assert type(distiller.teacher) is kind


def test_a_shuffled_control_reads_the_same_cache(cache: Path) -> None:
    tree = without_model(cache).as_tree()
    tree["compare"] = {
        "seeds": 1,
        "arms": [
            {"name": "alone", "role": "baseline", "terms": [{"loss": "ce"}]},
            {"name": "shuffled", "role": "control", "teacher": "shuffled"},
        ],
    }
    one = Recipe.model_validate(tree)
    assert one.compare is not None
    splits = build_splits(one, 0)
    with build_distiller(one, splits, None, seed=0, arm=one.compare.arms[1]) as distiller:
        assert isinstance(distiller.teacher, ShuffledTeacher)


def test_the_cache_of_another_teacher_is_refused_or_noted(cache: Path, tmp_path: Path) -> None:
    other = tmp_path / "other.safetensors"
    kept = teacher_beside(cache)
    from safetensors.torch import load_file, save_file

    tensors = load_file(kept)
    first = next(iter(tensors))
    tensors[first] = tensors[first] + 1e-3
    save_file(tensors, other)
    changed = ["teacher.train=null", f"teacher.weights={other}", f"teacher.cache.path={cache}"]
    with pytest.raises(DataError, match=r"teacher\.tensors"):
        distill(recipe(*changed), RunFolder.create(tmp_path, "refused"))
    distill(recipe(*changed, "teacher.cache.allow_stale=true"), RunFolder.create(tmp_path, "noted"))


def test_a_teacher_of_other_settings_is_not_taken_for_the_one_beside(
    cache: Path, tmp_path: Path
) -> None:
    other = recipe(f"teacher.cache={cache}", "teacher.train.steps=90")
    with pytest.raises(DataError, match=r"teacher\.tensors"):
        distill(other, RunFolder.create(tmp_path, "refused"))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"dtype": "int8"}, "dtype"),
        ({"taps": ["nope"]}, "nope"),
        ({"top_k": 3, "temperatures": [-1.0]}, "temperatures"),
    ],
)
def test_wrong_options_are_refused_before_a_teacher_is_trained(
    tmp_path: Path, options: dict[str, object], message: str
) -> None:
    with pytest.raises((InputError, TapError), match=message):
        build_cache(recipe(), tmp_path / "cache", **options)  # type: ignore[arg-type]
    assert list(tmp_path.iterdir()) == []


def test_more_classes_than_there_are_keep_all(tmp_path: Path) -> None:
    made = build_cache(recipe(), tmp_path / "cache", top_k=20)
    assert made.manifest.layout.top_k is None


def test_the_cache_of_other_images_is_refused(cache: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="expected"):
        distill(without_model(cache, "data.validation=100"), RunFolder.create(tmp_path, "refused"))


def test_a_cache_that_is_not_there_is_named_before_training(tmp_path: Path) -> None:
    with pytest.raises((InputError, RecipeError), match=r"nowhere.*cache build"):
        distill(without_model(tmp_path / "nowhere"), RunFolder.create(tmp_path, "run"))


def test_what_a_teacher_without_a_model_cannot_do_is_a_fault(cache: Path) -> None:
    tree = recipe().as_tree()
    tree["teacher"] = {"cache": {"path": str(cache), "on_miss": "teacher"}, "train": {"steps": 1}}
    with pytest.raises(ValueError, match="no model to ask"):
        Recipe.model_validate(tree)


def test_layers_and_temperatures_are_those_of_the_terms() -> None:
    one = recipe("terms=[{loss: ce}, {loss: kd, temperature: 3}, {loss: kd, name: two}]")
    assert temperatures_of(one) == (3.0, 4.0)
    hint = "terms=[{loss: ce}, {loss: hint, at: [body.0, body.1], via: auto}]"
    assert taps_of(recipe(hint)) == ("body.1",)


def test_few_classes_need_a_constant_temperature(tmp_path: Path) -> None:
    ramp = "{type: linear, start: 2, end: 4, steps: 3}"
    one = recipe(f"terms=[{{loss: ce}}, {{loss: kd, temperature: {ramp}}}]")
    with pytest.raises(RecipeError, match=r"constant temperature.*without --top-k"):
        build_cache(one, tmp_path / "cache", top_k=3)


def test_a_cache_of_few_classes_trains_at_the_temperature_of_the_recipe(tmp_path: Path) -> None:
    path = tmp_path / "few"
    build_cache(recipe(), path, top_k=8, dtype="fp16")
    results = distill(without_model(path), RunFolder.create(tmp_path, "run"))
    assert results["arms"][0]["mean"] > 0
    lines = dict(describe_cache(path))
    assert "likeliest 8 of 10" in lines["keeps"]
    assert "temperatures 1, 4" in lines["keeps"]


def test_a_loss_that_needs_every_class_is_refused_before_training(tmp_path: Path) -> None:
    path = tmp_path / "few"
    build_cache(recipe(), path, top_k=8)
    wrong = without_model(path, "terms=[{loss: ce}, {loss: dkd}]")
    with pytest.raises(RecipeError, match=r"dkd.*without --top-k"):
        distill(wrong, RunFolder.create(tmp_path, "run"))


def test_a_cache_is_compared_with_the_teacher_that_is_kept_beside_it(cache: Path) -> None:
    lines = dict(compare_cache(recipe(), cache))
    assert lines["same"] == "teacher, data, views and augmentation"
    assert "100.0% of the likeliest classes the same" in lines["asked again"]


def test_a_recipe_without_a_teacher_has_nothing_to_build(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=r"expected a teacher to ask"):
        build_cache(recipe("teacher=null", "terms=[{loss: ce}]"), tmp_path / "cache")


def test_the_recipe_comes_back_from_its_yaml(cache: Path) -> None:
    one = without_model(cache)
    assert Recipe.model_validate(one.as_tree()) == one
