import os
from pathlib import Path

import pytest

from tutelage.errors import RecipeError
from tutelage.recipes import from_text, load, shipped

GOOD = """\
name: small
data: {name: digits, labelled: 100}
student: {model: mlp, widths: [32]}
teacher:
  model: mlp
  widths: [64]
  train: {steps: 5}
terms:
  - {loss: ce, weight: 0.1}
  - loss: kd
    temperature: 4.0
    weight: 0.9
training:
  steps: 5
"""


def faults(text: str, *changes: str) -> list[str]:
    with pytest.raises(RecipeError) as caught:
        from_text(text, "bad.yaml", changes)
    assert caught.value.exit_code == 2
    return str(caught.value).splitlines()


def test_a_recipe_survives_the_way_to_yaml_and_back() -> None:
    for name in shipped():
        recipe = load(name)
        assert from_text(recipe.to_yaml()) == recipe


def test_all_faults_are_reported_at_once_with_their_lines() -> None:
    text = (
        GOOD.replace("temperature: 4.0", "temprature: 4.0")
        .replace("loss: ce", "loss: cee")
        .replace("model: mlp\n", "model: mlpp\n")
        .replace("  steps: 5\n", "  steps: abc\n  optimiser: adam\n")
    )
    assert faults(text, "seed=-1") == [
        "bad.yaml:5: teacher.model = 'mlpp': unknown model (did you mean 'mlp'? or timm/NAME, "
        "torchvision/NAME, path.py:function)",
        "bad.yaml:9: terms.0.loss = 'cee': unknown loss (did you mean 'ce' or 'bce'?)",
        "bad.yaml:11: terms.1.temprature = 4.0: unknown key (did you mean 'temperature'?)",
        "bad.yaml:14: training.steps = 'abc': expected a whole number",
        "bad.yaml:15: training.optimiser = 'adam': unknown key (did you mean 'optimizer'?)",
        "command line: seed = -1: expected greater than or equal to 0",
    ]


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("name: small", "nam: small", "bad.yaml:1: nam = 'small': unknown key (did you mean 'name"),
        ("digits,", "digit,", "bad.yaml:2: data.name = 'digit': unknown data set (did you mean 'd"),
        ("labelled", "labeled", "bad.yaml:2: data.labeled = 100: unknown key (did you mean 'lab"),
        ("widths: [32]", "width: 3", "bad.yaml:3: student.width = 3: unknown key (did you mean"),
        ("temperature: 4.0", "temperature: 0", "bad.yaml:11: terms.1.temperature = 0.0: KDL"),
        ("temperature: 4.0", "temperature: -1", "bad.yaml:11: terms.1.temperature = -1.0: KD"),
        ("temperature: 4.0", "temperature: .nan", "bad.yaml:11: terms.1.temperature = nan: "),
        ("temperature: 4.0", "temperature: hot", "bad.yaml:11: terms.1.temperature = 'hot': "),
        ("weight: 0.9", "weight: -0.9", "bad.yaml:12: terms.1.weight = -0.9: expected greater"),
        ("weight: 0.9", "weight: .nan", "bad.yaml:12: terms.1.weight = nan: expected a finite"),
        ("name: small", "name: ../up", "bad.yaml:1: name = '../up': run name: expected letters"),
        ("name: small", "name: /etc/x", "bad.yaml:1: name = '/etc/x': run name: expected letters"),
        ("  train: {steps: 5}\n", "", "bad.yaml:4: teacher: this teacher would be random"),
        ("loss: kd", "loss: hint", "terms.1.temperature = 4.0: unknown key"),
        ("weight: 0.9", "weight: {type: cosin}", "bad.yaml:12: terms.1.weight.type = 'cosin': unk"),
        ("weight: 0.9", "weight: {type: linear}", "terms.1.weight.steps: this option is required"),
        ("weight: 0.9", "via: aut", "bad.yaml:12: terms.1.via = 'aut': unknown projector (did"),
        ("weight: 0.9", "name: ce", "terms.1: 2 terms are called 'ce'; give each a name"),
        ("model: mlp, ", "", "bad.yaml:3: student.model: this key is required"),
        ("loss: ce, ", "", "bad.yaml:9: terms.0.loss: this key is required"),
        ("  steps: 5\n", "  steps: 5\n  epochs: 2\n", "training: expected one of epochs and steps"),
    ],
)
def test_each_slip_is_named_with_its_place(old: str, new: str, message: str) -> None:
    assert any(message in line for line in faults(GOOD.replace(old, new)))


