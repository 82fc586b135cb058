"""Factor transfer, against a loop over Python floats."""

import math

import pytest
import torch
from torch import nn

import tutelage as tl
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
    with pytest.raises(InputError, match=r"trained paraphraser, found None; let one learn"):
        FTLoss()(torch.zeros(2, 3, 4, 4), torch.zeros(2, 6, 4, 4))
    with pytest.raises(InputError, match=r"FTLoss.paraphraser: expected a Paraphraser, found Lin"):
        FTLoss(paraphraser=nn.Linear(2, 2))
    assert repr(FTLoss()) == "FTLoss(paraphraser=None, learn=False, rate=0.5)"


def test_another_factor_is_refused():
    loss = FTLoss(paraphraser=Paraphraser(6))
    with pytest.raises(ShapeError, match=r"FTLoss: .*found student \[2, 4, 4, 4\] vs teacher"):
        loss(torch.zeros(2, 4, 4, 4), torch.zeros(2, 6, 4, 4))


def test_learning_its_value_is_the_error_of_the_reconstruction_and_only_the_paraphraser_trains():
    loss, teacher = FTLoss(learn=True, rate=0.25), torch.randn(3, 8, 4, 4, requires_grad=True)
    loss.size_for(None, teacher)
    assert isinstance(loss.paraphraser, Paraphraser)
    value = loss(None, teacher)
    wanted = (loss.paraphraser.reconstruct(teacher) - teacher).abs().mean()
    assert value.item() == pytest.approx(wanted.item(), rel=1e-6)
    value.backward()
    assert teacher.grad is None
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in loss.parameters())
    assert loss.paraphraser(teacher).shape[1] == 2


def test_a_later_loss_takes_the_paraphraser_over_as_a_frozen_copy():
    first, later = FTLoss(learn=True), FTLoss()
    first.size_for(None, torch.randn(2, 8, 4, 4))
    later.follow(first)
    assert later.paraphraser is not first.paraphraser
    assert not any(p.requires_grad for p in later.parameters())
    assert all(p.requires_grad for p in first.parameters())


def test_a_paraphraser_that_is_yet_to_be_drawn_needs_an_example():
    terms = [tl.Term(FTLoss(learn=True), at=("0", "0"))]
    teacher = tl.FrozenTeacher(nn.Sequential(nn.Conv2d(1, 4, 1)))
    with pytest.raises(InputError, match=r"terms \['ft'\] have a projector, or another part"):
        tl.Distiller(nn.Sequential(nn.Conv2d(1, 4, 1)), teacher, terms)


def test_a_projector_that_nothing_would_go_through_is_refused():
    with pytest.raises(InputError, match="which FTLoss does not read here; leave it out"):
        tl.Term(FTLoss(learn=True), at=("0", "0"), via="paper")
