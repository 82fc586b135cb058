import pytest

from tutelage.report import build_results
from tutelage.report.figures import deltas, strips


def arms(make_arm, **values):
    log = [
        make_arm(name, seed, value, role)
        for name, (role, numbers) in values.items()
        for seed, value in enumerate(numbers)
    ]
    return build_results(log)["arms"]


def test_positions_are_linear_in_the_differences_and_the_zero_line_is_in_view(make_arm):
    found = arms(make_arm, alone=("baseline", [0.5, 0.5]), kd=("method", [0.52, 0.56]))
    figure = deltas(found)
    (mark,) = figure.marks
    assert mark.middle == pytest.approx(sum(mark.dots) / 2, abs=0.02)
    assert mark.middle == pytest.approx(sum(mark.whisker) / 2, abs=0.02)
    zero, four = figure.line[0], mark.middle
    assert 0 <= zero < four <= 100
    assert mark.dots[0] - zero == pytest.approx((four - zero) / 2, abs=0.02)


def test_a_collapsed_control_is_named_off_the_scale_and_does_not_press_the_others(make_arm):
    found = arms(
        make_arm,
        alone=("baseline", [0.87, 0.88, 0.86]),
        kd=("method", [0.91, 0.92, 0.91]),
        shuffled=("control", [0.1, 0.12, 0.11]),
    )
    figure = deltas(found)
    kd, shuffled = figure.marks
    assert shuffled.off == "left"
    assert shuffled.middle is None
    assert "-76" in shuffled.label
    assert kd.off is None
    assert kd.middle - figure.line[0] > 30


def test_a_method_is_always_on_the_scale_however_bad(make_arm):
    found = arms(
        make_arm,
        alone=("baseline", [0.87, 0.88]),
        kd=("method", [0.91, 0.92]),
        at=("method", [0.1, 0.2]),
    )
    assert all(mark.off is None for mark in deltas(found).marks)


def test_equal_values_have_a_scale_too(make_arm):
    found = arms(make_arm, alone=("baseline", [0.5, 0.5]), kd=("method", [0.5, 0.5]))
    (mark,) = deltas(found).marks
    assert mark.middle == pytest.approx(50)


def test_no_two_ticks_read_alike(make_arm):
    found = arms(make_arm, alone=("baseline", [0.9, 0.9001]), kd=("method", [0.9002, 0.9003]))
    words = [words for _, words in strips(found, lambda arm: arm["values"], share=True).ticks]
    assert len(words) == len(set(words)) >= 3


def test_without_a_baseline_or_with_a_single_number_there_is_no_figure(make_arm):
    found = arms(make_arm, kd=("method", [0.9]))
    assert deltas(found) is None
    assert strips(found, lambda arm: arm["values"]) is None
    assert strips(found, lambda arm: arm["values"], (0.98, "the teacher")) is not None
