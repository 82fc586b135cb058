"""The names of our own models, of plugins' and of those registered at run time."""

from collections.abc import Callable
from importlib.metadata import entry_points

from torch import nn

from tutelage.errors import InputError
from tutelage.models.cohort import cohort
from tutelage.models.distilled_vit import distilled_vit
from tutelage.models.mlp import mlp
from tutelage.models.small_cnn import small_cnn
from tutelage.models.submodels import submodels
from tutelage.models.tiny_resnet import tiny_resnet

Builder = Callable[..., nn.Module]

_BUILT_IN: dict[str, Builder] = {
    "cohort": cohort,
    "distilled_vit": distilled_vit,
    "mlp": mlp,
    "small_cnn": small_cnn,
    "submodels": submodels,
    "tiny_resnet": tiny_resnet,
}
_registered: dict[str, Builder] = {}


def index() -> dict[str, Builder]:
    """Return the functions that build models, by name.

    They are ours, those of installed packages (entry points in the group ``tutelage.models``)
    and those given to :func:`register`. timm's and torchvision's models are not listed; they are
    called ``timm/NAME`` and ``torchvision/NAME``.

    Raises:
        InputError: An installed package's entry point cannot be loaded.
    """
    found = dict(_BUILT_IN)
    for point in entry_points(group="tutelage.models"):
        try:
            found.setdefault(point.name, point.load())
        except Exception as error:
            raise InputError(
                f"model {point.name!r}: the entry point {point.value!r} of an installed package "
                f"cannot be loaded ({error}); repair or uninstall that package"
            ) from error
    return found | _registered


def register(name: str, function: Builder) -> Builder:
    """Make ``function`` known under ``name`` for this process, and return it.

    It is called with those of ``num_classes``, ``in_channels`` and ``size`` that it takes, and
    with the options given to ``create``.

    Raises:
        InputError: The name is taken, or has a slash, which is for timm and torchvision.
    """
    if not name or "/" in name:
        raise InputError(f"model name: expected a name without a slash, found {name!r}")
    if name in index():
        raise InputError(f"model name: {name!r} is taken; choose another")
    _registered[name] = function
    return function
