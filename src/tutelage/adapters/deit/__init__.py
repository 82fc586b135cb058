"""DeiT's training engine with our distillation: its criterion, and co-distillation (2012.12877).

In ``main.py`` of DeiT, whose engine calls ``criterion(samples, outputs, targets)``::

    from tutelage.adapters.deit import DistillationLoss
    criterion = DistillationLoss(criterion, teacher_model, "hard", alpha=0.5, tau=1.0)

It needs torch alone: the engine is code that one copies, not a package.
"""

from tutelage.adapters.deit.cosub import CosubLoss
from tutelage.adapters.deit.criterion import DistillationLoss

__all__ = ["CosubLoss", "DistillationLoss"]
