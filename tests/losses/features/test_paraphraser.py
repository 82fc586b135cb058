import pytest
import torch

from tutelage.errors import InputError, ShapeError
from tutelage.losses.features.paraphraser import Paraphraser


@pytest.mark.parametrize(("rate", "factor"), [(0.5, 3), (2, 12), (0.01, 1)])
def test_the_rate_sets_the_width_of_the_factor(rate, factor):
    paraphraser, teacher = Paraphraser(6, rate=rate), torch.randn(2, 6, 4, 5)
    assert paraphraser(teacher).shape == (2, factor, 4, 5)
    assert paraphraser.reconstruct(teacher).shape == teacher.shape


def test_the_reconstruction_loss_is_the_mean_magnitude_of_its_error():
    paraphraser, teacher = Paraphraser(6), torch.randn(2, 6, 4, 5)
    error = (paraphraser.reconstruct(teacher) - teacher).abs()
    torch.testing.assert_close(paraphraser.reconstruction_loss(teacher), error.sum() / 240)


def test_training_lowers_the_reconstruction_loss_and_leaves_the_teacher_alone():
    torch.manual_seed(0)
    paraphraser, teacher = Paraphraser(4), torch.rand(8, 4, 5, 5, requires_grad=True)
    optimiser = torch.optim.Adam(paraphraser.parameters(), lr=0.01)
    losses = []
    for _ in range(60):
        optimiser.zero_grad()
        loss = paraphraser.reconstruction_loss(teacher)
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    assert losses[-1] < 0.6 * losses[0]
    assert teacher.grad is None


def test_what_it_cannot_take_is_refused():
    with pytest.raises(ShapeError, match=r"Paraphraser: expected the teacher's map \[B, 6, H, W\]"):
        Paraphraser(6)(torch.zeros(2, 5, 4, 4))
    with pytest.raises(InputError, match=r"Paraphraser.rate: expected a finite number above 0"):
        Paraphraser(6, rate=0)
    with pytest.raises(InputError, match=r"Paraphraser.slope: expected a finite number"):
        Paraphraser(6, slope=-1)
