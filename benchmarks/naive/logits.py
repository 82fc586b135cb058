"""Losses of logits, each with the constants of its class's defaults."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from naive.divergences import kl
from naive.kit import FEW_CLASSES, LOGITS, Naive, Shape
from tutelage.losses import Loss, WKDLogitsLoss


def tempered(s: Tensor, t: Tensor, temperature: float | Tensor) -> Tensor:
    log_q, log_p = F.log_softmax(s / temperature, -1), F.log_softmax(t / temperature, -1)
    return temperature**2 * kl(log_p, log_q)


def kd(s: Tensor, t: Tensor, _: None) -> Tensor:
    return tempered(s, t, 4.0)


def ce(s: Tensor, t: Tensor, y: Tensor) -> Tensor:
    return F.cross_entropy(s, y)


def hard_label(s: Tensor, t: Tensor, _: None) -> Tensor:
    return F.cross_entropy(s, t.argmax(-1))


def logit_mse(s: Tensor, t: Tensor, _: None) -> Tensor:
    return F.mse_loss(s, t)


def bce(s: Tensor, t: Tensor, y: Tensor) -> Tensor:
    return F.binary_cross_entropy_with_logits(s, F.one_hot(y, s.shape[-1]).to(s.dtype))


def bce_kd(s: Tensor, t: Tensor, _: None) -> Tensor:
    return F.binary_cross_entropy_with_logits(s, F.softmax(t, -1))


def byot(s: Tensor, t: Tensor, y: Tensor) -> Tensor:
    return 0.9 * F.cross_entropy(s, y) + 0.1 * tempered(s, t, 3.0) / 9


def ca_mkd(s: list[Tensor], t: list[Tensor], y: Tensor) -> Tensor:
    errors = torch.stack([F.cross_entropy(one, y, reduction="none") for one in t])
    weights = (1 - F.softmax(errors, 0)) / (len(t) - 1)
    total = s[0].new_zeros(())
    for weight, student, teacher in zip(weights, s, t, strict=True):
        log_q, log_p = F.log_softmax(student / 4, -1), F.log_softmax(teacher / 4, -1)
        by_sample = F.kl_div(log_q, log_p, reduction="none", log_target=True).sum(-1)
        total = total + (weight * 16 * by_sample).mean()
    return total


class Reversed(torch.autograd.Function):
    """The identity, with the gradient times -1."""

    @staticmethod
    def forward(ctx: Any, value: Tensor) -> Tensor:
        """Return the value itself."""
        return value.view_as(value)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        """Turn the gradient round."""
        return -gradient


def ctkd(s: Tensor, t: Tensor, _: None, loss: Any) -> Tensor:
    return tempered(s, t, 1 + 20 * torch.sigmoid(Reversed.apply(loss.theta.squeeze())))


def dist(s: Tensor, t: Tensor, _: None) -> Tensor:
    def correlation(a: Tensor, b: Tensor) -> Tensor:
        a, b = a - a.mean(1, keepdim=True), b - b.mean(1, keepdim=True)
        return ((a * b).sum(1) / (a.norm(dim=1) * b.norm(dim=1) + 1e-8)).mean()

    q, p = F.softmax(s, -1), F.softmax(t, -1)
    return (1 - correlation(q, p)) + (1 - correlation(q.T, p.T))


def dkd(s: Tensor, t: Tensor, y: Tensor) -> Tensor:
    true = F.one_hot(y, s.shape[-1]).bool()
    q, p = F.softmax(s / 4, -1), F.softmax(t / 4, -1)
    b_q, b_p = (torch.stack([(x * true).sum(1), (x * ~true).sum(1)], 1) for x in (q, p))
    on_true = kl(b_p.log(), b_q.log())
    others = [F.log_softmax(z / 4 - 1000 * true, -1) for z in (s, t)]
    return 16 * (on_true + 8 * kl(others[1], others[0]))


def class_gram(s: Tensor, t: Tensor, _: None) -> Tensor:
    q, p = F.softmax(s / 4, -1), F.softmax(t / 4, -1)
    return ((p.T @ p - q.T @ q) ** 2).sum() / s.shape[1]


def batch_gram(s: Tensor, t: Tensor, _: None) -> Tensor:
    q, p = F.softmax(s / 4, -1), F.softmax(t / 4, -1)
    return ((p @ p.T - q @ q.T) ** 2).sum() / len(s)


def lskd(s: Tensor, t: Tensor, _: None) -> Tensor:
    def standardised(z: Tensor) -> Tensor:
        return (z - z.mean(-1, keepdim=True)) / (z.std(-1, keepdim=True) + 1e-7)

    return tempered(standardised(s), standardised(t), 2.0)


def nkd(s: Tensor, t: Tensor, y: Tensor) -> Tensor:
    true = F.one_hot(y, s.shape[-1]).bool()
    on_true = -(F.softmax(t, -1)[true] * F.log_softmax(s, -1)[true]).mean()
    others_s, others_t = (z[~true].view(len(z), -1) for z in (s, t))
    return on_true + 1.5 * F.cross_entropy(others_s, F.softmax(others_t, -1))


def ofa(s: Tensor, t: Tensor, y: Tensor) -> Tensor:
    true = F.one_hot(y, s.shape[-1])
    weight = (F.softmax(t, -1) + true) ** 1.5 - true
    return -(weight * F.log_softmax(s, -1)).sum(-1).mean()


def teacher_free_kd(s: Tensor, t: Tensor, y: Tensor) -> Tensor:
    true = F.one_hot(y, s.shape[-1]).bool()
    u = torch.full_like(s, 0.01 / (s.shape[-1] - 1)).masked_fill(true, 0.99)
    return tempered(s, u.detach().log(), 20.0)


def ttm(s: Tensor, t: Tensor, _: None) -> Tensor:
    powers = F.softmax(t, -1) ** 0.1
    p = powers / powers.sum(-1, keepdim=True)
    return F.kl_div(F.log_softmax(s, -1), p, reduction="batchmean")


def wttm(s: Tensor, t: Tensor, _: None) -> Tensor:
    powers = F.softmax(t, -1) ** 0.1
    total = powers.sum(-1, keepdim=True)
    by_class = F.kl_div(F.log_softmax(s, -1), powers / total, reduction="none")
    return (total * by_class).sum(-1).mean()


def wkd_logits(s: Tensor, t: Tensor, y: Tensor, loss: Any) -> Tensor:
    true = F.one_hot(y, s.shape[-1]).bool()
    on_true = -(F.softmax(t, -1)[true] * F.log_softmax(s, -1)[true]).mean()
    q, p = (F.softmax(z.masked_fill(true, -torch.inf) / 2, -1) for z in (s, t))
    kernel = torch.exp(-loss.cost / 0.05)
    u = (~true).to(s.dtype)
    for _ in range(10):
        v = p / (u @ kernel)
        u = q / (v @ kernel.T)
    plan = u.unsqueeze(2) * kernel * v.unsqueeze(1)
    return on_true + 30 * (plan * loss.cost).sum((1, 2)).mean()


def _wkd_logits(shape: Shape) -> Loss:
    loss = WKDLogitsLoss()
    loss.borrow(nn.Linear(16, shape[-1]))
    return loss


def wsld(s: Tensor, t: Tensor, y: Tensor) -> Tensor:
    with torch.no_grad():
        of_s, of_t = (F.cross_entropy(z, y, reduction="none") for z in (s, t))
        weight = 1 - torch.exp(-of_s / (of_t + 1e-7))
    soft = -(F.softmax(t / 2, -1) * F.log_softmax(s / 2, -1)).sum(-1)
    return (weight * 4 * soft).mean()


_PLAIN = (
    *(kd, ce, hard_label, logit_mse, bce, bce_kd, byot, dist, dkd, batch_gram, lskd, nkd, ofa),
    *(teacher_free_kd, ttm, wttm, wsld),
)
TABLE: dict[str, Naive] = {
    **{form.__name__: Naive(form, LOGITS) for form in _PLAIN},
    "ca_mkd": Naive(ca_mkd, LOGITS, layers=2),
    "class_gram": Naive(class_gram, FEW_CLASSES),
    "ctkd": Naive(ctkd, LOGITS, shares_parts=True),
    "wkd_logits": Naive(wkd_logits, FEW_CLASSES, make=_wkd_logits, shares_parts=True),
}
