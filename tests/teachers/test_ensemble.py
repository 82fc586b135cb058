import copy

import pytest
import torch
from torch import nn

from tutelage import Distiller, Term
from tutelage.errors import InputError, TapError, TeacherError
from tutelage.losses import CAMKDLoss, KDLoss, WKDLogitsLoss
from tutelage.teachers import CallableTeacher, EnsembleTeacher, FrozenTeacher, Teacher


def net(classes=3):
    return nn.Sequential(nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, classes))


def two():
    return {"small": FrozenTeacher(net()), "big": FrozenTeacher(net())}


x = torch.linspace(-2, 2, 20).view(5, 4)


def test_it_is_a_teacher_that_shows_the_mean_of_probabilities():
    members = two()
    ensemble = EnsembleTeacher(members)
    assert isinstance(ensemble, Teacher)
    expected = sum(member(x).logits.softmax(-1) for member in members.values()) / 2
    logits = ensemble(x).logits
    torch.testing.assert_close(logits, expected.log())
    assert not logits.requires_grad


def test_means_of_logits_and_of_probabilities_differ():
    members = two()
    probability, logit, log_probability = (
        EnsembleTeacher(members, mean=mean)(x).logits.softmax(-1)
        for mean in ("probability", "logit", "log_probability")
    )
    assert (probability - logit).abs().max() > 1e-3
    torch.testing.assert_close(logit, log_probability)


@pytest.mark.parametrize("mean", ["probability", "logit", "log_probability"])
def test_one_member_or_one_twice_is_that_member(mean):
    member = FrozenTeacher(net())
    alone = member(x).logits.softmax(-1)
    for members in ([member], [member, member], {"a": member}):
        found = EnsembleTeacher(members, mean=mean)(x).logits.softmax(-1)
        torch.testing.assert_close(found, alone)


def test_weights_count_by_their_ratios():
    members = two()
    p = {name: member(x).logits.softmax(-1) for name, member in members.items()}
    for weights in ([3.0, 1.0], {"big": 0.5, "small": 1.5}):
        found = EnsembleTeacher(members, weights=weights)(x).logits.exp()
        torch.testing.assert_close(found, 0.75 * p["small"] + 0.25 * p["big"])


def test_taps_are_addressed_by_member_and_layer():
    members = two()
    ensemble = EnsembleTeacher(members)
    ensemble.provide(["big/0", "small"])
    ensemble.provide(["small/2:in"])
    taps = ensemble(x).taps
    assert list(taps) == ["big/0", "small", "small/2:in"]
    torch.testing.assert_close(taps["big/0"], members["big"].model[0](x))
    torch.testing.assert_close(taps["small"], members["small"].model(x))
    torch.testing.assert_close(taps["small/2:in"], members["small"].model[:2](x))


def test_a_list_is_numbered():
    ensemble = EnsembleTeacher([FrozenTeacher(net()), CallableTeacher(lambda x: x[:, :3])])
    ensemble.provide(["0/2", "1"])
    torch.testing.assert_close(ensemble(x).taps["1"], x[:, :3])


@pytest.mark.parametrize(
    ("tap", "message"),
    [
        ("smal/0", r"expected 'member/layer', .* found 'smal/0' \(did you mean 'small'\?\)"),
        ("0", r"found '0' \(known: big, small\)"),
        ("big/", "found 'big/'"),
        ("big/7", r"EnsembleTeacher, member 'big': .*7"),
    ],
)
def test_unknown_taps_are_named_and_nothing_stays_open(tap, message):
    nets = net(), net()
    ensemble = EnsembleTeacher(dict(zip(("small", "big"), map(FrozenTeacher, nets), strict=True)))
    with pytest.raises(TapError, match=message):
        ensemble.provide(["small/0", tap])
    ensemble.close()
    assert all(p.requires_grad for one in nets for p in one.parameters())
    assert not any(part._forward_hooks for one in nets for part in one.modules())


def test_a_member_without_layers_says_so():
    ensemble = EnsembleTeacher({"box": CallableTeacher(lambda x: x)})
    with pytest.raises(TeacherError, match="member 'box': CallableTeacher: it shows logits only"):
        ensemble.provide(["box/layer3"])


