"""Mimicking and generation of tokens, against a loop over Python floats."""

import pytest
import torch

from tutelage.errors import InputError, ShapeError
from tutelage.losses import ViTKDLoss
from tutelage.losses.features.vitkd import token_distance
from tutelage.projectors.token_generation import TokenGeneration


def reference(student, teacher, hidden, ratio, alpha, beta):
    """The paper's loss of one sample: layers of tokens of features, and which are hidden."""

    def squares(one, other):
        return sum((s - t) ** 2 for s, t in zip(one, other, strict=True))

    *shallow, last = zip(student, teacher, strict=True)
    total = 0.0
    for s_l, t_l in shallow:
        total += alpha * sum(squares(s, t) for s, t in zip(s_l, t_l, strict=True))
    for s, t, is_hidden in zip(*last, hidden, strict=True):
        total += beta / ratio * squares(s, t) * is_hidden
    return total


@pytest.mark.parametrize("layers", [2, 3])
@pytest.mark.parametrize("ratio", [0.5, 0.8])
def test_equals_the_reference(ratio, layers):
    torch.manual_seed(0)
    student, teacher = torch.randn(2, layers, 4, 9, 5, dtype=torch.float64)
    hidden = torch.randint(2, (4, 9))
    expected = [
        reference(student[:, b].tolist(), teacher[:, b].tolist(), hidden[b].tolist(), ratio, 0.3, 2)
        for b in range(4)
    ]
    loss = ViTKDLoss(mimic_weight=0.3, generation_weight=2)
    found = loss([*student, hidden / ratio], list(teacher))
    torch.testing.assert_close(found.item(), sum(expected) / 4)


def test_a_known_number():
    # Shallow: 2 tokens of 3 features, each off by 1: 6.
    # Last: one of the 2 hidden, its 3 features off by 2: 12, doubled by 1 / 0.5, times 0.5.
    zeros, ones = torch.zeros(1, 2, 3), torch.ones(1, 2, 3)
    loss = ViTKDLoss(mimic_weight=1, generation_weight=0.5)
    assert loss([zeros, zeros, torch.tensor([[0.0, 2.0]])], [ones, 2 * ones]).item() == 6 + 12


def test_the_variants_differ_by_the_number_of_features():
    student, teacher = torch.randn(2, 3, 2, 9, 5, dtype=torch.float64)
    weight = torch.rand(2, 9, dtype=torch.float64)
    pair = [*student, weight], list(teacher)
    torch.testing.assert_close(ViTKDLoss()(*pair), ViTKDLoss(variant="mean")(*pair) * 9 * 5)


def test_tokens_that_are_not_hidden_get_no_gradient_from_the_generation():
    tokens = torch.randn(2, 4, 3, requires_grad=True)
    weight = torch.tensor([[0.0, 2.0, 0.0, 0.0]]).expand(2, -1)
    token_distance(tokens, torch.zeros(2, 4, 3), weight).sum().backward()
    assert tokens.grad[:, 1].ne(0).all()
    assert tokens.grad[:, [0, 2, 3]].eq(0).all()


def test_a_step_moves_every_part_of_the_projector():
    torch.manual_seed(0)
    student, teacher = list(torch.randn(3, 4, 10, 6)), list(torch.randn(3, 4, 10, 8))
    projector = TokenGeneration.between(student, teacher)
    before = {name: p.detach().clone() for name, p in projector.named_parameters()}
    optimiser = torch.optim.Adam(projector.parameters(), lr=0.01)
    values = []
    for _ in range(20):
        optimiser.zero_grad()
        value = ViTKDLoss(mimic_weight=1, generation_weight=1)(projector(student), teacher)
        value.backward()
        optimiser.step()
        values.append(value.item())
    assert values[-1] < values[0]
    assert all((before[name] != p).any() for name, p in projector.named_parameters())


def test_what_does_not_fit_is_refused():
    tokens = torch.zeros(2, 4, 3)
    with pytest.raises(ShapeError, match=r"as many layers, .*found student 1 vs teacher 2"):
        ViTKDLoss()([tokens], [tokens, tokens])
    with pytest.raises(ShapeError, match=r"at least two layers .*found student 1 vs teacher 1"):
        ViTKDLoss()([tokens], [tokens])
    with pytest.raises(ShapeError, match=r"at most one tensor of weights.* student 4 vs teacher 2"):
        ViTKDLoss()([tokens] * 4, [tokens] * 2)
    with pytest.raises(ShapeError, match=r"one batch size, found student .* vs teacher"):
        ViTKDLoss()([tokens, tokens[:1]], [tokens, tokens[:1]])
    with pytest.raises(ShapeError, match=r"found student \[2, 4, 3\] vs teacher \[2, 4, 1\]"):
        ViTKDLoss()([tokens, tokens], [tokens, tokens[..., :1]])
    with pytest.raises(ShapeError, match=r"a weight \[B, N\], .* and weights \[2, 3\]"):
        ViTKDLoss()([tokens, tokens, torch.ones(2, 3)], [tokens, tokens])
    with pytest.raises(ShapeError, match=r"expected tokens \[B, N, D\] .* and no weight"):
        token_distance(tokens[0], tokens[0])


@pytest.mark.parametrize("options", [{"mimic_weight": -1}, {"generation_weight": float("nan")}])
def test_settings_outside_their_range_are_refused(options):
    with pytest.raises(InputError, match=rf"ViTKDLoss.{next(iter(options))}: expected a finite"):
        ViTKDLoss(**options)
    with pytest.raises(InputError, match=r"ViTKDLoss.variant: expected one of paper, mean"):
        ViTKDLoss(variant="sum")
