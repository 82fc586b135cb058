import copy

import pytest
import torch
from torch import nn

pytest.importorskip("fastai", reason="fastai is not installed")

import fastai.callback.schedule  # noqa: F401  # gives learners fit_one_cycle
from fastai.callback.core import Callback
from fastai.optimizer import OptimWrapper

from tutelage.adapters.fastai import FitNet, KnowledgeDistillationCallback


def groups(model: nn.Module) -> list[list[nn.Parameter]]:
    return [list(model.stem.parameters()), [*model.body.parameters(), *model.head.parameters()]]


def adam(groups, lr, **more):
    return OptimWrapper(groups, torch.optim.Adam, lr=lr)


@pytest.fixture
def kd(teacher):
    return KnowledgeDistillationCallback(
        teacher, FitNet, ["stem", "body"], ["stem", "body"], projector="auto"
    )


def weights(module: nn.Module) -> list[torch.Tensor]:
    return [parameter.detach().clone() for parameter in module.parameters()]


def have_moved(before: list[torch.Tensor], module: nn.Module) -> bool:
    return all(not torch.equal(a, b) for a, b in zip(before, module.parameters(), strict=True))


@pytest.mark.parametrize("more", [{}, {"opt_func": adam}])
def test_projectors_are_in_the_optimiser_during_a_fit_and_are_trained(learner, kd, more) -> None:
    during, starts = [], []
    watch = Callback(
        before_train=lambda self: starts.append(weights(kd.objective)),
        after_batch=lambda self: during.append({id(p) for g in self.opt.param_lists for p in g}),
    )
    learn = learner(kd, watch, splitter=groups, **more)
    for _ in range(2):
        learn.fit(1)
        assert have_moved(starts[-1], kd.objective)
    assert {id(p) for p in kd.objective.parameters()} < during[0]
    assert during[0] == during[-1]
    outside = [id(p) for group in learn.opt.param_lists for p in group]
    assert sorted(outside) == sorted(id(p) for p in learn.model.parameters())


def test_what_projectors_have_learnt_is_kept_from_fit_to_fit(learner, kd) -> None:
    learn, starts = learner(kd), []
    learn.fit(1)
    before = weights(kd.objective)
    learn.fit(1, cbs=Callback(before_train=lambda self: starts.extend(weights(kd.objective))))
    torch.testing.assert_close(starts, before, rtol=0, atol=0)


def test_the_optimiser_remembers_their_moments_and_fastais_exemptions(learner, kd) -> None:
    learn = learner(kd)
    learn.fit(1)
    weight, bias = kd.objective.terms[0].via.weight, kd.objective.terms[0].via.bias
    assert learn.opt.state[weight]["step"] == 2
    assert learn.opt.state[bias]["do_wd"] is False
    assert "do_wd" not in learn.opt.state[weight]
    learn.fit(1)
    assert learn.opt.state[weight]["step"] == 4


def test_freezing_and_rates_by_group_work_as_without_them(learner, kd) -> None:
    learn = learner(kd, splitter=groups)
    learn.freeze()
    rates, stem, head = [], weights(learn.model.stem), weights(learn.model.head)
    watch = Callback(after_batch=lambda self: rates.append([h["lr"] for h in self.opt.hypers]))
    learn.add_cb(watch)
    learn.fit_one_cycle(1, slice(1e-3, 1e-2))
    assert len(rates[0]) == 2
    assert rates[0][1] == pytest.approx(10 * rates[0][0])
    assert not have_moved(stem, learn.model.stem)
    assert have_moved(head, learn.model.head)
    projectors = weights(kd.objective)
    learn.unfreeze()
    learn.fit_one_cycle(1, slice(1e-3, 1e-2))
    assert have_moved(stem, learn.model.stem)
    assert have_moved(projectors, kd.objective)


def test_the_learners_model_has_no_trace_of_them(learner, kd) -> None:
    learn = learner(kd)
    keys = list(copy.deepcopy(learn.model).state_dict())
    learn.fit(1)
    assert list(learn.model.state_dict()) == keys
    assert type(learn.model).__name__ == "Net"


def test_a_new_optimiser_gets_them_too(learner, kd) -> None:
    learn = learner(kd)
    learn.fit(1)
    before = weights(kd.objective)
    learn.fit(1, reset_opt=True)
    assert have_moved(before, kd.objective)


@pytest.mark.filterwarnings("ignore:numpy.core is deprecated")  # fastai's load asks for it
def test_an_optimiser_that_was_loaded_gets_them_too(learner, kd) -> None:
    learn = learner(kd)
    learn.fit(1)
    learn.save("state")
    learn.load("state")
    before = weights(kd.objective)
    learn.fit(1)
    assert have_moved(before, kd.objective)


@pytest.mark.filterwarnings("ignore:numpy.core is deprecated")
def test_the_search_for_a_learning_rate_leaves_them_as_they_were(learner, kd) -> None:
    learn = learner(kd)
    learn.fit(1)
    student, projectors = weights(learn.model), weights(kd.objective)
    learn.lr_find(num_it=12, end_lr=1e3, stop_div=False, show_plot=False, suggest_funcs=None)
    torch.testing.assert_close(weights(learn.model), student, rtol=0, atol=0)
    torch.testing.assert_close(weights(kd.objective), projectors, rtol=0, atol=0)
