"""Distillation in fastai's ``Learner``, in the words of fasterai's users.

The lines to paste::

    from tutelage.adapters.fastai import KnowledgeDistillationCallback, SoftTarget, cos
    kd = KnowledgeDistillationCallback(teacher, SoftTarget(T=4), weight=0.9, schedule=cos)
    learn = Learner(dls, student, loss_func=CrossEntropyLossFlat(), metrics=accuracy, cbs=kd)
    learn.fit_one_cycle(10)

Tested with fastai 2.8.12. Importing this wraps ``Learner.fit`` once, so that callbacks hear of a
fit that ends by an exception too; a learner without the callback trains as before.
"""

from tutelage.errors import MissingPackageError

try:
    import fastai.callback.core  # noqa: F401
except (ImportError, RuntimeError, OSError) as error:
    raise MissingPackageError(
        f"tutelage.adapters.fastai: expected fastai, found none that can be imported ({error}); "
        'run: pip install "tutelage[fastai]"'
    ) from error

from tutelage.adapters.fastai.callback import KnowledgeDistillationCallback
from tutelage.adapters.fastai.layers import (
    get_model_layers,
    get_module_by_name,
    match_feature_layers,
)
from tutelage.adapters.fastai.losses import (
    ActivationBoundaries,
    Attention,
    DecoupledKD,
    FitNet,
    Logits,
    Mutual,
    Similarity,
    SoftTarget,
)
from tutelage.adapters.fastai.schedule import (
    Schedule,
    agp,
    available_schedules,
    cos,
    dsd,
    iterative,
    lin,
    one_cycle,
    one_shot,
    sched_agp,
    sched_dsd,
    sched_iterative,
    sched_onecycle,
    sched_oneshot,
)

__all__ = [
    "ActivationBoundaries",
    "Attention",
    "DecoupledKD",
    "FitNet",
    "KnowledgeDistillationCallback",
    "Logits",
    "Mutual",
    "Schedule",
    "Similarity",
    "SoftTarget",
    "agp",
    "available_schedules",
    "cos",
    "dsd",
    "get_model_layers",
    "get_module_by_name",
    "iterative",
    "lin",
    "match_feature_layers",
    "one_cycle",
    "one_shot",
    "sched_agp",
    "sched_dsd",
    "sched_iterative",
    "sched_onecycle",
    "sched_oneshot",
]