def test_members_are_frozen_and_given_back_by_the_last_user():
    nets = net().train(), net().train()
    ensemble = EnsembleTeacher([FrozenTeacher(one) for one in nets])
    student = nn.Linear(4, 3)
    first = Distiller(student, ensemble, [Term(KDLoss())])
    second = Distiller(student, ensemble, [Term(KDLoss())])
    first.train()
    before = copy.deepcopy([one.state_dict() for one in nets])
    first(x).loss.backward()
    assert student.weight.grad.ne(0).any()
    torch.testing.assert_close([one.state_dict() for one in nets], before)
    for close in (first.close, second.close):
        assert not any(p.requires_grad or p.grad is not None for n in nets for p in n.parameters())
        assert not any(one.training for one in nets)
        close()
    assert all(p.requires_grad for one in nets for p in one.parameters())
    assert all(one.training for one in nets)


def test_leaving_a_with_block_ends_the_use_of_all():
    inner = net()
    with EnsembleTeacher([FrozenTeacher(inner)]) as ensemble:
        ensemble.provide(["0/1"])
        ensemble.provide([])
    assert all(p.requires_grad for p in inner.parameters())
    assert not inner[1]._forward_hooks


def test_tensors_are_named_moved_and_cast_through_it():
    members = two()
    ensemble = EnsembleTeacher({**members, "again": members["big"]})
    names = [name for name, _ in ensemble.named_tensors()]
    assert names[0] == "small/0.weight"
    assert len(names) == len(set(names)) == 12
    calls = []
    ensemble.apply_to_tensors(lambda t: calls.append(t) or t.double())
    assert len(calls) == 8
    assert ensemble(x).logits.dtype == torch.float64


def test_losses_of_several_teachers_read_each_by_its_name():
    members, student = two(), nn.Linear(4, 3)
    terms = [
        Term(CAMKDLoss(), at=[(None, "small"), (None, "big")]),
        Term(WKDLogitsLoss(), borrow="big/2"),
        Term(KDLoss(), at=(None, "big"), name="big"),
    ]
    target = torch.tensor([0, 1, 2, 0, 1])
    with Distiller(student, EnsembleTeacher(members), terms) as distiller:
        step = distiller(x, target)
        step.loss.backward()
        teachers = [member(x).logits for member in members.values()]
    torch.testing.assert_close(step.parts["big"], KDLoss()(student(x), teachers[1]).detach())
    expected = CAMKDLoss()([student(x)] * 2, teachers, target)
    torch.testing.assert_close(step.parts["ca_mkd"], expected.detach())


def test_a_layer_of_a_member_can_be_reached():
    members = two()
    ensemble = EnsembleTeacher({**members, "box": CallableTeacher(lambda x: x)})
    assert ensemble.layer("big/2") is members["big"].model[2]
    for name in ("big", "box/2"):
        with pytest.raises(TeacherError, match=f"layers can be reached, .* found '{name}'"):
            ensemble.layer(name)


def test_members_that_do_not_fit_together_are_refused():
    ensemble = EnsembleTeacher([FrozenTeacher(net(3)), FrozenTeacher(net(5))])
    with pytest.raises(
        TeacherError, match=r"found 0 \[5, 3\], 1 \[5, 5\]; give members .*class_map"
    ):
        ensemble(x)


@pytest.mark.parametrize(
    ("teachers", "options", "error", "message"),
    [
        ([], {}, TeacherError, "expected at least one teacher, found none"),
        ([nn.Linear(2, 2)], {}, TeacherError, r"found Linear as '0'; wrap a module: FrozenT"),
        ({"a/b": CallableTeacher(len)}, {}, InputError, "expected names without '/'.*'a/b'"),
        ({1: CallableTeacher(len)}, {}, InputError, "expected names without '/'.*found 1"),
        ([CallableTeacher(len)], {"mean": "max"}, InputError, "EnsembleTeacher.mean: expected one"),
        ([CallableTeacher(len)], {"weights": [1.0, 2.0]}, InputError, "expected one for each of 0"),
        ([CallableTeacher(len)], {"weights": {"a": 1.0}}, InputError, "expected one for each of 0"),
        ([CallableTeacher(len)], {"weights": [0.0]}, InputError, r"weights\['0'\]: expected a fin"),
    ],
)
def test_what_cannot_be_an_ensemble_is_refused(teachers, options, error, message):
    with pytest.raises(error, match=message):
        EnsembleTeacher(teachers, **options)
