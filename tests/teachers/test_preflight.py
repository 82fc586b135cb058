import pytest

from tutelage.errors import InputError
from tutelage.teachers import chance_report


@pytest.mark.parametrize(
    ("accuracy", "num_classes", "n"),
    [(0.1, 10, 1000), (0.0, 10, 1000), (0.13, 10, 10_000), (0.5, 2, 200), (0.58, 2, 200)],
)
def test_guessing_is_reported_with_the_numbers(accuracy, num_classes, n):
    report = chance_report(accuracy, num_classes, n)
    assert f"{accuracy:.1%} on {n} samples is near chance" in report
    assert f"for {num_classes} classes" in report
    assert "check its weights" in report


@pytest.mark.parametrize(
    ("accuracy", "num_classes", "n"),
    [(0.9, 10, 100), (0.3, 10, 100), (0.7, 2, 200), (0.2, 1000, 50)],
)
def test_knowledge_is_not(accuracy, num_classes, n):
    assert chance_report(accuracy, num_classes, n) is None


def test_a_few_samples_prove_nothing():
    assert chance_report(0.75, num_classes=2, n=4) is not None
    assert chance_report(0.75, num_classes=2, n=400) is None


@pytest.mark.parametrize("bad", [(1.5, 10, 10), (0.5, 1, 10), (0.5, 10, 0)])
def test_impossible_numbers_are_refused(bad):
    with pytest.raises(InputError):
        chance_report(*bad)
