"""The contract of a frozen teacher: 100 steps of everything that moves teachers elsewhere."""

import hashlib

import pytest
import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

import tutelage as tl


class Net(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.body = nn.Conv2d(1, width, 3, padding=1)
        self.norm = nn.BatchNorm2d(width)
        self.drop = nn.Dropout(0.5)
        self.head = nn.Linear(width, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.drop(self.norm(self.body(x)).relu()).mean((2, 3)))


class Framework(nn.Module):
    """What frameworks do: hold everything, the raw teacher too, and call .train() on it."""

    def __init__(self, distiller: tl.Distiller, raw_teacher: nn.Module) -> None:
        super().__init__()
        self.distiller = distiller
        self.raw_teacher = raw_teacher


def fingerprint(model: nn.Module) -> str:
    digest = hashlib.sha256()
    for name, tensor in sorted(model.state_dict().items()):
        digest.update(name.encode() + tensor.numpy().tobytes())
    return digest.hexdigest()


def test_a_hundred_steps_leave_the_teacher_untouched() -> None:
    torch.manual_seed(0)
    teacher = Net(6)
    modes = [module.training for module in teacher.modules()]
    before = fingerprint(teacher)
    distiller = tl.Distiller(
        Net(4),
        tl.FrozenTeacher(teacher),
        [
            tl.Term(tl.CELoss()),
            tl.Term(tl.KDLoss()),
            tl.Term(tl.HintLoss(), at=("norm", "norm"), via="auto"),
        ],
        example=torch.randn(2, 1, 6, 6),
    )
    framework = Framework(distiller, teacher)
    optimiser = torch.optim.AdamW(framework.parameters(), lr=0.01, weight_decay=0.5)
    ema = AveragedModel(distiller)
    for _ in range(100):
        framework.train()
        distiller.teacher.train()
        optimiser.zero_grad(set_to_none=False)
        distiller(torch.randn(8, 1, 6, 6), torch.randint(3, (8,))).loss.backward()
        optimiser.step()
        ema.update_parameters(distiller)
        assert not any(module.training for module in teacher.modules())
    ids = {id(tensor) for tensor in teacher.state_dict(keep_vars=True).values()}
    assert fingerprint(teacher) == before
    assert not any(p.requires_grad or p.grad is not None for p in teacher.parameters())
    for holder in (distiller, ema):
        assert not ids & {id(p) for p in holder.parameters()}
        assert not ids & {id(b) for b in holder.buffers()}
        pointers = {t.untyped_storage().data_ptr() for t in holder.state_dict().values()}
        assert not pointers & {t.untyped_storage().data_ptr() for t in teacher.parameters()}
    own = torch.optim.AdamW(distiller.parameters())
    assert not ids & {id(p) for group in own.param_groups for p in group["params"]}
    distiller.close()
    assert all(p.requires_grad for p in teacher.parameters())
    # The framework switched everything to train mode; what counts is what the teacher was before.
    assert [module.training for module in teacher.modules()] == modes


def test_the_teacher_answers_the_same_in_every_mode_of_the_student() -> None:
    torch.manual_seed(0)
    teacher, x = Net(6), torch.randn(4, 1, 6, 6)
    distiller = tl.Distiller(Net(4), tl.FrozenTeacher(teacher), [tl.KDLoss()])
    answers = []
    for mode in (True, False):
        distiller.train(mode)
        teacher.train(mode)
        answers.append(distiller.teacher(x).logits)
    assert torch.equal(*answers)
    assert not answers[0].requires_grad


def test_no_gradient_flows_through_a_teacher_even_when_it_is_switched_on() -> None:
    teacher = Net(6)
    distiller = tl.Distiller(Net(4), tl.FrozenTeacher(teacher), [tl.KDLoss()])
    teacher.requires_grad_(True)
    distiller(torch.randn(4, 1, 6, 6)).loss.backward()
    assert all(p.grad is None for p in teacher.parameters())


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
def test_an_exception_gives_the_users_module_back(error: type[BaseException]) -> None:
    teacher = Net(6)
    teacher.body.requires_grad_(False)
    flags = [p.requires_grad for p in teacher.parameters()]
    distiller = tl.Distiller(Net(4), tl.FrozenTeacher(teacher), [tl.KDLoss()])
    with pytest.raises(error), distiller:
        raise error
    assert [p.requires_grad for p in teacher.parameters()] == flags
    assert all(module.training for module in teacher.modules())
