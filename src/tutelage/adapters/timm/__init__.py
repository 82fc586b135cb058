"""timm's distillation tasks on tutelage: what timm's users have, and any loss and layer of ours.

::

    from tutelage.adapters.timm import LogitDistillationTask

    task = LogitDistillationTask(student, "resnet50", nn.CrossEntropyLoss(), temperature=4.0,
                                 task_loss_weight=0.3, data_config=data_config)
    optimizer = create_optimizer_v2(task.get_trainable_module(), opt="adamw")
    task(images, target)["loss"].backward()

The tasks are subclasses of ``timm.task.TrainingTask`` and stand where timm's training expects one.
They run with timm 1.0.23, where ``timm.task`` began, to 1.0.31, with which they are tested. The
averages, checkpoints and evaluators that they inherit came with 1.0.27 and later. Before 1.0.27
timm's own ``train.py`` gives the optimiser the student alone: projectors then need a loop that
passes ``task.get_trainable_module()``, and the task says so after the first step.
"""

from tutelage.adapters.timm.feature import FeatureDistillationTask
from tutelage.adapters.timm.logit import LogitDistillationTask
from tutelage.adapters.timm.token import TokenDistillationTask

__all__ = ["FeatureDistillationTask", "LogitDistillationTask", "TokenDistillationTask"]
