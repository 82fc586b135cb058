"""Losses of tokens: sparse teachers, hidden states and attention."""

import torch
import torch.nn.functional as F
from torch import Tensor

from naive.divergences import kl
from naive.kit import ATTENTION, LOGITS, STATES, Naive, Shape
from tutelage.losses import Loss, MiniLMv2Loss, TopKLoss

HEADS = 12


def _k(classes: int) -> int:
    return min(50, classes // 2)


def topk(s: Tensor, t: Tensor, _: None) -> Tensor:
    p, ids = F.softmax(t, -1).topk(_k(t.shape[-1]), -1)
    q = F.softmax(s, -1).gather(-1, ids)
    q, p = (torch.cat([few, 1 - few.sum(-1, keepdim=True)], -1) for few in (q, p))
    return F.kl_div(q.log(), p, reduction="batchmean")


def _pairs(s: Tensor, t: Tensor) -> tuple[Tensor, Tensor]:
    """Return the teacher's ten best classes, and the pairs among them."""
    ids = t.topk(min(10, t.shape[-1]), -1).indices
    return ids, torch.triu_indices(ids.shape[1], ids.shape[1], 1)


def logistic_ranking(s: Tensor, t: Tensor, _: None) -> Tensor:
    ids, (i, j) = _pairs(s, t)
    z = s.gather(-1, ids)
    return F.softplus(-(z[:, i] - z[:, j])).mean()


def hinge_ranking(s: Tensor, t: Tensor, _: None) -> Tensor:
    ids, (i, j) = _pairs(s, t)
    q, p = (F.softmax(z, -1).gather(-1, ids) for z in (s, t))
    return F.relu((p[:, i] - p[:, j]) - (q[:, i] - q[:, j])).mean()


def uld(s: Tensor, t: Tensor, _: None) -> Tensor:
    q, p = (F.softmax(z, -1).sort(-1, descending=True).values for z in (s, t))
    return (q - p).abs().sum(-1).mean()


def margin_mse(s: Tensor, t: Tensor, _: None) -> Tensor:
    return F.mse_loss(s[:, :1] - s[:, 1:], t[:, :1] - t[:, 1:])


def hidden_mse(s: Tensor, t: Tensor, _: None) -> Tensor:
    return F.mse_loss(s, t)


def hidden_cosine(s: Tensor, t: Tensor, _: None) -> Tensor:
    return (1 - F.cosine_similarity(s, t, dim=-1)).mean()


def patient(s: Tensor, t: Tensor, _: None) -> Tensor:
    first_s, first_t = F.normalize(s[:, 0], dim=-1), F.normalize(t[:, 0], dim=-1)
    return F.mse_loss(first_s, first_t, reduction="none").sum(-1).mean()


def attention_mse(s: Tensor, t: Tensor, _: None) -> Tensor:
    return F.mse_loss(s, t)


def attention_ce(s: Tensor, t: Tensor, _: None) -> Tensor:
    return -(F.softmax(t, -1) * F.log_softmax(s, -1)).sum(-1).mean()


def minilm_v2(s: list[Tensor], t: list[Tensor], _: None) -> Tensor:
    def relations(x: Tensor) -> Tensor:
        x = x.view(*x.shape[:2], HEADS, -1).transpose(1, 2)
        return F.log_softmax(x @ x.transpose(2, 3) / x.shape[-1] ** 0.5, -1).flatten(0, 2)

    return sum(kl(relations(b), relations(a)) for a, b in zip(s, t, strict=True)) / 3


def _topk(shape: Shape) -> Loss:
    return TopKLoss(k=_k(shape[-1]))


def _minilm_v2(shape: Shape) -> Loss:
    return MiniLMv2Loss(relation_heads=HEADS)


TABLE: dict[str, Naive] = {
    **{f.__name__: Naive(f, LOGITS) for f in (logistic_ranking, hinge_ranking, uld, margin_mse)},
    **{f.__name__: Naive(f, STATES) for f in (hidden_mse, hidden_cosine, patient)},
    **{f.__name__: Naive(f, ATTENTION) for f in (attention_mse, attention_ce)},
    "minilm_v2": Naive(minilm_v2, STATES, make=_minilm_v2, layers=3),
    "topk": Naive(topk, LOGITS, make=_topk),
}