def test_all_weights_zero_is_refused() -> None:
    text = GOOD.replace("weight: 0.1", "weight: 0").replace("weight: 0.9", "weight: 0")
    assert faults(text) == [
        "bad.yaml:8: terms: all weights are 0, so nothing would be trained; raise one above 0"
    ]


def test_a_loss_that_needs_a_teacher_is_refused_without_one() -> None:
    assert any("this loss needs a teacher" in line for line in faults(GOOD, "teacher=null"))


def test_a_feature_loss_needs_a_place() -> None:
    lines = faults(GOOD, "terms.1={loss: hint}")
    assert any("terms.1.at: this loss compares features" in line for line in lines)


def test_a_duplicate_key_names_both_lines() -> None:
    lines = faults(GOOD + "name: again\n")
    assert lines == ["bad.yaml:15: name: duplicate key, first written on line 1; keep one"]


def test_python_tags_are_refused_and_nothing_runs(tmp_path: Path) -> None:
    canary = tmp_path / "canary"
    tag = f"!!python/object/apply:os.mkdir ['{canary}']"
    lines = faults(GOOD.replace("seed", "x") + f"description: {tag}\n")
    assert "bad.yaml:15: description: the tag !!python/object/apply:os.mkdir is not allowed" in (
        "\n".join(lines).replace("tag:yaml.org,2002:", "!!")
    )
    faults(GOOD, f"description={tag}")
    assert not canary.exists()


def test_merge_keys_and_recursive_aliases_are_refused() -> None:
    assert "merge keys" in faults(GOOD + "<<: {seed: 1}\n")[0]
    assert "an alias that contains itself" in faults("name: &a [*a]\n")[0]


def test_a_short_text_that_unfolds_to_billions_is_refused() -> None:
    layers = ["a0: &a0 [x, x, x, x, x, x, x, x, x]"]
    layers += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]" for i in range(1, 12)]
    assert "this is no recipe" in faults("\n".join(layers))[0]


@pytest.mark.parametrize("text", ["", "- a\n", "a: [\n", "{a: 1}: 2\n", "just text\n"])
def test_text_that_is_no_mapping_is_one_clear_error(text: str) -> None:
    assert faults(text)[0].startswith("bad.yaml")


def test_overrides_win_and_repair_what_yaml_reads_as_text() -> None:
    recipe = from_text(GOOD, changes=["training.lr=1e-2", "terms.1.temperature=2e0", "seed=7"])
    assert recipe.training.lr == 0.01
    assert recipe.terms[1].options["temperature"] == 2.0
    assert recipe.seed == 7


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("training.lrr=1", "command line: training.lrr = 1: unknown key (did you mean 'lr'?)"),
        ("terms.7.weight=1", "command line: terms.7 = 1: expected a position from 0 to 2"),
        ("training.lr", "command line: expected key.sub=value, found 'training.lr'"),
        ("=3", "command line: expected key.sub=value, found '=3'"),
        ("seed=[", "command line: seed = '[': value:2: not readable as YAML"),
    ],
)
def test_a_bad_override_says_that_it_came_from_the_command_line(change: str, message: str) -> None:
    assert any(line.startswith(message) for line in faults(GOOD, change))


def test_an_override_can_add_a_term() -> None:
    recipe = from_text(GOOD, changes=["terms.2={loss: logit_mse, weight: 1}"])
    assert [term.loss for term in recipe.terms] == ["ce", "kd", "logit_mse"]


