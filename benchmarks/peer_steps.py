"""One training step of each peer, as its own code makes it: KD at T = 4, 0.1 CE + 0.9 KD, SGD.

Every function imports its framework itself, so that a missing one takes only its own line away.
"""

import logging
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

Step = Callable[[], Tensor]
RATE, MOMENTUM = 1e-3, 0.9
TEMPERATURE, WEIGHT = 4.0, 0.9


def timm_step(student: nn.Module, teacher: nn.Module, x: Tensor, y: Tensor) -> Step:
    """A task of timm, in the order of its train.py."""
    from timm.task import LogitDistillationTask

    task = LogitDistillationTask(
        student,
        teacher,
        criterion=nn.CrossEntropyLoss(),
        distill_loss_weight=WEIGHT,
        task_loss_weight=1 - WEIGHT,
        temperature=TEMPERATURE,
        verbose=False,
    )
    return _task_step(task, student, x, y)


def _task_step(task: nn.Module, trained: nn.Module, x: Tensor, y: Tensor) -> Step:
    task.train()
    optimiser = torch.optim.SGD(trained.parameters(), lr=RATE, momentum=MOMENTUM)

    def step() -> Tensor:
        optimiser.zero_grad()
        loss: Tensor = task(x, y)["loss"]
        loss.backward()
        optimiser.step()
        return loss

    return step


def torchdistill_step(student: nn.Module, teacher: nn.Module, x: Tensor, y: Tensor) -> Step:
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

    return step


def fasterai_step(student: nn.Module, teacher: nn.Module, x: Tensor, y: Tensor) -> Step:
    """The callback and loss of fasterai in a Learner of fastai."""
    from fasterai.distill.all import KnowledgeDistillationCallback, SoftTarget

    loss = partial(SoftTarget, T=TEMPERATURE)
    return learner_step(student, KnowledgeDistillationCallback(teacher, loss, weight=WEIGHT), x, y)


def learner_step(student: nn.Module, callback: Any, x: Tensor, y: Tensor) -> Step:
    """One batch of a fastai Learner that has begun to fit, all its events included."""
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
        lr=RATE,
        cbs=[callback],
    )
    learner.remove_cbs(learner.cbs.filter(lambda one: isinstance(one, ProgressCallback)))
    # What fit() does before its first batch; the training then stays open.
    learner.create_opt()
    learner.opt.set_hypers(lr=RATE)
    learner.n_epoch, learner.epoch, learner.dl = 1, 0, learner.dls.train
    learner.n_iter = len(learner.dl)
    for event in ("before_fit", "before_epoch", "before_train"):
        learner(event)

    def step() -> Tensor:
        learner.one_batch(0, (x, y))
        return learner.loss.detach()

    return step


PEERS: dict[str, Callable[[nn.Module, nn.Module, Tensor, Tensor], Step]] = {
    "timm": timm_step,
    "torchdistill": torchdistill_step,
    "fasterai": fasterai_step,
}
