"""Factor transfer, against a loop over Python floats."""

import math

import pytest
import torch
from torch import nn

from tutelage.errors import InputError, ShapeError
from tutelage.losses import FTLoss
from tutelage.losses.features.ft import factor_distance
from tutelage.losses.features.paraphraser import Paraphraser
from tutelage.projectors.translator import TranslatorProjector


def reference(student, teacher):
    def unit(factor):
        length = math.sqrt(sum(f * f for f in factor))
        return [f / length for f in factor]

    pairs = zip(unit(student), unit(teacher), strict=True)
    return sum(abs(s - t) for s, t in pairs) / len(student)


@pytest.mark.parametrize("shape", [(3, 5, 4, 6), (3, 7, 4), (3, 9)])
def test_equals_the_reference(shape):
    torch.manual_seed(0)
    student, teacher = torch.randn(2, *shape, dtype=torch.float64)
    rows = zip(student.flatten(1).tolist(), teacher.flatten(1).tolist(), strict=True)
    expected = torch.tensor([reference(*row) for row in rows], dtype=torch.float64)
    torch.testing.assert_close(factor_distance(student, teacher), expected)


def test_a_known_number():
    # [1, 0] against [3, 4] / 5: (0.4 + 0.8) / 2.
    found = factor_distance(torch.tensor([[7.0, 0.0]]), torch.tensor([[3.0, 4.0]]))
    torch.testing.assert_close(found, torch.tensor([0.6]))


def test_the_scale_of_a_factor_does_not_count():
    student, teacher = torch.randn(2, 3, 5, 4, 4, dtype=torch.float64)
    scaled = factor_distance(1e6 * student, 1e-3 * teacher)
    torch.testing.assert_close(scaled, factor_distance(student, teacher))


def test_the_loss_takes_the_teachers_plain_map():
    torch.manual_seed(0)
    paraphraser, student, teacher = Paraphraser(6), torch.randn(2, 3, 4, 4), torch.randn(2, 6, 4, 4)
    layers = (paraphraser.conv1, paraphraser.conv2, paraphraser.conv3)
    by_hand = nn.Sequential(*(nn.Sequential(conv, nn.LeakyReLU(0.1)) for conv in layers))
    found = FTLoss(paraphraser=paraphraser)(student, teacher)
    torch.testing.assert_close(found, factor_distance(student, by_hand(teacher)).mean())


def test_the_paraphraser_of_the_loss_is_a_frozen_copy():
    paraphraser = Paraphraser(6)
    loss = FTLoss(paraphraser=paraphraser)
    assert not any(p.requires_grad for p in loss.parameters())
    assert all(p.requires_grad for p in paraphraser.parameters())
    twin = FTLoss(paraphraser=Paraphraser(6))
    twin.load_state_dict(loss.state_dict())
    student, teacher = torch.randn(2, 3, 4, 4), torch.randn(2, 6, 4, 4)
    torch.testing.assert_close(twin(student, teacher), loss(student, teacher))


def test_a_silent_factor_has_a_finite_gradient():
    student = torch.zeros(2, 3, 4, 4, requires_grad=True)
    FTLoss(paraphraser=Paraphraser(6))(student, torch.randn(2, 6, 4, 4)).backward()
    assert student.grad.abs().max() < 1  # and no million million times that of the others


def test_the_translator_learns_the_factor():
    torch.manual_seed(0)
    teacher, student = torch.randn(4, 6, 5, 5), torch.randn(4, 3, 5, 5)
    loss = FTLoss(paraphraser=Paraphraser(6))
    translator = TranslatorProjector.between(student, teacher)
    optimiser = torch.optim.Adam(translator.parameters(), lr=0.01)
    values = []
    for _ in range(60):
        optimiser.zero_grad()
        value = loss(translator(student), teacher)
        value.backward()
        optimiser.step()
        values.append(value.item())
    assert values[-1] < 0.75 * values[0]


def test_without_a_paraphraser_it_says_how_to_train_one():
    with pytest.raises(InputError, match=r"trained paraphraser, found None; minimise"):
        FTLoss()(torch.zeros(2, 3, 4, 4), torch.zeros(2, 6, 4, 4))
    with pytest.raises(InputError, match=r"FTLoss.paraphraser: expected a Paraphraser, found Lin"):
        FTLoss(paraphraser=nn.Linear(2, 2))
    assert repr(FTLoss()) == "FTLoss(paraphraser=None)"


def test_another_factor_is_refused():
    loss = FTLoss(paraphraser=Paraphraser(6))
    with pytest.raises(ShapeError, match=r"FTLoss: .*found student \[2, 4, 4, 4\] vs teacher"):
        loss(torch.zeros(2, 4, 4, 4), torch.zeros(2, 6, 4, 4))
