"""Self-attention relations (Wang et al., MiniLMv2, Findings of ACL 2021, 2012.15828)."""

from collections.abc import Mapping, Sequence
from math import inf
from types import MappingProxyType

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from tutelage import _check
from tutelage.errors import InputError, ShapeError
from tutelage.losses.base import widen
from tutelage.losses.reduction import expected
from tutelage.losses.tokens.base import StateLoss, blank_tokens

RELATIONS = MappingProxyType({"qq": 1 / 3, "kk": 1 / 3, "vv": 1 / 3})


def relation_divergence(
    student: tuple[Float[Tensor, "B N D"], Float[Tensor, "B N D"]],
    teacher: tuple[Float[Tensor, "B N E"], Float[Tensor, "B N E"]],
    *,
    heads: int,
    kept: Bool[Tensor, "B N"] | None = None,
) -> Float[Tensor, "B"]:
    r"""Measure how differently the tokens of each sequence relate to each other, in nats.

    .. math:: \frac{1}{h \, n} \sum_{i=1}^{h} \sum_{a=1}^{n} \mathrm{KL}(R^t_{ia} \,\|\, R^s_{ia}),
        \qquad R_i = \mathrm{softmax}\left( \frac{X_i Y_i^\top}{\sqrt{d}} \right)

    with the vectors X and Y of n tokens cut into h heads of width d = D / h (equations 5 to 7).
    These are heads of this loss's own: the models' may differ in number, and their widths too.

    Args:
        student: X and Y of the student: queries, keys or values of all heads side by side.
        teacher: X and Y of the teacher.
        heads: h, which divides the width of either model.
        kept: Which tokens count, as rows and as columns. A sequence without any is 0.

    Raises:
        ShapeError: The tokens differ, or h does not divide a width.

    Two tokens that are alike relate evenly, whatever their vectors:

    >>> import torch
    >>> X, Y = torch.ones(1, 2, 4), torch.full((1, 2, 6), 3.0)
    >>> relation_divergence((X, X), (Y, Y), heads=2)
    tensor([0.])
    """
    for s, t in zip(student, teacher, strict=True):
        _check_vectors(s, t, heads)
    log_q, log_p = (_relations(*pair, heads, kept) for pair in (student, teacher))
    values = expected(log_p.exp(), log_p - log_q).mean(1)
    if kept is None:
        return values.mean(1)
    return values.masked_fill(~kept, 0.0).sum(1) / kept.sum(1).clamp(min=1)


class MiniLMv2Loss(StateLoss):
    """KL of self-attention relations, mean over sequences. See :func:`relation_divergence`.

    Student and teacher are three layers: queries, keys and values, ``[B, N, D]`` each, as they
    leave their linear maps. The paper takes those of the student's last layer, and of the last
    one or some upper-middle layer of the teacher. The target says which tokens count: an integer
    ``[B, N]``, ``ignore_index`` at padding.

    Args:
        relation_heads: How many heads the vectors are cut into; the paper takes 48 for teachers of
            width 768 and 64 for 1024. It must divide the widths of both models.
        relations: Weight of each relation, named by its two sides. The default takes the mean of
            queries, keys and values with themselves. ``{"qk": 1, "vv": 1}`` with the models' own
            number of heads is MiniLM (2002.10957).
        ignore_index: What drops a token.

    Raises:
        InputError: A relation is unknown, or a number out of range.

    >>> import torch
    >>> states = torch.randn(3, 2, 5, 8).unbind()
    >>> MiniLMv2Loss(relation_heads=4)(states, states)
    tensor(0.)
    """

    name = "minilm_v2"
    paper = "2012.15828"
    takes_layers = True

    relation_heads: int
    relations: Mapping[str, float]

    def __init__(
        self,
        *,
        relation_heads: int = 48,
        relations: Mapping[str, float] = RELATIONS,
        ignore_index: int = -100,
    ) -> None:
        super().__init__(ignore_index=ignore_index)
        heads = relation_heads
        if not isinstance(heads, int) or isinstance(heads, bool) or heads < 1:
            raise InputError(
                f"MiniLMv2Loss.relation_heads: expected a whole number above 0, found {heads!r}"
            )
        self.relation_heads = heads
        known = tuple(one + other for one in "qkv" for other in "qkv")
        self.relations = {
            _check.one_of(name, known, "MiniLMv2Loss.relations"): _check.non_negative(
                weight, f"MiniLMv2Loss.relations[{name!r}]"
            )
            for name, weight in relations.items()
        }
        if not any(self.relations.values()):
            raise InputError(
                f"MiniLMv2Loss.relations: expected a weight above 0, found {dict(relations)!r}"
            )

    def compare(
        self, student: Sequence[Tensor], teacher: Sequence[Tensor], kept: Tensor | None
    ) -> Tensor:
        """Return the weighted sum of the relations, each a mean over sequences with tokens."""
        if len(student) != 3 or len(teacher) != 3:
            raise InputError(
                f"MiniLMv2Loss: expected three layers (queries, keys, values), found "
                f"{len(student)} of the student vs {len(teacher)} of the teacher"
            )
        sides = [dict(zip("qkv", map(widen, layers), strict=True)) for layers in (student, teacher)]
        total = sides[0]["q"].new_zeros(())
        for name, weight in self.relations.items():
            pairs = [(side[name[0]], side[name[1]]) for side in sides]
            # Without autocast, which would round the products of the vectors.
            with torch.autocast(total.device.type, enabled=False):
                values = relation_divergence(*pairs, heads=self.relation_heads, kept=kept)
            count = max(len(values), 1) if kept is None else kept.any(1).sum().clamp(min=1)
            total = total + weight * values.sum() / count
        return total

    def extra_repr(self) -> str:
        """Show the hyper-parameters."""
        relations = {name: round(weight, 4) for name, weight in self.relations.items()}
        return (
            f"relation_heads={self.relation_heads}, relations={relations}, {super().extra_repr()}"
        )


def _relations(
    x: Float[Tensor, "B N D"],
    y: Float[Tensor, "B N D"],
    heads: int,
    kept: Bool[Tensor, "B N"] | None,
) -> Float[Tensor, "B h N N"]:
    """Return the log of how much each token relates to each other one."""
    width = x.shape[-1] // heads
    x, y = (blank_tokens(z, kept) for z in (x, y))
    x, y = (z.reshape(*z.shape[:2], heads, width).transpose(1, 2) for z in (x, y))
    scores: Tensor = (x * width**-0.5) @ y.transpose(-1, -2)
    if kept is not None:
        # A sequence without any token keeps all: a softmax over none is NaN.
        columns = kept | ~kept.any(1, keepdim=True)
        scores = scores.masked_fill(~columns[:, None, None, :], -inf)
    return scores.log_softmax(-1)


def _check_vectors(student: Tensor, teacher: Tensor, heads: int) -> None:
    found = f"student {_check.shape(student)} vs teacher {_check.shape(teacher)}"
    if student.ndim != 3 or teacher.ndim != 3 or student.shape[:2] != teacher.shape[:2]:
        raise ShapeError(
            f"MiniLMv2Loss: expected vectors [B, N, D] of the same tokens, found {found}; tap the "
            "linear maps of queries, keys and values"
        )
    if student.shape[-1] % heads or teacher.shape[-1] % heads:
        raise ShapeError(
            f"MiniLMv2Loss: expected widths that relation_heads={heads} divides, found {found}; "
            "give a common divisor of both"
        )
