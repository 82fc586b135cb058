"""Lend what a distillation learns to the learner's optimiser, for the length of a fit."""

from collections.abc import Iterable

from fastai.learner import Learner
from fastai.torch_core import norm_bias_params
from torch import nn


def join(learn: Learner, learned: nn.Module) -> None:
    """Add the parameters of ``learned`` to the last group, that of the head.

    A group of their own would not do: ``fit_one_cycle`` and ``slice`` count the groups before.
    The last one has the highest rate, and ``freeze`` never freezes it.
    """
    mine = list(learned.parameters())
    if not mine:
        return
    opt = learn.opt
    for parameter in mine:
        opt.state.setdefault(parameter, {})  # loading an optimiser makes it a plain dict
    _set_last_group(opt, [*_others(opt, mine), *mine])
    if not learn.wd_bn_bias:
        for parameter in norm_bias_params(learned, True):
            opt.state[parameter]["do_wd"] = False


def leave(learn: Learner, learned: nn.Module) -> None:
    """Take them out again; the optimiser keeps their state for the next fit."""
    mine = list(learned.parameters())
    if mine and learn.opt is not None:
        _set_last_group(learn.opt, _others(learn.opt, mine))


def _others(opt: object, mine: Iterable[nn.Parameter]) -> list[nn.Parameter]:
    known = {id(parameter) for parameter in mine}
    group = opt.param_lists[-1]  # type: ignore[attr-defined]
    return [parameter for parameter in group if id(parameter) not in known]


def _set_last_group(opt: object, group: list[nn.Parameter]) -> None:
    lists = opt.param_lists  # type: ignore[attr-defined]
    lists[-1] = type(lists[-1])(group)
    opt.param_lists = lists  # type: ignore[attr-defined]
