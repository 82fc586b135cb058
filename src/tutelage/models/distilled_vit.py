"""A small vision transformer with a distillation token (Touvron et al., DeiT, 2012.12877)."""

from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tutelage.errors import InputError, ShapeError
from tutelage.models.positions import resized_positions

# The paper's 0.02 is meant for tokens of 192 features and more. Here tokens and linear layers of
# 0.02 take several times as many steps to the same accuracy: 32 features on the digits, 300 images
# and 160 steps gave 65 % with it, 91 % with this and Xavier's linear layers.
_TOKEN_STD = 0.5


class Attention(nn.Module):
    """Self-attention with several heads; ``qkv`` and ``proj`` are its two linear layers."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(width, 3 * width)
        self.proj = nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        """Map tokens ``[B, N, D]`` to ``[B, N, D]``."""
        q, k, v = self.qkv(x).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        mixed = F.scaled_dot_product_attention(q, k, v)
        out: Tensor = self.proj(mixed.transpose(1, 2).flatten(2))
        return out


class DropPath(nn.Module):
    """Leave a branch out for some samples of a training batch (stochastic depth, 1603.09382).

    What stays is divided by the probability of staying, so that the mean is that of evaluation.
    """

    def __init__(self, rate: float) -> None:
        super().__init__()
        self.rate = rate

    def forward(self, branch: Tensor) -> Tensor:
        """Return the branch with the rows ``[B, ...]`` that are left out set to 0."""
        if not self.training or self.rate == 0:
            return branch
        stays = branch.new_empty(len(branch), *[1] * (branch.ndim - 1)).bernoulli_(1 - self.rate)
        return branch * (stays / (1 - self.rate))

    def extra_repr(self) -> str:
        """Show the rate."""
        return f"rate={self.rate:g}"


class Block(nn.Module):
    """Attention, then a two-layer network, each normalised before and added to its input."""

    def __init__(self, width: int, heads: int, mlp_ratio: float, drop_path: float) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(width)
        self.attn = Attention(width, heads)
        self.norm2 = nn.LayerNorm(width)
        hidden = round(mlp_ratio * width)
        self.mlp = nn.Sequential(nn.Linear(width, hidden), nn.GELU(), nn.Linear(hidden, width))
        self.drop_path = DropPath(drop_path)

    def forward(self, x: Tensor) -> Tensor:
        """Map tokens ``[B, N, D]`` to ``[B, N, D]``."""
        x = x + self.drop_path(self.attn(self.norm1(x)))
        return x + self.drop_path(self.mlp(self.norm2(x)))  # type: ignore[no-any-return]


class DistilledViT(nn.Module):
    """A vision transformer for small images whose distillation token learns from the teacher.

    In training it returns ``(cls, dist)``: the logits of the class token and those of the
    distillation token, each ``[B, C]``. Tell the losses apart with ``at=("output:1", None)``. In
    evaluation it returns the average of both, as the paper does; so it does in training after
    ``set_distilled_training(False)``. Train both: a head that no term reads stays random in that
    average. To train on labels alone, switch to the average or take ``distilled=False``.

    Tokens stand in the order class, distillation, patches row by row. Layers to tap:
    ``patch_embed``, ``blocks.0`` ..., ``norm``, ``head`` and ``head_dist``.

    Args:
        num_classes: Number of outputs of each head.
        in_channels: Channels of the images.
        size: Height and width of the images in pixels.
        patch: Height and width of a patch in pixels; a divisor of both.
        width: Features of a token; a multiple of ``heads``.
        depth: Number of blocks.
        heads: Attention heads of a block.
        mlp_ratio: Hidden features of a block's network for each feature of a token.
        drop_path: Probability with which a sample skips a branch of the last block in training;
            it grows linearly from 0 at the first.
        distilled: ``False`` leaves out the distillation token and its head: a plain ViT that
            returns one tensor.

    Raises:
        InputError: The numbers do not go together.
    """

    def __init__(
        self,
        *,
        num_classes: int,
        in_channels: int,
        size: tuple[int, int],
        patch: int,
        width: int,
        depth: int,
        heads: int,
        mlp_ratio: float,
        drop_path: float,
        distilled: bool,
    ) -> None:
        super().__init__()
        _check(num_classes, in_channels, size, patch, width, depth, heads, mlp_ratio, drop_path)
        self.size, self.patch = (size[0], size[1]), patch
        self.distilled = self.distilled_training = distilled
        self.patch_embed = nn.Conv2d(in_channels, width, patch, stride=patch)
        self.cls_token = nn.Parameter(torch.zeros(1, 1, width))
        self.dist_token = nn.Parameter(torch.zeros(1, 1, width)) if distilled else None
        tokens = self.prefix_tokens + self.grid[0] * self.grid[1]
        self.pos_embed = nn.Parameter(torch.zeros(1, tokens, width))
        rates = [drop_path * i / max(depth - 1, 1) for i in range(depth)]
        self.blocks = nn.ModuleList(Block(width, heads, mlp_ratio, rate) for rate in rates)
        self.norm = nn.LayerNorm(width)
        self.head = nn.Linear(width, num_classes)
        self.head_dist = nn.Linear(width, num_classes) if distilled else None
        self._draw_weights()

    @property
    def grid(self) -> tuple[int, int]:
        """Patches along height and width."""
        return self.size[0] // self.patch, self.size[1] // self.patch

    @property
    def prefix_tokens(self) -> int:
        """How many leading tokens are not patches."""
        return 1 if self.dist_token is None else 2

    def forward(self, images: Tensor) -> Tensor | tuple[Tensor, Tensor]:
        """Return logits ``[B, C]``, or the pair of both heads, for images ``[B, channels, H, W]``.

        Raises:
            ShapeError: The images have another size.
        """
        if tuple(images.shape[-2:]) != self.size:
            raise ShapeError(
                f"distilled_vit: expected images [B, {self.patch_embed.in_channels}, "
                f"{self.size[0]}, {self.size[1]}], found {list(images.shape)}; build the model "
                "with the size of your images (its weights may come from another size)"
            )
        x = self.patch_embed(images).flatten(2).transpose(1, 2)
        prefix = [self.cls_token] if self.dist_token is None else [self.cls_token, self.dist_token]
        x = torch.cat([*(token.expand(len(x), -1, -1) for token in prefix), x], dim=1)
        x = x + self.pos_embed
        for block in self.blocks:
            x = block(x)
        x = self.norm(x)
        logits: Tensor = self.head(x[:, 0])
        if self.head_dist is None:
            return logits
        from_teacher: Tensor = self.head_dist(x[:, 1])
        if self.training and self.distilled_training:
            return logits, from_teacher
        return (logits + from_teacher) / 2

    def set_distilled_training(self, enable: bool = True) -> None:
        """Return both heads in training, or their average there as well. As timm's models have it.

        Raises:
            InputError: There is no distillation token.
        """
        if enable and not self.distilled:
            raise InputError(
                "distilled_vit: expected a distillation token, found a model with distilled=False; "
                "build it with distilled=True"
            )
        self.distilled_training = enable

    def no_weight_decay(self) -> set[str]:
        """Return the names of the parameters that decay would only pull to 0."""
        names = {"pos_embed", "cls_token", "dist_token"}
        return names if self.distilled else names - {"dist_token"}

    def fitted(self, weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return weights of this model for images of another size as weights for this size.

        Only the position embeddings differ: see
        :func:`~tutelage.models.positions.resized_positions`.
        """
        found = dict(weights)
        positions, wanted = found["pos_embed"], self.pos_embed.shape
        # Another width is another model, which the shapes will show.
        if positions.ndim == 3 and positions.shape[-1] == wanted[-1] and positions.shape != wanted:
            found["pos_embed"] = resized_positions(positions, self.grid, self.prefix_tokens)
        return found

    def _draw_weights(self) -> None:
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.xavier_uniform_(module.weight)
                nn.init.zeros_(module.bias)
        for token in (self.pos_embed, self.cls_token, self.dist_token):
            if token is not None:
                nn.init.trunc_normal_(token, std=_TOKEN_STD)


