import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

pytest.importorskip("fastai", reason="fastai is not installed")

import tutelage as tl
from tutelage.adapters.fastai import (
    Attention,
    DecoupledKD,
    FitNet,
    KnowledgeDistillationCallback,
    SoftTarget,
)
from tutelage.errors import InputError, TapError


def values(learn, loss, teacher, *args, **more) -> dict[str, Tensor]:
    """Return the value of each term on the first batch of a fit."""
    from fastai.callback.core import Callback

    found: list[dict[str, Tensor]] = []
    kd = KnowledgeDistillationCallback(teacher, loss, *args, **more)
    watch = Callback(after_backward=lambda self: found.append(dict(kd._parts)))
    learn.fit(1, cbs=[kd, watch])
    return found[0]


def features(model: nn.Module, x: Tensor) -> dict[str, Tensor]:
    with torch.no_grad():
        stem = model.stem(x)
        return {"stem": stem, "body": model.body(stem.relu())}


@pytest.fixture
def twin(net):
    """Return a teacher as wide as the learner's student."""
    return net(4, seed=5)


def test_pairs_are_compared_in_the_order_given_and_not_in_that_of_the_forward(
    learner, twin, net
) -> None:
    learn = learner(model=net(4, seed=2))
    x, _ = learn.dls.train.one_batch()
    mine, theirs = features(learn.model, x), features(twin, x)
    found = values(learn, FitNet, twin, ["stem", "body"], ["body", "stem"])
    expected = {
        "hint[stem->body]": F.mse_loss(mine["stem"], theirs["body"]),
        "hint[body->stem]": F.mse_loss(mine["body"], theirs["stem"]),
    }
    torch.testing.assert_close(found, expected)


def test_a_layer_named_twice_is_compared_twice_and_leaves_no_hook(
    learner, twin, net, hooks
) -> None:
    learn = learner(model=net(4, seed=2))
    x, _ = learn.dls.train.one_batch()
    mine, theirs = features(learn.model, x), features(twin, x)
    names = ["stem", "stem", "stem"], ["stem", "body", "stem"]
    found = values(learn, Attention, twin, *names)
    loss = tl.ATLoss()
    expected = {
        "at[stem->stem]": loss(mine["stem"], theirs["stem"]),
        "at[stem->body]": loss(mine["stem"], theirs["body"]),
        "at[stem->stem]#3": loss(mine["stem"], theirs["stem"]),
    }
    torch.testing.assert_close(found, expected)
    assert hooks(learn.model) == hooks(twin) == 0


@pytest.mark.parametrize(("mine", "theirs"), [(["stem", "body"], ["stem"]), (["stem"], None)])
def test_lists_of_unequal_length_are_refused(teacher, mine, theirs) -> None:
    with pytest.raises(InputError, match="expected as many layers of the student as of the teac"):
        KnowledgeDistillationCallback(teacher, FitNet, mine, theirs)


def test_a_typo_in_a_teachers_layer_is_refused_when_the_callback_is_made(teacher) -> None:
    with pytest.raises(TapError, match="found no 'bdoy'; did you mean 'body'"):
        KnowledgeDistillationCallback(teacher, FitNet, ["body"], ["bdoy"])
    KnowledgeDistillationCallback(teacher, SoftTarget)
    KnowledgeDistillationCallback(teacher, FitNet, "head:in", "head:in")


def test_a_loss_of_features_without_layers_and_one_of_logits_with_them_are_refused(
    teacher,
) -> None:
    with pytest.raises(TapError, match="HintLoss compares features; say which with activations_"):
        KnowledgeDistillationCallback(teacher, FitNet)
    with pytest.raises(TapError, match="KDLoss compares logits, found layers"):
        KnowledgeDistillationCallback(teacher, SoftTarget, "body", "body")


def test_terms_come_with_their_own_layers_and_weights(learner, twin, net) -> None:
    learn = learner(model=net(4, seed=2))
    x, _ = learn.dls.train.one_batch()
    mine, theirs = features(learn.model, x), features(twin, x)
    terms = [tl.Term(FitNet(), 2.0, at="body"), tl.Term(SoftTarget(T=2)), DecoupledKD]
    found = values(learn, terms, twin)
    assert list(found) == ["hint", "kd", "dkd"]
    torch.testing.assert_close(found["hint"], F.mse_loss(mine["body"], theirs["body"]))
    with pytest.raises(InputError, match="expected the layers, projectors and class axes of terms"):
        KnowledgeDistillationCallback(twin, terms, "body", "body")


def test_each_pair_learns_its_own_projector(learner, teacher) -> None:
    kd = KnowledgeDistillationCallback(
        teacher, FitNet, ["stem", "body"], ["stem", "body"], projector=tl.ConvProjector(4, 6)
    )
    first, second = (term.via for term in kd.objective)
    assert first is not second
    learner(kd).fit(1)
    for one, other in zip(first.parameters(), second.parameters(), strict=True):
        assert not torch.equal(one, other)
    with pytest.raises(InputError, match="expected a projector for each of 2 pairs of layers"):
        KnowledgeDistillationCallback(
            teacher, FitNet, ["stem", "body"], ["stem", "body"], projector=["auto"]
        )


def test_a_function_of_fasterais_keywords_gets_logits_features_and_labels(
    learner, twin, net
) -> None:
    seen = {}

    def own(pred, teacher_pred, fm_s, fm_t, target=None, **kwargs):
        if not seen:
            seen.update(pred=pred, fm_s=list(fm_s), fm_t=list(fm_t), target=target)
        pairs = zip(fm_s.values(), fm_t.values(), strict=True)
        return F.mse_loss(pred, teacher_pred) + sum(F.mse_loss(a, b) for a, b in pairs)

    learn = learner(model=net(4, seed=2))
    x, y = learn.dls.train.one_batch()
    mine, theirs = features(learn.model, x), features(twin, x)
    with torch.no_grad():
        logits = F.mse_loss(learn.model(x), twin(x))
    expected = logits + F.mse_loss(mine["body"], theirs["stem"])
    expected += F.mse_loss(mine["body"], theirs["body"])
    found = values(learn, own, twin, ["body", "body"], ["stem", "body"])
    torch.testing.assert_close(found, {"own": expected})
    assert seen["fm_s"] == ["body", "body#2"]
    assert seen["fm_t"] == ["stem", "body"]
    assert torch.equal(seen["target"], y)


def test_a_function_of_logits_in_fasterais_keywords_needs_no_layers(learner, twin, net) -> None:
    learn = learner(model=net(4, seed=2))
    x, _ = learn.dls.train.one_batch()
    with torch.no_grad():
        expected = F.l1_loss(learn.model(x), twin(x))
    found = values(learn, lambda pred, teacher_pred: F.l1_loss(pred, teacher_pred), twin)
    torch.testing.assert_close(next(iter(found.values())), expected)


def test_a_function_of_two_tensors_is_a_loss(learner, twin, net) -> None:
    learn = learner(model=net(4, seed=2))
    x, _ = learn.dls.train.one_batch()
    with torch.no_grad():
        expected = F.l1_loss(learn.model(x), twin(x))
    torch.testing.assert_close(values(learn, F.l1_loss, twin), {"l1_loss": expected})


def test_what_is_no_loss_is_refused(teacher) -> None:
    with pytest.raises(InputError, match="expected a loss, terms or a function, found 'kd'"):
        KnowledgeDistillationCallback(teacher, "kd")
