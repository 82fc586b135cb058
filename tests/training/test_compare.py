import dataclasses
import math

import pytest
import torch

import tutelage as tl
from tutelage.data import Splits
from tutelage.errors import InputError, RecipeError
from tutelage.training import Arm, TrainingSettings, compare, fit

SETTINGS = TrainingSettings(epochs=1, batch_size=8, lr=0.01)


def arm(name: str, make, role: str = "method", **changes: object) -> Arm:
    return Arm(name, role, make, SETTINGS.model_copy(update=changes))


@pytest.fixture
def alone(distiller, splits):
    return lambda seed: (distiller([tl.Term(tl.CELoss())], seed=seed), splits)


@pytest.fixture
def distilled(distiller, splits):
    return lambda seed: (distiller(seed=seed), splits)


def test_every_arm_is_what_fit_gives_alone(alone, distilled, run) -> None:
    arms = [arm("alone", alone, "baseline"), arm("kd", distilled)]
    found = compare(arms, [4, 9], run=run)
    assert [(o.arm.name, o.seed) for o in found] == [
        ("alone", 4),
        ("kd", 4),
        ("alone", 9),
        ("kd", 9),
    ]
    expected = fit(*distilled(9), SETTINGS, seed=9)
    assert found[3].result is not None
    assert found[3].result.last == expected.last


def test_each_outcome_is_logged_with_role_and_scores(alone, distilled, run) -> None:
    arms = [arm("alone", alone, "baseline"), arm("kd", distilled, selection="best")]
    found = compare(arms, [4], run=run)
    records = [r for r in run.read_log() if r["kind"] == "arm"]
    assert [(r["arm"], r["role"], r["seed"], r["kept"]) for r in records] == [
        ("alone", "baseline", 4, "last"),
        ("kd", "method", 4, "best"),
    ]
    result = found[1].result
    assert result is not None
    test = records[1]["best"]["test"]
    assert test == result.best.test.record()
    assert set(test) >= {"accuracy", "nll", "ece", "agreement", "kl"}
    assert set(records[1]) >= {"last", "best", "params", "seconds"}
    assert {r["arm"] for r in run.read_log() if r["kind"] == "step"} == {"alone", "kd"}


def test_reference_measures_all_arms(alone, distilled, net) -> None:
    reference = tl.FrozenTeacher(net(8, seed=31))
    for outcome in compare([arm("a", alone), arm("b", distilled)], [0], reference=reference):
        assert outcome.result is not None
        assert outcome.result.last.test.agreement is not None


def test_weights_of_the_first_seed_only_are_kept(alone) -> None:
    found = compare([arm("alone", alone)], [0, 1, 2])
    assert [bool(outcome.result and outcome.result.student) for outcome in found] == [1, 0, 0]


def test_arms_that_start_from_other_weights_are_refused(alone, distiller, splits) -> None:
    other = arm("kd", lambda seed: (distiller(seed=seed + 1), splits))
    with pytest.raises(RecipeError, match=r"'kd' at seed 0 has not the student's first weights"):
        compare([arm("alone", alone), other], [0])


def test_arms_on_other_images_are_refused(alone, distiller, splits) -> None:
    fewer = dataclasses.replace(splits, labelled=splits.train.subset(range(20)))
    other = arm("kd", lambda seed: (distiller(seed=seed), fewer))
    with pytest.raises(RecipeError, match=r"'kd' at seed 0 has not the training images"):
        compare([arm("alone", alone), other], [0])


def test_arm_that_runs_away_is_recorded_and_the_others_go_on(alone, distiller, splits, run) -> None:
    def broken(seed: int):
        teacher = tl.CallableTeacher(lambda x: torch.full((len(x), 3), math.nan))
        return tl.Distiller(distiller(seed=seed).student, teacher, [tl.Term(tl.KDLoss())]), splits

    found = compare([arm("broken", broken), arm("alone", alone)], [0, 1], run=run)
    assert [outcome.result is None for outcome in found] == [True, False, True, False]
    assert "the teacher's logits are not" in str(found[0].error)
    records = [r for r in run.read_log() if r["kind"] == "arm" and r["arm"] == "broken"]
    assert [r["error"] for r in records] == [found[0].error, found[2].error]


def test_progress_names_arm_and_seed(alone) -> None:
    heard: list[str] = []
    compare([arm("alone", alone)], [5], progress=lambda *news: heard.append(news[3]))
    assert heard
    assert all(message.startswith("alone, seed 5: ") for message in heard)


def test_arms_and_seeds_are_needed_once_each(alone) -> None:
    with pytest.raises(InputError, match=r"expected seeds, each once, found \[1, 1\]"):
        compare([arm("a", alone)], [1, 1])
    with pytest.raises(InputError, match=r"expected arms, each once, found \[\]"):
        compare([], [1])


def test_an_arm_may_have_a_student_of_its_own_if_it_says_so(splits, net) -> None:
    def arm(name: str, width: int, **more: bool) -> Arm:
        def make(seed: int) -> tuple[tl.Distiller, Splits]:
            return tl.Distiller(net(width, seed), None, [tl.CELoss()]), splits

        settings = TrainingSettings(steps=1, batch_size=8)
        return Arm(name, "baseline" if name == "alone" else "method", make, settings, **more)

    found = compare([arm("alone", 4), arm("wider", 6, own_student=True)], [0])
    assert [one.result is not None for one in found] == [True, True]
    with pytest.raises(RecipeError, match="has not the student's first weights"):
        compare([arm("alone", 4), arm("wider", 6)], [0])
