"""What the projectors of maps ask of their tensors."""

from torch import Tensor

from tutelage import _check
from tutelage.errors import ShapeError
from tutelage.projectors.resize import Size


def size_between(student: Tensor, teacher: Tensor, where: str) -> Size | None:
    """Return the height and width of the teacher's map, or ``None`` if they are the student's.

    Raises:
        ShapeError: One of the two is no map ``[B, C, H, W]``.
    """
    if student.ndim != 4 or teacher.ndim != 4:
        raise ShapeError(
            f"{where}: expected two maps [B, C, H, W], found student {_check.shape(student)} vs "
            f"teacher {_check.shape(teacher)}; tap layers before the pooling"
        )
    if student.shape[2:] == teacher.shape[2:]:
        return None
    return teacher.shape[2], teacher.shape[3]


def check_map(maps: Tensor, channels: int, where: str) -> None:
    """Raise unless ``maps`` is ``[B, channels, H, W]``."""
    if maps.ndim != 4 or maps.shape[1] != channels:
        raise ShapeError(
            f"{where}: expected [B, {channels}, H, W], found {_check.shape(maps)}; set in_channels "
            "to the student's axis 1 and tap a layer before the pooling"
        )
