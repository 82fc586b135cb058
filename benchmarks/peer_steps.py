"""One training step of each peer, as its own code makes it: KD at T = 4, 0.1 CE + 0.9 KD, SGD.

Every function imports its framework itself, so that a missing one takes only its own line away.
Beside timm's and fasterai's steps stand those of our adapters, in the same frameworks.
"""

import logging
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

RATE, MOMENTUM = 1e-3, 0.9
TEMPERATURE, WEIGHT = 4.0, 0.9


class Peer(NamedTuple):
    """A step, and what has to be open around it.

    Args:
        step: Makes one training step and returns its loss.
        around: Calls what it is given while the step can be made.
    """

    step: Callable[[], Tensor]
    around: Callable[[Callable[[], None]], None] = lambda run: run()


def timm_step(student: nn.Module, teacher: nn.Module, x: Tensor, y: Tensor) -> Peer:
    """A task of timm, in the order of its train.py."""
    from timm.task import LogitDistillationTask

    return _task_step(LogitDistillationTask, student, teacher, x, y)


def our_task_step(student: nn.Module, teacher: nn.Module, x: Tensor, y: Tensor) -> Peer:
    """Our task for timm, in the same order."""
    from tutelage.adapters.timm import LogitDistillationTask

    return _task_step(LogitDistillationTask, student, teacher, x, y)


def _task_step(kind: Any, student: nn.Module, teacher: nn.Module, x: Tensor, y: Tensor) -> Peer:
    task = kind(
        student,
        teacher,
        criterion=nn.CrossEntropyLoss(),
        distill_loss_weight=WEIGHT,
        task_loss_weight=1 - WEIGHT,
        temperature=TEMPERATURE,
        verbose=False,
    )
    task.train()
    trained = task.get_trainable_module()
    optimiser = torch.optim.SGD(trained.parameters(), lr=RATE, momentum=MOMENTUM)

    def step() -> Tensor:
        optimiser.zero_grad()
        loss: Tensor = task(x, y)["loss"]
        loss.backward()
        optimiser.step()
        return loss

    return Peer(step)


def torchdistill_step(student: nn.Module, teacher: nn.Module, x: Tensor, y: Tensor) -> Peer:
    """A DistillationBox of torchdistill, called as its example of image classification does."""
    logging.getLogger("torchdistill").setLevel(logging.ERROR)
    from torchdistill.core.distillation import DistillationBox

    kd = {
        "student_module_path": ".",
        "student_module_io": "output",
        "teacher_module_path": ".",
        "teacher_module_io": "output",
        "temperature": TEMPERATURE,
        "alpha": 1 - WEIGHT,
    }
    term = {"criterion": {"key": "KDLoss", "kwargs": kd}, "weight": 1.0}
    plain = {"sequential": [], "forward_proc": "forward_batch_only"}
    teacher.eval()  # which the box leaves to its user
    box = DistillationBox(
        teacher,
        student,
        dataset_dict={},
        train_config={
            "num_epochs": 1,
            "teacher": {**plain, "requires_grad": False},
            "student": {**plain, "requires_grad": True},
            "criterion": {
                "key": "WeightedSumLoss",
                "func2extract_model_loss": "extract_model_loss_dict",
                "kwargs": {"sub_terms": {"kd": term}},
            },
            "optimizer": {"key": "SGD", "kwargs": {"lr": RATE, "momentum": MOMENTUM}},
        },
        device=torch.device("cpu"),
        device_ids=[],
        distributed=False,
        lr_factor=1,
    )
    student.train()

    def step() -> Tensor:
        box.pre_forward_process()
        loss: Tensor = box.forward_process(x, y, supp_dict={})
        box.post_forward_process(loss)
        return loss

    return Peer(step)


def fasterai_step(student: nn.Module, teacher: nn.Module, x: Tensor, y: Tensor) -> Peer:
    """The callback and loss of fasterai in a Learner of fastai."""
    from fasterai.distill.all import KnowledgeDistillationCallback, SoftTarget

    loss = partial(SoftTarget, T=TEMPERATURE)
    return _learner_step(student, KnowledgeDistillationCallback(teacher, loss, weight=WEIGHT), x, y)


def our_callback_step(student: nn.Module, teacher: nn.Module, x: Tensor, y: Tensor) -> Peer:
    """Our callback in a Learner of fastai."""
    from tutelage.adapters.fastai import KnowledgeDistillationCallback, SoftTarget

    loss = SoftTarget(T=TEMPERATURE)
    return _learner_step(student, KnowledgeDistillationCallback(teacher, loss, weight=WEIGHT), x, y)


def _learner_step(student: nn.Module, callback: Any, x: Tensor, y: Tensor) -> Peer:
    """One batch of a Learner in a fit, with all of its events."""
    from fastai.callback.progress import ProgressCallback
    from fastai.data.core import DataLoaders
    from fastai.learner import Learner
    from fastai.optimizer import OptimWrapper

    data = torch.utils.data.DataLoader(torch.utils.data.TensorDataset(x, y), batch_size=len(x))
    learner = Learner(
        DataLoaders(data, data, device=x.device),
        student,
        loss_func=nn.CrossEntropyLoss(),
        opt_func=partial(OptimWrapper, opt=torch.optim.SGD, momentum=MOMENTUM),
        cbs=[callback],
    )
    learner.remove_cbs(learner.cbs.filter(lambda one: isinstance(one, ProgressCallback)))

    learner.logger = lambda row: None  # its table would stand among our lines

    def step() -> Tensor:
        learner.one_batch(0, (x, y))
        loss: Tensor = learner.loss.detach()
        return loss

    def around(run: Callable[[], None]) -> None:
        def all_batches() -> None:
            learner.n_iter = 1
            if learner.training:
                run()

        learner.all_batches = all_batches
        learner.fit(1, lr=RATE)

    return Peer(step, around)


PEERS: dict[str, Callable[[nn.Module, nn.Module, Tensor, Tensor], Peer]] = {
    "timm": timm_step,
    "ours in timm": our_task_step,
    "torchdistill": torchdistill_step,
    "fasterai": fasterai_step,
    "ours in fastai": our_callback_step,
}
