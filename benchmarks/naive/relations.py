"""Losses of relations between the samples ``[B, D]`` of a batch, all pairs or triplets at once."""

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from naive.kit import EMBEDDINGS, TRIPLETS, Naive, Shape
from tutelage.losses import CRDLoss, Loss
from tutelage.losses.relations.bank import draw


def sp(s: Tensor, t: Tensor, _: None) -> Tensor:
    g_s, g_t = (F.normalize(f @ f.T) for f in (s.flatten(1), t.flatten(1)))
    return torch.norm(g_s - g_t) ** 2 / len(s) ** 2


def pkt(s: Tensor, t: Tensor, _: None) -> Tensor:
    def neighbours(f: Tensor) -> Tensor:
        f = f / (f.norm(dim=1, keepdim=True) + 1e-7)
        kernel = (f @ f.T + 1) / 2
        return kernel / kernel.sum(1, keepdim=True)

    p_s, p_t = neighbours(s), neighbours(t)
    return (p_t * torch.log((p_t + 1e-7) / (p_s + 1e-7))).mean()


def rkd(s: Tensor, t: Tensor, _: None) -> Tensor:
    def relative(f: Tensor) -> Tensor:
        squares = f.pow(2).sum(1)
        d = (squares.unsqueeze(0) + squares.unsqueeze(1) - 2 * f @ f.T).clamp(min=1e-12).sqrt()
        d = d * (1 - torch.eye(len(f), dtype=f.dtype))
        return d / d[d > 0].mean()

    def angles(f: Tensor) -> Tensor:
        e = F.normalize(f.unsqueeze(0) - f.unsqueeze(1), dim=2)
        return torch.bmm(e, e.transpose(1, 2)).view(-1)

    distance = F.smooth_l1_loss(relative(s), relative(t))
    return 25 * distance + 50 * F.smooth_l1_loss(angles(s), angles(t))


def cc(s: Tensor, t: Tensor, _: None) -> Tensor:
    def correlation(f: Tensor) -> Tensor:
        f = F.normalize(f)
        gram = f @ f.T
        terms = [0.8**p / math.factorial(p) * gram**p for p in range(3)]
        return math.exp(-0.8) * torch.stack(terms).sum(0)

    return F.mse_loss(correlation(s), correlation(t))


def infonce(s: Tensor, t: Tensor, _: None) -> Tensor:
    return F.cross_entropy(F.normalize(s) @ F.normalize(t).T / 0.07, torch.arange(len(s)))


def itrd(s: Tensor, t: Tensor, _: None) -> Tensor:
    z_s, z_t = ((f - f.mean(0)) / f.std(0) for f in (s, t))
    c = torch.einsum("bd,bd->d", z_s, z_t) / len(s)
    correlation = torch.log2((c - 1).pow(2).pow(1.01).sum())
    n_s, n_t = F.normalize(s), F.normalize(t)
    g_s, g_t = n_s @ n_s.T, n_t @ n_t.T
    joint = g_s * g_t
    g_s, joint = g_s / torch.trace(g_s), joint / torch.trace(joint)
    return 2 * correlation + g_s.pow(2).sum() - joint.pow(2).sum()


def dark_rank(s: Tensor, t: Tensor, _: None) -> Tensor:
    s, t = F.normalize(s), F.normalize(t)
    scores = -3 * torch.cdist(s, s) ** 3
    apart = torch.cdist(t, t).fill_diagonal_(torch.inf)
    ordered = scores.gather(1, apart.argsort(1)[:, :4])
    surprise = [ordered[:, r:].logsumexp(1) - ordered[:, r] for r in range(4)]
    return torch.stack(surprise).sum(0).mean()


def crd(s: Tensor, t: Tensor, _: None, loss: Any) -> Tensor:
    """Gather every drawn vector: ``[B, m + 1, d]`` on each side."""
    ids = torch.arange(len(s))
    drawn = draw(ids, loss.negatives, loss.samples, seed=loss.seed, turn=loss.turn)
    chosen = torch.cat([ids.unsqueeze(1), drawn], 1)
    noise = loss.negatives / loss.samples
    total = s.new_zeros(())
    sides = (
        (s, loss.embed_student, loss.bank_teacher, loss.log_z[0]),
        (t, loss.embed_teacher, loss.bank_student, loss.log_z[1]),
    )
    for feature, embed, bank, log_z in sides:
        v = F.normalize(embed(feature))
        vectors = bank.vectors.index_select(0, chosen.view(-1)).view(*chosen.shape, -1)
        scores = torch.bmm(vectors, v.unsqueeze(2)).squeeze(2)
        p = torch.exp(scores / loss.temperature) / torch.exp(log_z)
        right = torch.log(p[:, 0] / (p[:, 0] + noise + 1e-7))
        wrong = torch.log(noise / (p[:, 1:] + noise + 1e-7))
        total = total - (right.sum() + wrong.sum()) / len(s)
    return total


def _crd(shape: Shape) -> Loss:
    # At the full size as in the paper's CIFAR-100 experiments.
    is_full = shape[0] >= 256
    samples, negatives, dim = (50_000, 16_384, 128) if is_full else (100, 64, 8)
    loss = CRDLoss(samples=samples, negatives=negatives, dim=dim)
    loss.log_z.fill_(math.log(samples))  # as after the first batch, which sets it
    return loss


_PLAIN = (sp, pkt, cc, infonce, itrd, dark_rank)
TABLE: dict[str, Naive] = {
    **{form.__name__: Naive(form, EMBEDDINGS) for form in _PLAIN},
    "crd": Naive(crd, EMBEDDINGS, make=_crd, shares_parts=True),
    "rkd": Naive(rkd, TRIPLETS),
}
