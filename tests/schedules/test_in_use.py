import math

import pytest
import torch

import tutelage as tl
from tutelage import schedules
from tutelage.recipes.terms import ScheduleSettings

STEPS = 40
NEW = ["agp", "one_cycle", "iterative", "one_shot", "dsd"]


def fasterai(name: str, start: float, end: float, pos: float) -> float:
    """Return the value at ``pos`` of training by the formulas of fasterai 0.4.1."""
    if name == "agp":
        return end + (start - end) * (1 - pos) ** 3
    if name == "one_cycle":
        return start + (end - start) * (1 + math.exp(-8)) / (1 + math.exp(-14 * pos + 6))
    if name == "iterative":
        return start + (end - start) / 3 * math.ceil(pos * 3)
    if name == "one_shot":
        return end if pos >= 1 else start
    up = start + (1 + math.cos(math.pi * (1 - pos * 2))) * (end - start) / 2
    down = end + (1 - math.cos(math.pi * (1 - pos * 2))) * (start - end) / 2
    return up if pos < 0.5 else down


@pytest.mark.parametrize("name", NEW)
@pytest.mark.parametrize(("start", "end"), [(0.0, 1.0), (8.0, 2.0)])
def test_values_are_those_that_fasterai_gives_over_the_same_span(name, start, end) -> None:
    ramp = schedules.index()[name](start, end, steps=STEPS)
    for step in range(STEPS + 1):
        assert ramp(step) == pytest.approx(fasterai(name, start, end, step / STEPS), abs=1e-9)


@pytest.mark.parametrize("name", NEW)
def test_one_schedule_serves_as_weight_and_as_temperature(name: str) -> None:
    make = schedules.index()[name]
    student, teacher = torch.nn.Linear(3, 4), torch.nn.Linear(3, 4)
    x = torch.randn(5, 3)
    term = tl.Term(tl.KDLoss(temperature=make(2.0, 6.0, steps=10)), make(2.0, 6.0, steps=10))
    distiller = tl.Distiller(student, tl.FrozenTeacher(teacher), [term, tl.CELoss()])
    y = torch.zeros(5, dtype=torch.int64)
    for step in (0, 4, 10):
        distiller.set_step(step)
        found = distiller(x, y)
        value = make(2.0, 6.0, steps=10)(step)
        expected = tl.KDLoss(temperature=value)(student(x), teacher(x))
        torch.testing.assert_close(found.parts["kd"], expected.detach())
        torch.testing.assert_close(found.loss, value * expected + found.parts["ce"])


@pytest.mark.parametrize("name", NEW)
def test_recipes_know_the_schedule_by_its_name(name: str) -> None:
    settings = ScheduleSettings.model_validate({"type": name, "start": 1, "end": 3, "steps": 8})
    assert settings.build() == schedules.index()[name](1, 3, steps=8)
