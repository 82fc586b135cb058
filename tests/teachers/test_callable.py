import pytest
import torch
from torch import nn

from tutelage.errors import TeacherError
from tutelage.teachers import CallableTeacher, Teacher

net = nn.Linear(4, 3)


def test_any_function_is_a_teacher_without_gradient():
    teacher = CallableTeacher(lambda x: {"logits": net(x)})
    x = torch.randn(2, 4, requires_grad=True)
    signals = teacher(x, ids=torch.arange(2))
    assert isinstance(teacher, Teacher)
    torch.testing.assert_close(signals.logits, net(x).detach())
    assert not signals.logits.requires_grad


def test_logits_with_a_graph_of_their_own_are_cut_off():
    def with_graph(x):
        with torch.enable_grad():
            return net(x)

    assert not CallableTeacher(with_graph)(torch.zeros(2, 4)).logits.requires_grad


def test_layers_cannot_be_read():
    teacher = CallableTeacher(net.forward)
    teacher.provide([])
    with pytest.raises(TeacherError, match=r"layer3 .*FrozenTeacher") as caught:
        teacher.provide(["layer3"])
    assert caught.value.exit_code == 2


def test_modules_and_other_things_are_refused():
    with pytest.raises(TeacherError, match="nothing would freeze; use FrozenTeacher"):
        CallableTeacher(net)
    with pytest.raises(TeacherError, match="found int"):
        CallableTeacher(3)


def test_an_output_of_another_batch_size_is_refused():
    with pytest.raises(TeacherError, match="expected 2 rows of logits"):
        CallableTeacher(lambda x: x[:1])(torch.zeros(2, 4))


def test_it_holds_and_borrows_nothing():
    teacher = CallableTeacher(net.forward)
    teacher.apply_to_tensors(lambda t: t.double())
    teacher.close()
    assert list(teacher.named_tensors()) == []
    assert net.weight.dtype == torch.float32


def test_the_call_of_an_exported_module_is_a_function():
    module = torch.export.export(net, (torch.zeros(2, 4),)).module()
    x = torch.randn(2, 4)
    torch.testing.assert_close(CallableTeacher(module.__call__)(x).logits, net(x).detach())
