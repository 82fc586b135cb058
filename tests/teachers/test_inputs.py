import pytest
from torch import nn

from tutelage.errors import InputError
from tutelage.models import create
from tutelage.teachers import InputSpec, input_spec_of


def test_channels_follow_from_the_statistics():
    assert InputSpec(mean=(0.1, 0.2, 0.3), std=(1, 1, 1)).channels == 3


def test_lists_from_a_recipe_become_tuples():
    spec = InputSpec(mean=[0.5], std=[0.5], size=[8, 6])
    assert spec == InputSpec(mean=(0.5,), std=(0.5,), size=(8, 6))
    assert hash(spec) is not None


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"mean": (0.5,)}, "mean and std together"),
        ({"mean": (0.5,), "std": (0.5, 0.5)}, "one mean and one std per channel"),
        ({"mean": (), "std": ()}, "one mean and one std per channel"),
        ({"mean": (0.5,), "std": (0.0,)}, "stds above 0"),
        ({"mean": (float("nan"),), "std": (1.0,)}, "finite means"),
        ({"mean": (0.5,), "std": (0.5,), "channels": 3}, "expected 3 means for 3 channels"),
        ({"size": (8,)}, "height and width"),
        ({"size": (8, 0)}, "height and width of at least 1"),
        ({"channels": 0}, "channels: expected at least 1"),
        ({"interpolation": "cubic"}, "expected one of nearest, bilinear, bicubic, found 'cubic'"),
    ],
)
def test_contradictions_are_refused(fields, message):
    with pytest.raises(InputError, match=message) as caught:
        InputSpec(**fields)
    assert caught.value.exit_code == 2


def test_a_timm_models_inputs_are_read_from_its_configuration():
    pytest.importorskip("timm")
    spec = input_spec_of(create("timm/tf_efficientnet_lite0", num_classes=1000))
    assert spec == InputSpec(
        mean=(0.5,) * 3, std=(0.5,) * 3, size=(224, 224), channels=3, interpolation="bicubic"
    )


def test_a_model_that_says_nothing_gives_nothing():
    assert input_spec_of(nn.Linear(2, 2)) is None


def test_bare_numbers_are_one_channel_and_a_square():
    spec = InputSpec(mean=0.5, std=0.25, size=224)
    assert spec == InputSpec(mean=(0.5,), std=(0.25,), size=(224, 224))


@pytest.mark.parametrize("fields", [{"size": "big"}, {"mean": object(), "std": (0.5,)}])
def test_what_is_no_number_is_named(fields):
    name, value = next(iter(fields.items()))
    with pytest.raises(InputError, match=rf"InputSpec.{name}: expected numbers such as") as caught:
        InputSpec(**fields)
    assert repr(value) in str(caught.value)
