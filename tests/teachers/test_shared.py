"""One pass of a teacher for several students, and never an answer to another batch."""

import copy
import gc
import pickle
import weakref

import pytest
import torch
from torch import nn

import tutelage as tl
from tutelage.errors import InputError, TapError, TeacherError
from tutelage.signals import SparseLogits
from tutelage.teachers import Teacher


class Net(nn.Module):
    def __init__(self, width=4, *, inplace=False):
        super().__init__()
        self.first = nn.ReLU(inplace=inplace)
        self.body = nn.Linear(3, width)
        self.head = nn.Linear(width, 5)
        self.calls = 0

    def forward(self, x, scale=1.0):
        self.calls += 1
        return self.head(self.body(self.first(x))) * scale


@pytest.fixture
def net():
    torch.manual_seed(0)
    return Net()


@pytest.fixture
def x():
    return torch.randn(6, 3, generator=torch.Generator().manual_seed(1))


def test_it_is_a_teacher(net):
    assert isinstance(tl.SharedTeacher(tl.FrozenTeacher(net)), Teacher)


def test_three_students_learn_from_one_pass_as_each_would_alone(net, x):
    terms = [
        lambda: [tl.Term(tl.KDLoss())],
        lambda: [tl.Term(tl.HintLoss(), at="body")],
        lambda: [tl.Term(tl.KDLoss()), tl.Term(tl.LogitMSELoss(), 0.5)],
    ]
    shared = tl.SharedTeacher(tl.FrozenTeacher(net))
    together = [tl.Distiller(Net(), shared, make()) for make in terms]
    alone = [
        tl.Distiller(copy.deepcopy(one.student), tl.FrozenTeacher(copy.deepcopy(net)), make())
        for one, make in zip(together, terms, strict=True)
    ]
    for batch in (x, x + 1, x):
        before = net.calls
        for one, other in zip(together, alone, strict=True):
            assert one(batch).loss == other(batch).loss
        assert net.calls == before + 1


def test_students_that_have_their_output_already_share_it_too(net, x):
    shared = tl.SharedTeacher(tl.FrozenTeacher(net))
    distillers = [tl.Distiller(Net(), shared, [tl.Term(tl.KDLoss())]) for _ in range(2)]
    for distiller in distillers:
        distiller.judge(distiller.student(x), x)
    assert net.calls == 1


def test_another_batch_is_asked_about_even_with_equal_numbers(net, x):
    teacher = tl.SharedTeacher(tl.FrozenTeacher(net))
    first = teacher(x)
    assert teacher(x) is first
    assert teacher(x.clone()) is not first
    assert teacher(x) is not first
    assert net.calls == 3


def test_a_batch_that_was_written_is_asked_about_anew(net, x):
    teacher = tl.SharedTeacher(tl.FrozenTeacher(net))
    teacher(x)
    x.add_(1)
    torch.testing.assert_close(teacher(x).logits, net(x))
    writer = tl.Distiller(Net(inplace=True), teacher, [tl.Term(tl.KDLoss())])
    writer(x)
    assert (x >= 0).all()
    torch.testing.assert_close(teacher(x).logits, net(x))
    torch.testing.assert_close(teacher(x[:2]).logits, net(x[:2]))


def test_an_answer_that_was_written_is_not_given_again(net, x):
    teacher = tl.SharedTeacher(tl.FrozenTeacher(net))
    teacher(x).logits.zero_()
    assert teacher(x).logits.ne(0).any()


def test_an_answer_goes_with_its_batch(net):
    teacher = tl.SharedTeacher(tl.FrozenTeacher(net))
    for seed in range(20):  # memory of the one before is used again, and often its id
        x = torch.randn(6, 3, generator=torch.Generator().manual_seed(seed))
        answer = teacher(x)
        torch.testing.assert_close(answer.logits, net(x))
    logits = weakref.ref(answer.logits)
    del x, answer
    gc.collect()
    assert logits() is None


