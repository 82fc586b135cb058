import math

import pytest
import torch
from torch import nn

import tutelage as tl
from tutelage import metrics
from tutelage.errors import NumericalError, ShapeError
from tutelage.training import evaluate


def test_numbers_are_those_of_all_samples_whatever_the_batch_size(splits, net) -> None:
    student, teacher = net(), net(8, seed=5)
    everything = splits.test.__getitems__(list(range(30)))
    with torch.no_grad():
        logits, other = student(everything.inputs), teacher(everything.inputs)
    for batch_size in (4, 30, 1000):
        found = evaluate(
            student, splits.test, batch_size=batch_size, teacher=tl.FrozenTeacher(teacher)
        )
        assert found.n == 30
        assert found.accuracy == pytest.approx(metrics.accuracy(logits, everything.target).item())
        assert found.nll == pytest.approx(metrics.nll(logits, everything.target).item())
        assert found.ece == pytest.approx(metrics.ece(logits, everything.target).item(), abs=1e-6)
        assert found.agreement == pytest.approx(metrics.agreement(logits, other).item())
        assert found.kl == pytest.approx(metrics.kl_to_teacher(logits, other).item(), rel=1e-5)


def test_model_is_left_as_it_was(splits, net) -> None:
    student = net(norm=True).train()
    student.drop.eval()  # a part that its owner holds in another mode
    before = {name: value.clone() for name, value in student.state_dict().items()}
    rng = torch.get_rng_state()
    found = evaluate(student, splits.test)
    assert found.agreement is None
    assert found.kl is None
    assert student.training
    assert student.norm.training
    assert not student.drop.training
    assert torch.equal(torch.get_rng_state(), rng)
    assert all(parameter.grad is None for parameter in student.parameters())
    for name, value in student.state_dict().items():
        assert torch.equal(value, before[name]), name


def test_modes_come_back_after_an_exception(splits) -> None:
    class Broken(nn.Module):
        def forward(self, x):
            raise RuntimeError("broken")

    model = Broken().train()
    with pytest.raises(RuntimeError, match="broken"):
        evaluate(model, splits.test)
    assert model.training


def test_augmentation_is_left_out(splits, net) -> None:
    noisy = splits.test.subset(range(30))
    noisy.transform = lambda image: torch.zeros_like(image)
    assert evaluate(net(), noisy) == evaluate(net(), splits.test)


def test_a_teacher_can_be_evaluated_itself(splits, net) -> None:
    module = net()
    with tl.FrozenTeacher(module) as teacher:
        found = evaluate(teacher, splits.test, teacher=teacher)
    assert found.agreement == 1.0
    assert found.kl == 0.0
    assert found.accuracy == evaluate(module, splits.test).accuracy


def test_another_number_of_classes_is_an_error(splits, net) -> None:
    teacher = tl.CallableTeacher(lambda x: torch.zeros(len(x), 4))
    with pytest.raises(ShapeError, match=r"agreement: .*\[30, 3\] vs teacher \[30, 4\]"):
        evaluate(net(), splits.test, teacher=teacher)


@pytest.mark.parametrize("value", [math.nan, math.inf])
@pytest.mark.parametrize("whose", ["model", "teacher"])
def test_logits_that_are_not_finite_are_an_error_with_the_sample(splits, net, whose, value) -> None:
    image, bad = splits.test.__getitems__([7]).inputs, int(splits.test.ids[7])

    def answer(inputs):
        logits = torch.ones(len(inputs), 3)
        logits[(inputs == image).flatten(1).all(1), 1] = value
        return logits

    broken, sound = tl.CallableTeacher(answer), tl.FrozenTeacher(net())
    model, teacher = (broken, sound) if whose == "model" else (sound, broken)
    with pytest.raises(NumericalError, match=rf"from the {whose} for samples {bad}; ") as caught:
        evaluate(model, splits.test, teacher=teacher)
    assert caught.value.exit_code == 4


def test_masked_classes_may_be_evaluated(splits) -> None:
    masked = torch.tensor([0.0, 0.0, -math.inf])
    teacher = tl.CallableTeacher(lambda x: masked.expand(len(x), 3))
    assert evaluate(teacher, splits.test, teacher=teacher).kl == 0.0
