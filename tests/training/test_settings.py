import math

import pytest
from pydantic import ValidationError

from tutelage.training import TrainingSettings


def test_length_is_epochs_or_steps_and_not_both() -> None:
    assert TrainingSettings(epochs=3).total_steps(7) == 21
    assert TrainingSettings(steps=5).total_steps(7) == 5
    with pytest.raises(ValidationError, match="one of epochs and steps, found neither"):
        TrainingSettings()
    with pytest.raises(ValidationError, match="one of epochs and steps, found both"):
        TrainingSettings(epochs=1, steps=1)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("lr", 0.0),
        ("lr", math.nan),
        ("lr", math.inf),
        ("batch_size", 0),
        ("momentum", 1.0),
        ("weight_decay", -0.1),
        ("optimizer", "adamm"),
        ("scheduler", "cosin"),
        ("precision", "fp8"),
        ("selection", "test"),
        ("clip_norm", 0.0),
        ("accumulate", 0),
        ("milestones", (0.5, 1.5)),
        ("learning_rate", 0.1),
    ],
)
def test_values_out_of_range_and_unknown_names_are_refused(name: str, value: object) -> None:
    with pytest.raises(ValidationError, match=name):
        TrainingSettings.model_validate({"epochs": 1, name: value})


def test_settings_that_contradict_each_other_are_refused() -> None:
    with pytest.raises(ValidationError, match="accumulate of at most batch_size=4, found 8"):
        TrainingSettings(epochs=1, batch_size=4, accumulate=8)
    with pytest.raises(ValidationError, match="warmup_steps below steps=10, found 10"):
        TrainingSettings(steps=10, warmup_steps=10)


def test_settings_are_frozen_and_survive_a_round_trip() -> None:
    settings = TrainingSettings(steps=9, scheduler="step", milestones=(0.25,), clip_norm=1.0)
    assert TrainingSettings.model_validate_json(settings.model_dump_json()) == settings
    with pytest.raises(ValidationError, match="frozen"):
        settings.lr = 1.0


def test_at_most_fifty_validations_unless_asked_for() -> None:
    assert TrainingSettings(steps=600).validation_gap(600) == 12
    assert TrainingSettings(steps=10).validation_gap(10) == 1
    assert TrainingSettings(steps=600, validate_every=5).validation_gap(600) == 5