def test_an_unknown_recipe_name_suggests_the_shipped_ones(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=r"recipe digit: .*did you mean 'digits'"):
        load("digit")
    with pytest.raises(RecipeError, match="no such file"):
        load(tmp_path / "none.yaml")


def test_a_recipe_may_come_from_a_python_function(tmp_path: Path) -> None:
    file = tmp_path / "mine.py"
    file.write_text(
        "from tutelage.recipes import load\n\n\ndef make():\n    return load('digits')\n"
    )
    assert load(f"{file}:make", ["seed=3"]).seed == 3
    with pytest.raises(RecipeError, match="did you mean 'make'"):
        load(f"{file}:mak")
    file.write_text(
        "from tutelage.recipes import Recipe\n\n\ndef make():\n    return Recipe(name=1)\n"
    )
    with pytest.raises(RecipeError, match=r"mine\.py:make: name = 1: expected text"):
        load(f"{file}:make")
    file.write_text("1 / 0\n")
    with pytest.raises(RecipeError, match="stopped with ZeroDivisionError"):
        load(f"{file}:make")


def test_the_baseline_is_exactly_one_and_arms_have_names_of_their_own() -> None:
    arms = "compare: {arms: [{name: a}, {name: a, role: control}]}\n"
    text = "\n".join(faults(GOOD + arms))
    assert "bad.yaml:15: compare.arms: expected exactly one arm with role: baseline" in text
    assert "2 arms are called 'a'" in text


def test_the_training_of_an_arm_is_checked() -> None:
    arms = "compare: {arms: [{name: a, role: baseline, training: {lrr: 1}}]}\n"
    assert "compare.arms.0.training.lrr = 1" in "\n".join(faults(GOOD + arms))


def test_an_unreadable_recipe_is_one_clear_error(tmp_path: Path) -> None:
    (tmp_path / "r.yaml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(RecipeError, match="expected text in UTF-8"):
        load(os.fspath(tmp_path / "r.yaml"))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("training.lr=", "command line: training.lr: expected a value behind the ="),
        ("=3", "command line: expected key.sub=value, found '=3'"),
        ("optim.lr.x=1", "command line: optim: unknown key"),
        ("training.lr.x=1", "training.lr = 0.001: expected a section, found one value"),
        ("terms.²=1", "terms.² = 1: expected a position from 0 to 2"),
        ("description=\x1b[31m", "the character '\\x1b' is not allowed"),
        ("threads=100000", "command line: threads = 100000: expected less than or equal to 1024"),
        ("seed=99999999999999999999", "command line: seed = 99999999999999999999: expected less"),
        ("terms.1.at=[a]", "terms.1.at = ['a']: expected [student_layer, teacher_layer]"),
        ("teacher.mean=[0.5]", "bad.yaml:4: teacher: InputSpec: expected mean and std together"),
        ("student=mlp", "command line: student = 'mlp': expected a section of keys"),
        ("student.widths=3", "command line: student.widths = 3: expected a list"),
    ],
)
def test_overrides_that_say_nothing_sensible_are_named(change: str, message: str) -> None:
    text = GOOD.replace("training:\n", "training:\n  lr: 0.001\n")
    assert any(message in line for line in faults(text, change))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "",
            "bad.yaml: expected a mapping with keys such as data, student and terms, found nothing",
        ),
        ("- a", "found a list"),
        ("a", "found one value"),
        ("a: 1\n\tb: 2", "bad.yaml:2: not readable as YAML: while scanning for the next token, fo"),
        ("a: 1\n---\nb: 2", "expected a single document in the stream, but found another document"),
        ("a: 1\nb: \x07", "bad.yaml:2: not readable as YAML: the character '\\x07' is not allowed"),
        ("[a, b]: 1", "bad.yaml:1: ?: expected a plain text key"),
    ],
)
def test_texts_that_are_no_recipe_are_described(text: str, message: str) -> None:
    assert any(message in line for line in faults(text))


def test_what_could_not_be_read_is_not_the_wrong_type_as_well() -> None:
    found = [line for line in faults(GOOD.replace("small", "!!python/name:a.b")) if "name" in line]
    assert len(found) == 1
