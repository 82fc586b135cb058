import pytest
import torch
from torch import nn

from tutelage.errors import TeacherError
from tutelage.teachers import CallableTeacher, FrozenTeacher, ShuffledTeacher, Teacher

identity = CallableTeacher(lambda x: x)


@pytest.mark.parametrize("n", [2, 3, 16])
def test_no_sample_keeps_its_own_signals_and_none_is_lost(n):
    teacher = ShuffledTeacher(identity, seed=0)
    x = torch.arange(n).float()[:, None]
    for _ in range(30):
        logits = teacher(x).logits
        assert not (logits == x).any()
        assert torch.equal(logits.sort(0).values, x)


@pytest.mark.parametrize("n", [0, 1])
def test_there_is_nothing_to_exchange_in_the_smallest_batches(n):
    x = torch.ones(n, 3)
    assert torch.equal(ShuffledTeacher(identity, seed=0)(x).logits, x)


def test_all_cycles_of_three_occur_equally_often():
    teacher, x = ShuffledTeacher(identity, seed=0), torch.arange(3.0)[:, None]
    drawn = [tuple(teacher(x).logits.flatten().tolist()) for _ in range(400)]
    assert set(drawn) == {(1.0, 2.0, 0.0), (2.0, 0.0, 1.0)}
    # Half of 400 with a standard deviation of 10.
    assert abs(drawn.count((1.0, 2.0, 0.0)) - 200) < 50


def test_taps_move_with_the_logits():
    net = nn.Sequential(nn.Linear(1, 1), nn.Identity())
    teacher = ShuffledTeacher(FrozenTeacher(net), seed=0)
    teacher.provide(["0"])
    signals = teacher(torch.arange(8.0)[:, None])
    assert torch.equal(signals.taps["0"], signals.logits)


def test_the_seed_decides_and_the_global_generator_is_left_alone():
    x = torch.arange(32.0)[:, None]
    before = torch.get_rng_state()
    one, same, other = (ShuffledTeacher(identity, seed=seed)(x).logits for seed in (1, 1, 2))
    assert torch.equal(one, same)
    assert not torch.equal(one, other)
    assert torch.equal(torch.get_rng_state(), before)


def test_a_tap_without_the_batch_in_front_is_refused():
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.flat = nn.Flatten(0)

        def forward(self, x):
            return self.flat(x).view_as(x)

    teacher = ShuffledTeacher(FrozenTeacher(Net()), seed=0)
    teacher.provide(["flat"])
    with pytest.raises(TeacherError, match=r"logits \[4, 2\], tap flat \[8\]"):
        teacher(torch.zeros(4, 2))


def test_everything_else_is_the_teacher_underneath():
    net = nn.Linear(2, 2)
    inner = FrozenTeacher(net)
    teacher = ShuffledTeacher(inner, seed=0)
    assert isinstance(teacher, Teacher)
    assert dict(teacher.named_tensors()).keys() == {"weight", "bias"}
    teacher.apply_to_tensors(lambda t: t.double())
    assert net.weight.dtype == torch.float64
    teacher.close()
    assert net.weight.requires_grad
