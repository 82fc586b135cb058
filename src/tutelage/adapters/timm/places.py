"""Which features are compared, and through which projectors."""

from collections.abc import Sequence

from torch import nn

from tutelage.adapters.timm.heads import features_before, head_names
from tutelage.adapters.timm.teacher import modules_of
from tutelage.errors import InputError
from tutelage.objective import Place
from tutelage.projectors import LinearProjector
from tutelage.teachers import Teacher

Places = Sequence[tuple[str, str]]

_IN = ":in"


def places_of(
    student: nn.Module,
    teacher: Teacher,
    student_layer: str | None,
    teacher_layer: str | None,
    layers: Places | None,
) -> list[tuple[str, str]]:
    """Return the pairs of layers; what is not named is the input of the classifier.

    Raises:
        InputError: Layers are named twice, or a model has no classifier to be found.
    """
    if layers is not None:
        if student_layer is not None or teacher_layer is not None:
            raise InputError(
                "layers: expected either pairs in layers= or one in student_layer= and "
                "teacher_layer=, found both"
            )
        return [(mine, theirs) for mine, theirs in layers]
    mine = student_layer or _before_head(student, "student_layer")
    if teacher_layer is not None:
        return [(mine, teacher_layer)]
    members = modules_of(teacher)
    if not members:
        raise InputError(
            f"teacher_layer: expected a teacher whose layers can be read, found "
            f"{type(teacher).__name__}; use tl.FrozenTeacher(model)"
        )
    return [(mine, who + _before_head(model, "teacher_layer")) for who, model in members.items()]


def vias_of(
    student: nn.Module,
    teacher: Teacher,
    pairs: Sequence[Place],
    widths: tuple[int | None, int | None],
    *,
    has_example: bool,
) -> list[nn.Module | str | None]:
    """Return a projector for each pair, ``None`` where the widths are equal.

    Args:
        student: The student.
        teacher: The teacher.
        pairs: The layers.
        widths: Those of the features, where the user states them.
        has_example: Whether a projector can be sized by tensors.

    Raises:
        InputError: The widths cannot be told.
    """
    members = modules_of(teacher)
    vias: list[nn.Module | str | None] = []
    for mine, theirs in pairs:
        who, slash, layer = (theirs or "").rpartition("/")
        own = widths[0] or _width(student, mine)
        other = widths[1] or _width(members.get(who + slash), layer)
        if own is not None and other is not None:
            vias.append(None if own == other else _linear(student, own, other))
        elif has_example:
            vias.append("auto")
        else:
            raise InputError(
                f"features {mine} -> {theirs}: expected to know their widths, found no way to tell "
                "without running the models; pass example=images (two of your loader's), "
                "data_config= with an input_size, or student_feature_dim= and teacher_feature_dim="
            )
    return vias


def _before_head(model: nn.Module, argument: str) -> str:
    heads = head_names(model)
    if not heads:
        raise InputError(
            f"{argument}: expected a classifier before which to read the features, found none in "
            f"{type(model).__name__}; name a layer"
        )
    return heads[0] + _IN


def _width(model: nn.Module | None, layer: str | None) -> int | None:
    """Return the width of what enters a classifier; other layers are known when they run."""
    if model is None or layer is None or not layer.endswith(_IN):
        return None
    name = layer.removesuffix(_IN)
    return features_before(model, name) if name in head_names(model) else None


def _linear(student: nn.Module, own: int, other: int) -> nn.Module:
    projector = LinearProjector(own, other)
    for parameter in student.parameters():
        if parameter.is_floating_point():
            return projector.to(parameter.device, parameter.dtype)
    return projector
