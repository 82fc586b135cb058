"""``ImageData``: what every data set of labelled images is."""

import copy
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, Self

import torch
from torch import Tensor
from torch.utils.data import Dataset

from tutelage.data.batch import Batch
from tutelage.data.labels import check_labels
from tutelage.data.spec import DataSpec
from tutelage.errors import InputError

Indices = Sequence[int] | Tensor


class ImageData(Dataset[tuple[Tensor, int, int]], ABC):
    """Abstract root of the image data sets; subclasses are final.

    ``data[i]`` is ``(image, label, id)``. ``data.__getitems__(indices)`` is a whole
    :class:`~tutelage.data.batch.Batch`: with a ``DataLoader`` of your own pass
    ``collate_fn=tutelage.data.collate``, which hands it through.

    Attributes:
        spec: Classes, shape and normalisation.
        targets: Class indices, int64 ``[N]``.
        ids: Stable sample ids, int64 ``[N]``; a subset keeps them.
        seed: Seed of the random augmentation.
        view: Which random version of each image is given; see :func:`seed_for`.
        transform: The random augmentation, or ``None``.
    """

    spec: DataSpec
    targets: Tensor
    ids: Tensor
    seed: int
    view: int
    transform: Any

    def __init__(
        self, targets: Tensor, ids: Tensor | None, spec: DataSpec, *, transform: Any, seed: int
    ) -> None:
        check_labels(targets, spec.num_classes, where=spec.name)
        self.spec = spec
        self.targets = targets.to(torch.int64)
        self.ids = _checked_ids(ids, len(targets), spec.name)
        self.transform = transform
        self.seed = seed
        self.view = 0
        self._rows = torch.arange(len(targets))

    @abstractmethod
    def _inputs(self, rows: Tensor, ids: Tensor) -> Tensor:
        """Return the normalised images of these rows of the store, float32 ``[B, C, H, W]``."""

    def content_digest(self) -> str:
        """Return the sha256 of what the images are made from, in the order of their ids.

        Neither labels, normalisation nor augmentation count. Of use to find out whether answers
        that were kept for these images still belong to them.

        Raises:
            InputError: If the kind of data set cannot tell.
        """
        raise InputError(
            f"{self.spec.name}: expected images with a fingerprint, found "
            f"{type(self).__name__}; write its content_digest(), or use TensorImages or FileImages"
        )

    def preparation(self) -> dict[str, Any]:
        """Return what turns stored images into inputs, beside ``spec`` and ``transform``."""
        return {}

    def rows_by_id(self) -> Tensor:
        """Return the row of each image in the store, in the order of the ids: int64 ``[N]``."""
        return self._rows[self.ids.argsort()]

    def __len__(self) -> int:
        return len(self.targets)

    def __getitem__(self, index: int) -> tuple[Tensor, int, int]:
        batch = self.__getitems__([index])
        return batch.inputs[0], int(batch.target), int(batch.ids)

    def __getitems__(self, indices: Indices) -> Batch:
        chosen = torch.as_tensor(indices, dtype=torch.int64)
        ids = self.ids[chosen]
        inputs = self._inputs(self._rows[chosen], ids)
        return Batch(inputs, self.targets[chosen], ids, self.view)

    def set_view(self, view: int) -> None:
        """Give another random version of each image; ``view`` is at least 0."""
        if view < 0:
            raise InputError(f"view: expected a whole number of at least 0, found {view}")
        self.view = view

    def subset(self, indices: Indices) -> Self:
        """Return the samples at these positions; they keep their ids and share the store."""
        chosen = torch.as_tensor(indices, dtype=torch.int64)
        part = copy.copy(self)
        part.targets, part.ids = self.targets[chosen], self.ids[chosen]
        part._rows = self._rows[chosen]
        return part

    def plain(self) -> Self:
        """Return the same samples without random augmentation, as evaluation needs them."""
        part = copy.copy(self)
        part.transform = None
        return part


def _checked_ids(ids: Tensor | None, count: int, name: str) -> Tensor:
    if ids is None:
        return torch.arange(count)
    if ids.shape != (count,) or ids.is_floating_point():
        raise InputError(
            f"{name}: expected whole-number ids of shape [{count}] (one per label), "
            f"found {ids.dtype} {list(ids.shape)}"
        )
    if len(set(ids.tolist())) != count:
        raise InputError(f"{name}: expected every id once, found repeated ids")
    return ids.to(torch.int64)
