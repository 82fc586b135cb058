"""Losses of features ``[B, C, H, W]``, as their authors' code and its ports write them."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from naive.kit import EMBEDDINGS, FEATURES, STATES, Naive, Shape
from tutelage.losses import Loss, OFDLoss, SRRLLoss


def hint(s: Tensor, t: Tensor, _: None) -> Tensor:
    return F.mse_loss(s, t)


def simkd(s: Tensor, t: Tensor, _: None) -> Tensor:
    return F.mse_loss(s, t)


def mgd(s: Tensor, t: Tensor, _: None) -> Tensor:
    return F.mse_loss(s, t, reduction="sum") / len(s)


def vitkd(s: list[Tensor], t: list[Tensor], _: None) -> Tensor:
    by_layer = [F.mse_loss(a, b, reduction="sum") / len(a) for a, b in zip(s, t, strict=True)]
    return 3e-5 * (by_layer[0] + by_layer[1]) + 3e-6 * by_layer[2]


def pooled_feature(s: Tensor, t: Tensor, _: None) -> Tensor:
    return F.mse_loss(s.mean((2, 3)), t.mean((2, 3)))


def layers(s: list[Tensor], t: list[Tensor], _: None) -> Tensor:
    return torch.stack([F.mse_loss(a, b) for a, b in zip(s, t, strict=True)]).sum()


def at(s: Tensor, t: Tensor, _: None) -> Tensor:
    def attention(f: Tensor) -> Tensor:
        return F.normalize(f.pow(2).mean(1).flatten(1))

    return (attention(s) - attention(t)).pow(2).mean()


def ab(s: Tensor, t: Tensor, _: None) -> Tensor:
    above, below = (s + 1) ** 2 * ((s > -1) & (t <= 0)), (s - 1) ** 2 * ((s <= 1) & (t > 0))
    return (above + below).sum() / len(s)


def cwd(s: Tensor, t: Tensor, _: None) -> Tensor:
    s, t = s.flatten(2).flatten(0, 1), t.flatten(2).flatten(0, 1)
    return F.kl_div(F.log_softmax(s, 1), F.softmax(t, 1), reduction="batchmean")


def fsp(s: list[Tensor], t: list[Tensor], _: None) -> Tensor:
    def flow(first: Tensor, second: Tensor) -> Tensor:
        a, b = first.flatten(2), second.flatten(2)
        return torch.bmm(a, b.transpose(1, 2)) / a.shape[2]

    return (flow(*s) - flow(*t)).pow(2).sum((1, 2)).mean()


def ickd(s: Tensor, t: Tensor, _: None) -> Tensor:
    def correlation(f: Tensor) -> Tensor:
        rows = f.flatten(2)
        return F.normalize(torch.bmm(rows, rows.transpose(1, 2)), dim=-1)

    return (correlation(s) - correlation(t)).pow(2).sum() / s.shape[0] / s.shape[1]


def nst(s: Tensor, t: Tensor, _: None) -> Tensor:
    def kernel(a: Tensor, b: Tensor) -> Tensor:
        return torch.bmm(a, b.transpose(1, 2)).pow(2).mean()

    s, t = F.normalize(s.flatten(2), dim=2), F.normalize(t.flatten(2), dim=2)
    return kernel(t, t) + kernel(s, s) - 2 * kernel(s, t)


def ofd(s: Tensor, t: Tensor, _: None, loss: Any) -> Tensor:
    t = torch.max(t, loss.margin.view(1, -1, 1, 1))
    error = F.mse_loss(s, t, reduction="none")
    return (error * ((s > t) | (t > 0)).to(s.dtype)).sum() / len(s)


def _ofd(shape: Shape) -> Loss:
    loss = OFDLoss()
    loss.borrow(nn.BatchNorm2d(shape[1]))
    return loss


def pkd(s: Tensor, t: Tensor, _: None) -> Tensor:
    def standardised(f: Tensor) -> Tensor:
        rows = f.permute(1, 0, 2, 3).reshape(f.shape[1], -1)
        return (rows - rows.mean(1, keepdim=True)) / (rows.std(1, keepdim=True) + 1e-6)

    return F.mse_loss(standardised(s), standardised(t)) / 2


def reviewkd(s: list[Tensor], t: list[Tensor], _: None) -> Tensor:
    total = s[0].new_zeros(())
    for a, b in zip(s, t, strict=True):
        value, weight, weights = F.mse_loss(a, b), 1.0, 1.0
        for level in (level for level in (4, 2, 1) if level < a.shape[2]):
            weight /= 2
            pooled = (F.adaptive_avg_pool2d(f, (level, level)) for f in (a, b))
            value, weights = value + weight * F.mse_loss(*pooled), weights + weight
        total = total + value / weights
    return total


def srd(s: Tensor, t: Tensor, _: None) -> Tensor:
    s, t = (F.batch_norm(f, None, None, training=True, eps=1e-4) for f in (s, t))
    return (s - t).abs().pow(4).sum().log()


def srrl(s: Tensor, t: Tensor, _: None, loss: Any) -> Tensor:
    s, t = (F.adaptive_avg_pool2d(f, 1).flatten(1) for f in (s, t))
    z_s, z_t = (F.linear(f, loss.head_weight, loss.head_bias) for f in (s, t))
    return F.mse_loss(s, t) + F.mse_loss(z_s, z_t)


def _srrl(shape: Shape) -> Loss:
    loss = SRRLLoss()
    loss.borrow(nn.Linear(shape[1], 100))
    return loss


def vid(s: Tensor, t: Tensor, _: None, loss: Any) -> Tensor:
    variance = (F.softplus(loss.log_scale) + 1e-5).view(1, -1, 1, 1)
    return (0.5 * ((s - t) ** 2 / variance + torch.log(variance))).mean()


def vkd(s: Tensor, t: Tensor, _: None) -> Tensor:
    return F.smooth_l1_loss(s, F.layer_norm(t, t.shape[1:]))


def wkd_features(s: Tensor, t: Tensor, _: None) -> Tensor:
    s, t = s.flatten(2), t.flatten(2)
    means = (s.mean(2) - t.mean(2)) ** 2
    deviations = (torch.sqrt(s.var(2) + 1e-5) - torch.sqrt(t.var(2) + 1e-5)) ** 2
    return (2 * means + deviations).sum(1).mean()


_PLAIN = (hint, mgd, simkd, pooled_feature, at, ab, cwd, ickd, nst, pkd, wkd_features)
TABLE: dict[str, Naive] = {
    **{form.__name__: Naive(form, FEATURES) for form in _PLAIN},
    "fsp": Naive(fsp, FEATURES, layers=2),
    "layers": Naive(layers, FEATURES, layers=2),
    "ofd": Naive(ofd, FEATURES, make=_ofd, shares_parts=True),
    "reviewkd": Naive(reviewkd, FEATURES, layers=1),
    "srd": Naive(srd, EMBEDDINGS),
    "srrl": Naive(srrl, FEATURES, make=_srrl, shares_parts=True),
    "vid": Naive(vid, FEATURES, shares_parts=True),
    "vitkd": Naive(vitkd, STATES, layers=3),
    "vkd": Naive(vkd, EMBEDDINGS),
}
