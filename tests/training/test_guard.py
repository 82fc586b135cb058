import math

import pytest
import torch
from torch import nn

import tutelage as tl
from tutelage.errors import InputError, NumericalError
from tutelage.training import TrainingSettings, fit

SETTINGS = TrainingSettings(epochs=1, batch_size=8, lr=0.01)


class Diverging(nn.Module):
    """A loss that is right twice and then returns ``value``."""

    name = "diverging"
    needs_teacher = False

    def __init__(self, value: float) -> None:
        super().__init__()
        self.value = value
        self.calls = 0

    def forward(self, student, teacher):
        self.calls += 1
        loss = student.square().mean()
        return loss if self.calls < 3 else loss * self.value


def weights(distiller) -> list[torch.Tensor]:
    return [parameter.detach().clone() for parameter in distiller.parameters()]


@pytest.mark.parametrize("value", [math.nan, math.inf])
@pytest.mark.parametrize("accumulate", [1, 2])
def test_bad_loss_stops_before_the_update(splits, distiller, value, accumulate) -> None:
    calm = distiller([tl.Term(Diverging(1.0)), tl.Term(tl.CELoss())])
    steps = 2 // accumulate
    settings = SETTINGS.model_copy(update={"accumulate": accumulate})
    fit(calm, splits, settings.model_copy(update={"epochs": None, "steps": steps}), seed=0)
    wild = distiller([tl.Term(Diverging(value)), tl.Term(tl.CELoss())])
    with pytest.raises(NumericalError) as caught:
        fit(wild, splits, settings, seed=0)
    assert caught.value.exit_code == 4
    message = str(caught.value)
    assert message.startswith(f"optimiser step {steps + 1}: expected finite numbers, found loss")
    assert "from diverging;" in message
    assert "the logits are finite" in message
    assert message.endswith(
        "this step changed no weight, but running statistics, as of a batch norm, may have moved"
    )
    for mine, expected in zip(weights(wild), weights(calm), strict=True):
        assert torch.equal(mine, expected)


def test_teacher_with_nan_is_blamed_with_the_sample(splits, distiller, net) -> None:
    bad = int(splits.train.ids[5])
    image = splits.train.__getitems__([5]).inputs

    def answer(inputs):
        logits = torch.ones(len(inputs), 3)
        logits[(inputs == image).flatten(1).all(1)] = math.nan
        return logits

    ours = tl.Distiller(net(), tl.CallableTeacher(answer), [tl.Term(tl.KDLoss())])
    with pytest.raises(
        NumericalError, match=rf"from kd; the teacher's logits are not, for samples {bad}: check"
    ):
        fit(ours, splits, SETTINGS, seed=0)


def test_masked_classes_of_a_teacher_are_no_fault(splits, net) -> None:
    def answer(inputs):
        return torch.tensor([0.0, 1.0, -math.inf]).expand(len(inputs), 3)

    ours = tl.Distiller(net(), tl.CallableTeacher(answer), [tl.Term(tl.KDLoss())])
    found = fit(ours, splits, SETTINGS, seed=0)
    assert math.isfinite(found.last.test.nll)


def test_student_that_ran_away_is_blamed(splits, distiller) -> None:
    ours = distiller([tl.Term(tl.CELoss())])
    with torch.no_grad():
        ours.student.head.bias[1] = math.inf
    with pytest.raises(
        NumericalError, match=r"the student's logits are not, for samples .*lower lr"
    ):
        fit(ours, splits, SETTINGS, seed=0)


def test_image_with_nan_is_named_before_the_models_are_blamed(splits, distiller) -> None:
    splits.train._images[splits.train._rows[5]] = math.nan
    bad = int(splits.train.ids[5])
    with pytest.raises(NumericalError, match=rf"inputs already are not, in samples {bad}: check"):
        fit(distiller(), splits, SETTINGS, seed=0)


def test_bad_gradient_behind_a_finite_loss_stops_before_the_update(splits, distiller) -> None:
    class Root(nn.Module):
        name = "root"
        needs_teacher = False

        def forward(self, student, teacher):
            return (student * 0).square().mean().sqrt()  # 0, with the slope 0 * inf

    ours = distiller([tl.Term(tl.CELoss()), tl.Term(Root())])
    before = weights(ours)
    with pytest.raises(
        NumericalError, match=r"loss is finite and the gradient is not, first of student\.body"
    ):
        fit(ours, splits, SETTINGS, seed=0)
    assert all(torch.equal(a, b) for a, b in zip(weights(ours), before, strict=True))


def test_half_precision_on_a_cpu_is_refused(splits, distiller) -> None:
    settings = SETTINGS.model_copy(update={"precision": "fp16", "device": "cpu"})
    with pytest.raises(InputError, match="expected fp32 or bf16 on cpu, found fp16; use bf16"):
        fit(distiller(), splits, settings, seed=0)


def test_image_with_nan_in_validation_is_named(splits, distiller) -> None:
    splits.validation._images[splits.validation._rows[3]] = math.nan
    bad = int(splits.validation.ids[3])
    with pytest.raises(NumericalError, match=rf"from the model for samples {bad}; check") as caught:
        fit(distiller(), splits, SETTINGS, seed=0)
    assert caught.value.exit_code == 4


@pytest.mark.parametrize("device", ["gpu", "cuda:99", "meta", "mps", "xpu"])
def test_device_that_is_not_there_is_refused(splits, distiller, device) -> None:
    if device == "mps" and torch.backends.mps.is_available():
        pytest.skip("this machine has such a device")
    if device == "xpu" and torch.xpu.is_available():
        pytest.skip("this machine has such a device")
    settings = SETTINGS.model_copy(update={"device": device})
    with pytest.raises(InputError, match=f"device: expected .*found '{device}'"):
        fit(distiller(), splits, settings, seed=0)
