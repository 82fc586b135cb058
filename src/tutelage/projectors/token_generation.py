"""Align the shallow layers of a ViT and generate its last from masked tokens (2209.02432)."""

import math
from collections.abc import Sequence
from typing import Any, ClassVar, Self

import torch
from torch import Tensor, nn

from tutelage import _check
from tutelage.errors import InputError, ShapeError
from tutelage.projectors.base import Projector
from tutelage.projectors.plan import MOST_PREFIX_TOKENS


class TokenGeneration(Projector):
    """Map the tokens of some shallow layers linearly, and generate those of the last layer.

    Each layer has its own linear map ``align``, left out for equal widths. Of the last layer's
    patches, laid out on their square grid, a ``ratio`` is replaced with a learned mask token; two
    3x3 convolutions with a ReLU between fill them in. Which ones is drawn anew for each sample and
    step from torch's global generator, in training mode only; in eval mode nothing is hidden.

    After the layers comes one more tensor, the weight ``[B, N]`` with which each token of the last
    layer counts: 1 / ratio where it was hidden, 0 elsewhere; 1 for all patches where nothing was
    hidden; 0 for the prefix tokens in any case, which are aligned only.

    Args:
        in_features: Width of the student's tokens.
        out_features: Width of the teacher's tokens.
        layers: How many layers there are, at least 2; the paper mimics two and generates one.
        ratio: The part of the patches in (0, 1] that is hidden; the paper's choice is 0.5.
        prefix_tokens: How many leading tokens are not patches: 0, or 1 for a plain ViT.

    Raises:
        ShapeError: In ``forward``, if the inputs are not ``[B, N, in_features]`` for each layer, or
            the last layer's patches fill no square grid.

    >>> generation = TokenGeneration(192, 384, layers=3, prefix_tokens=1)
    >>> [tuple(tokens.shape) for tokens in generation([torch.zeros(2, 197, 192)] * 3)]
    [(2, 197, 384), (2, 197, 384), (2, 197, 384), (2, 197)]
    """

    name: ClassVar[str] = "token_generation"
    takes_layers: ClassVar[bool] = True

    def __init__(
        self,
        in_features: int,
        out_features: int,
        *,
        layers: int = 3,
        ratio: float = 0.5,
        prefix_tokens: int = 0,
    ) -> None:
        super().__init__()
        if layers < 2:
            raise InputError(f"TokenGeneration.layers: expected at least 2, found {layers}")
        if prefix_tokens < 0:
            raise InputError(
                f"TokenGeneration.prefix_tokens: expected at least 0, found {prefix_tokens}"
            )
        self.ratio = _check.fraction(ratio, "TokenGeneration.ratio")
        _check.positive(ratio, "TokenGeneration.ratio")
        self.in_features = in_features
        self.prefix_tokens = prefix_tokens
        self.align = nn.ModuleList(
            nn.Identity() if in_features == out_features else nn.Linear(in_features, out_features)
            for _ in range(layers)
        )
        self.mask_token = nn.Parameter(torch.zeros(1, 1, out_features))
        self.conv1 = nn.Conv2d(out_features, out_features, kernel_size=3, padding=1)
        self.conv2 = nn.Conv2d(out_features, out_features, kernel_size=3, padding=1)

    @classmethod
    def between(cls, student: Sequence[Tensor], teacher: Sequence[Tensor], **options: Any) -> Self:
        """Return the projector between some layers of two ViTs.

        The prefix tokens are recognised by their count: the fewest that leave a square grid.
        """
        for one, other in zip(student, teacher, strict=True):
            if one.ndim != 3 or one.shape[:2] != other.shape[:2]:
                raise ShapeError(
                    f"TokenGeneration: expected as many tokens [B, N, D] of both, found student "
                    f"{_check.shape(one)} vs teacher {_check.shape(other)}; tap blocks of two ViTs "
                    "with the same patches"
                )
        found = {"layers": len(student), "prefix_tokens": _prefix(student[-1].shape[1])}
        return cls(student[-1].shape[2], teacher[-1].shape[2], **{**found, **options})

    def forward(self, student: Sequence[Tensor], mask: Tensor | None = None) -> list[Tensor]:
        """Return ``[B, N, out_features]`` for each layer, and the weight ``[B, N]`` of the last.

        Args:
            student: Tokens of each layer.
            mask: ``[B, N - prefix_tokens]``, not 0 where a patch is hidden; ``None`` draws one.
        """
        self._check_input(student)
        pairs = zip(self.align, student, strict=True)
        *shallow, last = [align(tokens) for align, tokens in pairs]
        prefix, patches = last.split([self.prefix_tokens, last.shape[1] - self.prefix_tokens], 1)
        if mask is None and self.training:
            mask = self._drawn(patches)
        weight = patches.new_ones(patches.shape[:2])
        if mask is not None:
            mask = mask != 0
            patches = torch.where(mask.unsqueeze(-1), self.mask_token.to(patches.dtype), patches)
            weight = mask / self.ratio
        generated = torch.cat([prefix, self._filled_in(patches)], dim=1)
        weight = nn.functional.pad(weight, (self.prefix_tokens, 0))
        return [*shallow, generated, weight.to(generated.dtype)]

    def extra_repr(self) -> str:
        """Show ratio and prefix."""
        return f"ratio={self.ratio}, prefix_tokens={self.prefix_tokens}"

    def _filled_in(self, patches: Tensor) -> Tensor:
        b, n, d = patches.shape
        side = math.isqrt(n)
        maps = patches.transpose(1, 2).reshape(b, d, side, side)
        maps = self.conv2(self.conv1(maps).relu())
        filled: Tensor = maps.flatten(2).transpose(1, 2)
        return filled

    def _drawn(self, patches: Tensor) -> Tensor:
        """Return which patches are hidden: as many of each sample, the fraction rounded up."""
        b, n, _ = patches.shape
        kept = int(n * (1 - self.ratio))
        return torch.rand(b, n, device=patches.device).argsort(1).argsort(1) >= kept

    def _check_input(self, student: Sequence[Tensor]) -> None:
        if len(student) != len(self.align):
            raise ShapeError(
                f"TokenGeneration: expected {len(self.align)} layers, found {len(student)}; give "
                "as many as it was built for"
            )
        for tokens in student:
            if tokens.ndim != 3 or tokens.shape[2] != self.in_features:
                raise self._mismatch(
                    f"[B, N, {self.in_features}]", tokens, "tap the blocks of a ViT"
                )
        count = student[-1].shape[1] - self.prefix_tokens
        if count < 1 or math.isqrt(count) ** 2 != count:
            raise self._mismatch(
                f"{self.prefix_tokens} prefix tokens and patches that fill a square grid",
                student[-1],
                "set prefix_tokens to the ViT's",
            )


def _prefix(count: int) -> int:
    for prefix in range(min(MOST_PREFIX_TOKENS, count - 1) + 1):
        if math.isqrt(count - prefix) ** 2 == count - prefix:
            return prefix
    return 0