def test_ids_views_names_and_plain_values_tell_batches_apart(net, x):
    teacher = tl.SharedTeacher(tl.FrozenTeacher(net))
    ids = torch.arange(6)
    assert teacher(x, ids) is teacher(x, ids)
    assert teacher(x, ids) is not teacher(x)
    assert teacher(x) is not teacher(x, ids.clone())
    assert not torch.equal(teacher((x, 1.0)).logits, teacher((x, 2.0)).logits)
    assert teacher({"x": x}) is teacher({"x": x})

    class OfViews(tl.CallableTeacher):
        view = 0

        def set_view(self, view):
            self.view = view

    viewed = OfViews(lambda x: x + viewed.view)
    shared = tl.SharedTeacher(viewed)
    for view in (0, 1):
        shared.set_view(view)
        assert torch.equal(shared(x).logits, x + view)


def test_autocast_is_another_answer(net, x):
    teacher = tl.SharedTeacher(tl.FrozenTeacher(net))
    plain = teacher(x).logits
    with torch.autocast("cpu", torch.bfloat16):
        assert teacher(x).logits.dtype == torch.bfloat16
    assert torch.equal(teacher(x).logits, plain)


def test_inference_tensors_are_always_asked_about(net, x):
    teacher = tl.SharedTeacher(tl.FrozenTeacher(net))
    with torch.inference_mode():
        made = x + 0
        first = teacher(made).logits.clone()
        made.add_(1)
        assert not torch.equal(teacher(made).logits, first)


def test_a_tap_that_a_later_student_asks_for_is_there(net, x):
    teacher = tl.SharedTeacher(tl.FrozenTeacher(net))
    teacher.provide([])
    teacher(x)
    teacher.provide(["body"])
    assert list(teacher(x).taps) == ["body"]
    with pytest.raises(TapError, match="no 'bodi'"):
        teacher.provide(["bodi"])
    teacher.close()
    teacher.close()
    with pytest.raises(TeacherError, match="closed"):
        teacher(x)


def test_moving_the_teacher_forgets(net, x):
    teacher = tl.SharedTeacher(tl.FrozenTeacher(net))
    teacher(x)
    tl.Distiller(Net(), teacher, [tl.Term(tl.KDLoss())]).double()
    assert teacher(x).logits.dtype == torch.float64


def test_it_shows_what_the_teacher_underneath_is(net, x):
    teacher = tl.SharedTeacher(tl.FrozenTeacher(net))
    assert teacher.layer("head") is net.head
    assert (teacher.sparse_example, teacher.gives_logits) == (None, True)
    assert copy.deepcopy(teacher) is teacher
    teacher(x)
    assert torch.equal(pickle.loads(pickle.dumps(teacher))(x).logits, teacher(x).logits)
    with pytest.raises(TeacherError, match=r"whose layers can be reached.*CallableTeacher"):
        tl.SharedTeacher(tl.CallableTeacher(net.forward)).layer("head")


def test_kept_classes_are_shared_and_refused_alike(net, x):
    class Kept(tl.CallableTeacher):
        sparse_example = SparseLogits.from_logits(torch.zeros(1, 5), k=2)

        def __call__(self, inputs, ids=None):
            return tl.Signals(SparseLogits.from_logits(super().__call__(inputs).logits, k=2))

    teacher = tl.SharedTeacher(Kept(lambda x: net(x).detach()))
    assert teacher(x) is teacher(x)
    with pytest.raises(InputError, match="DKDLoss: needs every class"):
        tl.Distiller(Net(), teacher, [tl.Term(tl.DKDLoss())])


def test_teachers_that_follow_one_student_are_refused(net):
    with pytest.raises(TeacherError, match=r"same for all students, found EMATeacher.*its own"):
        tl.SharedTeacher(tl.EnsembleTeacher([tl.EMATeacher(net)]))
    with pytest.raises(TeacherError, match="found Itself"):
        tl.SharedTeacher(tl.Itself())


def test_a_compiled_step_asks_for_itself(net, x):
    teacher = tl.SharedTeacher(tl.FrozenTeacher(net))
    distiller = tl.Distiller(Net(), teacher, [tl.Term(tl.KDLoss())], example=x)
    compiled = torch.compile(distiller, backend="eager", fullgraph=True)
    torch.testing.assert_close(compiled(x).loss, distiller(x).loss)
