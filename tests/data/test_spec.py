import pytest

from tutelage.data import DataSpec
from tutelage.errors import InputError


def spec(**changes):
    values = {
        "name": "toy",
        "num_classes": 2,
        "class_names": ("a", "b"),
        "channels": 1,
        "size": (4, 4),
        "mean": (0.5,),
        "std": (0.5,),
    }
    return DataSpec(**(values | changes))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"class_names": ("a",)}, "expected 2 class names .* found 1"),
        ({"mean": (0.5, 0.5)}, "mean and std with 1 numbers .* found 2 and 1"),
        ({"mean": (float("nan"),)}, r"finite numbers, found mean=\(nan,\)"),
        ({"std": (float("inf"),)}, r"finite numbers, .*std=\(inf,\)"),
        ({"std": (0.0,)}, r"every std above 0, found \(0.0,\)"),
    ],
)
def test_a_spec_that_contradicts_itself_is_refused(changes, message):
    with pytest.raises(InputError, match=message) as caught:
        spec(**changes)
    assert caught.value.exit_code == 2
