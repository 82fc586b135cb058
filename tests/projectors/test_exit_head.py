import pytest
import torch
from torch import nn

from tutelage import Distiller, FrozenTeacher, Term
from tutelage.errors import InputError, ShapeError
from tutelage.losses import OFALoss
from tutelage.projectors import ExitHead


def test_a_map_is_averaged_over_its_pixels():
    head, maps = ExitHead(4, 3), torch.randn(2, 4, 3, 5)
    means = torch.stack([maps[:, c].sum((1, 2)) / 15 for c in range(4)], 1)
    torch.testing.assert_close(head(maps), means @ head.linear.weight.T + head.linear.bias)


def test_tokens_are_averaged_and_the_first_may_stand_for_all():
    tokens = torch.randn(2, 7, 4)
    head = ExitHead(4, 3)
    torch.testing.assert_close(head(tokens), head(sum(tokens.unbind(1)) / 7))
    head = ExitHead(4, 3, pool="first")
    torch.testing.assert_close(head(tokens), head(tokens[:, 0]))


@pytest.mark.parametrize("shape", [(2, 4, 3, 5), (2, 7, 4), (2, 4)])
def test_it_reads_its_widths_off_two_tensors(shape):
    head = ExitHead.between(torch.zeros(shape), torch.zeros(2, 9), bias=False)
    assert head(torch.zeros(shape)).shape == (2, 9)
    assert head.linear.bias is None


def test_it_brings_a_stage_to_the_teachers_classes_in_a_distiller():
    student = nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(16, 5))
    teacher = nn.Sequential(nn.Flatten(), nn.Linear(16, 5))
    x, y = torch.randn(3, 1, 4, 4), torch.tensor([0, 4, 2])
    terms = [
        Term(OFALoss()),
        Term(OFALoss(), at=("0", None), via="paper", name="exit"),
    ]
    with FrozenTeacher(teacher) as frozen:
        distiller = Distiller(student, frozen, terms, example=x)
        exits = [p for name, p in distiller.named_parameters() if name.endswith("linear.weight")]
        assert [list(p.shape) for p in exits] == [[5, 4]]
        distiller(x, y).loss.backward()
    assert exits[0].grad.ne(0).any()


@pytest.mark.parametrize("shape", [(2, 5, 3, 3), (2, 4, 5), (2, 5), (4,), (2, 4, 1, 1, 1)])
def test_another_input_is_refused(shape):
    with pytest.raises(ShapeError, match=r"ExitHead: expected \[B, 4, H, W\], .*channels-first"):
        ExitHead(4, 6)(torch.zeros(shape))


def test_another_pooling_is_refused():
    with pytest.raises(InputError, match=r"ExitHead.pool: expected one of mean, first"):
        ExitHead(4, 6, pool="max")
