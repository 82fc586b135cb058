"""A teacher that is trained further: from a file of other classes, or on converted images."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from tutelage import models
from tutelage.errors import InputError, RecipeError
from tutelage.recipes import Recipe, distill, from_text
from tutelage.recipes.build import build_splits, build_teacher, build_teacher_model
from tutelage.recipes.teacher import train_teacher
from tutelage.recipes.watch import Watch
from tutelage.runs import RunFolder

TEXT = """
name: tuned
threads: 1
data: {name: digits, labelled: 64}
student: {model: mlp, widths: [8]}
teacher: {model: mlp, widths: [32], train: {steps: 60, batch_size: 32, lr: 0.01}}
terms: [{loss: ce}, {loss: kd, temperature: 4.0}]
training: {steps: 4, batch_size: 32, device: cpu}
"""


def recipe(*changes: str) -> Recipe:
    return from_text(TEXT, "tuned.yaml", changes)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """Weights of the teacher's body with a head of seven classes."""
    torch.manual_seed(3)
    model = models.create("mlp", num_classes=7, in_channels=1, size=(8, 8), widths=(32,))
    save_file(model.state_dict(), tmp_path / "seven.safetensors")
    return tmp_path / "seven.safetensors"


def test_the_body_begins_with_the_file_and_the_head_with_fresh_weights(file: Path) -> None:
    tuned = recipe(f"teacher.start={file}")
    splits = build_splits(tuned, 0)
    begun, stored = build_teacher_model(tuned, splits.spec).state_dict(), load_file(file)
    assert begun["head.weight"].shape == (10, 32)
    body = [name for name in stored if not name.startswith("head")]
    assert body
    assert all(torch.equal(begun[name], stored[name]) for name in body)


def test_the_new_head_is_trained_and_its_accuracy_is_told(file: Path, tmp_path: Path) -> None:
    said: list[str] = []

    class Listening(Watch):
        def say(self, line: str) -> None:
            said.append(line)

    folder = RunFolder.create(tmp_path, "run")
    results = distill(recipe(f"teacher.start={file}"), folder, watch=Listening())
    teacher = results["teacher"]
    assert teacher["accuracy"]["test"] > 0.7
    assert teacher["source"] == f"{file}, fine-tuned by this run"
    assert any(line.startswith(f"teacher mlp: {teacher['accuracy']['test']:.1%}") for line in said)


def test_an_untrained_head_near_chance_is_warned_of(file: Path, tmp_path: Path) -> None:
    folder = RunFolder.create(tmp_path, "run")
    heard: list[str] = []

    class Listening(Watch):
        def say(self, line: str) -> None:
            heard.append(line)

    tuned = recipe(f"teacher.start={file}", "teacher.train.steps=1", "teacher.train.lr=1.0e-6")
    distill(tuned, folder, watch=Listening())
    assert any(line.startswith("warning: teacher: accuracy") for line in heard)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (("teacher.train=null",), r"teacher.start = .*nothing says how; add train"),
        (("teacher.pretrained=true",), r"teacher.start: .*found start:, pretrained:"),
        (("teacher.weights=other.pt",), r"teacher.weights: .*found weights:, start:"),
    ],
)
def test_contradictions_about_the_beginning_are_refused(
    file: Path, changes: tuple[str, ...], message: str
) -> None:
    with pytest.raises(RecipeError, match=message) as caught:
        recipe(f"teacher.start={file}", *changes)
    assert caught.value.exit_code == 2


def test_weights_of_other_classes_are_still_refused_where_nothing_trains_them(file: Path) -> None:
    taken = recipe("teacher.train=null", f"teacher.weights={file}")
    with pytest.raises(InputError, match="expected a classifier for 10 classes, found one for 7"):
        build_teacher_model(taken, build_splits(taken, 0).spec)


def test_a_term_of_logits_refuses_a_head_that_nothing_has_trained(file: Path) -> None:
    untrained = (
        "teacher.train=null",
        f"teacher.weights={file}",
        "teacher.allow_random_head=true",
    )
    with pytest.raises(RecipeError, match=r"terms.1.loss = 'kd': .*nothing has trained"):
        recipe(*untrained)
    stage = "stages=[{name: first, terms: [{loss: kd}]}]"
    with pytest.raises(RecipeError, match=r"stages.0.terms.0.loss = 'kd': .*nothing has trained"):
        recipe(*untrained, "terms=[{loss: ce}]", stage)
    # Its features are of use without a head.
    features = "terms=[{loss: ce}, {loss: hint, at: [act1, act1], via: auto}]"
    assert recipe(*untrained, features).teacher is not None
    # With training the head does not stay random.
    assert recipe("teacher.allow_random_head=true").teacher is not None


def test_a_teacher_is_trained_on_the_images_that_it_is_asked_about_later() -> None:
    """It states another normalisation; trained without it, it would know other images."""
    tuned = recipe("teacher.mean=[1.0]", "teacher.std=[0.2]")
    splits = build_splits(tuned, 0)
    model = train_teacher(tuned, splits)
    assert set(model.state_dict()) == set(build_teacher_model(tuned, splits.spec).state_dict())
    images = splits.validation.__getitems__(range(len(splits.validation)))
    with torch.no_grad(), build_teacher(tuned, model, splits.spec) as frozen:
        logits = frozen(images.inputs).logits
        bare = model(images.inputs)
    accuracy = (logits.argmax(1) == images.target).float().mean()
    assert accuracy > 0.5
    assert accuracy > (bare.argmax(1) == images.target).float().mean() + 0.05