def distilled_vit(
    *,
    num_classes: int,
    in_channels: int = 1,
    size: tuple[int, int] = (28, 28),
    patch: int = 4,
    width: int = 64,
    depth: int = 4,
    heads: int = 4,
    mlp_ratio: float = 2.0,
    drop_path: float = 0.0,
    distilled: bool = True,
) -> DistilledViT:
    """Build a :class:`DistilledViT`.

    >>> sum(p.numel() for p in distilled_vit(num_classes=10).parameters())
    139796
    >>> [tuple(out.shape) for out in distilled_vit(num_classes=10)(torch.zeros(2, 1, 28, 28))]
    [(2, 10), (2, 10)]
    """
    return DistilledViT(
        num_classes=num_classes,
        in_channels=in_channels,
        size=size,
        patch=patch,
        width=width,
        depth=depth,
        heads=heads,
        mlp_ratio=mlp_ratio,
        drop_path=drop_path,
        distilled=distilled,
    )


def _check(
    num_classes: int,
    in_channels: int,
    size: tuple[int, int],
    patch: int,
    width: int,
    depth: int,
    heads: int,
    mlp_ratio: float,
    drop_path: float,
) -> None:
    counts = (num_classes, in_channels, *size, patch, width, depth, heads, mlp_ratio * width)
    if any(count < 1 for count in counts):
        raise InputError(
            f"distilled_vit: expected counts of at least 1, found num_classes={num_classes}, "
            f"in_channels={in_channels}, size={tuple(size)}, patch={patch}, width={width}, "
            f"depth={depth}, heads={heads}, mlp_ratio={mlp_ratio}"
        )
    if size[0] % patch or size[1] % patch:
        fits = [p for p in range(1, min(size) + 1) if size[0] % p == 0 == size[1] % p]
        raise InputError(
            f"distilled_vit: expected a patch that divides images of {size[0]}x{size[1]} pixels, "
            f"found patch={patch}; choose one of {fits}"
        )
    if width % heads:
        raise InputError(
            f"distilled_vit: expected a width that is a multiple of heads, found width={width} "
            f"and heads={heads}"
        )
    if not 0 <= drop_path < 1:
        raise InputError(
            f"distilled_vit: expected drop_path of at least 0 and below 1, found {drop_path}"
        )
