"""What losses of dense maps share: positions that the target drops."""

from jaxtyping import Bool
from torch import Tensor

from tutelage.losses.reduction import kept_positions


def kept_pixels(
    feature: Tensor, target: Tensor | None, ignore_index: int
) -> Bool[Tensor, "B 1 P"] | None:
    """Return which positions of maps ``[B, C, H, W]`` count, or ``None`` where all do.

    Only class indices ``[B, H, W]``, one for each position of the map, can drop positions. Labels
    of another resolution, or one for each image, drop none.
    """
    kept = kept_positions(feature.movedim(1, -1), target, ignore_index)
    return None if kept is None else kept.flatten(1).unsqueeze(1)
