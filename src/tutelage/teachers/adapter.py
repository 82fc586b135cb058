"""Turn the student's images into the teacher's: statistics, channels, size."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tutelage._check import shape
from tutelage.errors import ShapeError, TeacherError
from tutelage.teachers.inputs import InputSpec

_LUMA = (0.299, 0.587, 0.114)  # ITU-R BT.601: how bright red, green and blue look


class InputAdapter(nn.Module):
    """Converts images as one loader normalised them to images as another would have.

    ``wanted = (given * given_std + given_mean - wanted_mean) / wanted_std``, folded into one
    scale and one shift per channel when it is built, so that a step compares no tensors. A grey
    image is repeated for a colour model; a colour image becomes its ITU-R BT.601 luma for a grey
    model. The size is changed with antialiasing where it differs. Unlike an image library's
    resizing, this happens after decoding and is not rounded to 8 bits.

    Args:
        given: The images that come in. What is not stated is taken to be as wanted, except
            statistics. What is stated is checked.
        wanted: The images to give out. What is not stated stays as it is.

    Raises:
        TeacherError: ``wanted`` states statistics and ``given`` does not, or the channels cannot
            be converted.

    >>> spec = InputSpec(mean=(0.5,), std=(0.5,))
    >>> InputAdapter(spec, InputSpec(mean=(0.0,), std=(1.0,)))(torch.zeros(1, 1, 1, 1)).item()
    0.5
    """

    scale: Tensor | None
    shift: Tensor | None

    def __init__(self, given: InputSpec | None, wanted: InputSpec | None) -> None:
        super().__init__()
        given, wanted = given or InputSpec(), wanted or InputSpec()
        if wanted.mean is not None and given.mean is None:
            raise TeacherError(
                f"teacher's inputs: it expects images normalised with mean {wanted.mean} and std "
                f"{wanted.std}, and the statistics of the student's images are not known; pass "
                "given=InputSpec(mean=..., std=...) with those of your loader, or "
                "inputs=InputSpec() to hand the student's images on unchanged"
            )
        self.channels = given.channels or wanted.channels
        out = wanted.channels or self.channels
        if self.channels != out and (self.channels, out) not in ((1, 3), (3, 1)):
            raise TeacherError(
                f"teacher's inputs: expected 1 or 3 channels to convert, found {self.channels} "
                f"given and {out} wanted; use a teacher with in_channels={self.channels}"
            )
        self.repeat = out if (self.channels, out) == (1, 3) else None
        self.luma = (self.channels, out) == (3, 1)
        self.given_size = given.size
        self.size = None if wanted.size == given.size else wanted.size
        self.interpolation = wanted.interpolation
        scale, shift = _fold(given, wanted, self.luma)
        self.register_buffer("scale", scale, persistent=False)
        self.register_buffer("shift", shift, persistent=False)

    @property
    def is_identity(self) -> bool:
        """Whether images are always handed on as they are, once their shape is checked."""
        return self.scale is None and self.size is None and self.repeat is None

    @property
    def checks_size(self) -> bool:
        """Whether images of another size than the stated one are refused."""
        return self.given_size is not None

    def forward(self, images: Tensor) -> Tensor:
        """Return ``[B, channels wanted, *size wanted]`` for ``[B, channels given, H, W]``."""
        if images.ndim != 4 or self.channels not in (None, images.shape[1]):
            raise ShapeError(
                f"teacher's inputs: expected images [B, {self.channels or 'channels'}, H, W], "
                f"found {shape(images)}; state the channels of your loader in given=InputSpec(...)"
            )
        if self.given_size is not None and tuple(images.shape[-2:]) != self.given_size:
            height, width = self.given_size
            raise ShapeError(
                f"teacher's inputs: expected images [B, C, {height}, {width}], found "
                f"{shape(images)}; correct size= in given=InputSpec(...), or leave it out where "
                "sizes vary"
            )
        if self.scale is not None and self.shift is not None:
            images = images * self.scale
            if self.luma:
                images = images.sum(1, keepdim=True)
            images = images + self.shift
        elif self.repeat is not None:
            images = images.repeat(1, self.repeat, 1, 1)  # the teacher may write into it
        if self.size is not None and tuple(images.shape[-2:]) != self.size:
            images = _resize(images, self.size, self.interpolation)
        return images


def _fold(given: InputSpec, wanted: InputSpec, luma: bool) -> tuple[Tensor | None, Tensor | None]:
    """Return scale and shift ``[1, C, 1, 1]``, or nothing where they would change nothing.

    Where the wanted statistics are not stated, the images keep the ones they have. For a luma,
    the scale holds its weights, and the shift is what remains after their sum.
    """
    unit = torch.ones(1, dtype=torch.float64)
    if wanted.mean is None:
        if not luma:
            return None, None
        scale, shift = torch.tensor(_LUMA, dtype=torch.float64), 0 * unit
    else:
        given_mean, given_std = _tensor(given.mean), _tensor(given.std)
        wanted_mean, wanted_std = _tensor(wanted.mean), _tensor(wanted.std)
        if not luma and (given.mean, given.std) == (wanted.mean, wanted.std):
            return None, None
        weights = _tensor(_LUMA) if luma else unit
        mean = (weights * given_mean).sum(0, keepdim=True) if luma else given_mean
        scale = weights * given_std / wanted_std
        shift = (mean - wanted_mean) / wanted_std
    dtype = torch.get_default_dtype()
    return scale.to(dtype).view(1, -1, 1, 1), shift.to(dtype).view(1, -1, 1, 1)


def _tensor(values: tuple[float, ...] | None) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)


def _resize(images: Tensor, size: tuple[int, int], interpolation: str) -> Tensor:
    if interpolation == "nearest":
        return F.interpolate(images, size=size, mode="nearest")
    return F.interpolate(images, size=size, mode=interpolation, align_corners=False, antialias=True)
