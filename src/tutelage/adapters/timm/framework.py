"""timm's classes that the tasks stand on, or the error that says how to get them."""

from tutelage.errors import MissingPackageError

# A CUDA build of torchvision beside a CPU build of torch fails with RuntimeError or OSError.
try:
    import timm.loss as losses
    from timm import get_pretrained_cfg as get_pretrained_cfg
    from timm.models import group_parameters as group_parameters
    from timm.task import DistillationTeacher as DistillationTeacher
    from timm.task import TrainingTask as TrainingTask
    from timm.utils import ModelEmaV3 as ModelEmaV3
    from timm.utils import unwrap_model as unwrap_model
except (ImportError, OSError, RuntimeError) as error:
    raise MissingPackageError(
        f"tutelage.adapters.timm: expected timm 1.0.23 or newer, which has timm.task, found none "
        f'that can be imported ({error}); run pip install -U "tutelage[vision]"'
    ) from error

#: timm's maker of criteria from its options; ``None`` before timm 1.0.27 or so.
create_classification_loss = getattr(losses, "create_classification_loss", None)
