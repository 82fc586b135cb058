"""Divergences between two distributions over the classes, at temperature 1."""

import torch.nn.functional as F
from torch import Tensor

from naive.kit import LOGITS, Naive


def kl(log_p: Tensor, log_q: Tensor) -> Tensor:
    """Return KL(p || q), mean over rows, as everybody writes it."""
    return F.kl_div(log_q, log_p, reduction="batchmean", log_target=True)


def reverse_kl(s: Tensor, t: Tensor, _: None) -> Tensor:
    return kl(F.log_softmax(s, -1), F.log_softmax(t, -1))


def symmetric_kl(s: Tensor, t: Tensor, _: None) -> Tensor:
    log_q, log_p = F.log_softmax(s, -1), F.log_softmax(t, -1)
    return 0.5 * kl(log_p, log_q) + 0.5 * kl(log_q, log_p)


def jsd(s: Tensor, t: Tensor, _: None) -> Tensor:
    q, p = F.softmax(s, -1), F.softmax(t, -1)
    log_m = (0.5 * p + 0.5 * q).log()
    return 0.5 * kl(p.log(), log_m) + 0.5 * kl(q.log(), log_m)


def skew_kl(s: Tensor, t: Tensor, _: None) -> Tensor:
    q, p = F.softmax(s, -1), F.softmax(t, -1)
    return kl(p.log(), (0.1 * p + 0.9 * q).log())


def total_variation(s: Tensor, t: Tensor, _: None) -> Tensor:
    return 0.5 * (F.softmax(t, -1) - F.softmax(s, -1)).abs().sum(-1).mean()


def alpha_divergence(s: Tensor, t: Tensor, _: None) -> Tensor:
    alpha = 0.5
    q, p = F.softmax(s, -1), F.softmax(t, -1)
    return (q * ((p / q) ** alpha - 1)).sum(-1).mean() / (alpha * (alpha - 1))


def ab_divergence(s: Tensor, t: Tensor, _: None) -> Tensor:
    a, b = 0.2, 0.7
    q, p = F.softmax(s, -1), F.softmax(t, -1)
    terms = p**a * q**b - a / (a + b) * p ** (a + b) - b / (a + b) * q ** (a + b)
    return -terms.sum(-1).mean() / (a * b)


def adaptive_kl(s: Tensor, t: Tensor, _: None) -> Tensor:
    log_q, log_p = F.log_softmax(s, -1), F.log_softmax(t, -1)
    q, p = log_q.exp(), log_p.exp()
    ordered, order = p.sort(-1, descending=True)
    is_head = ordered.cumsum(-1) <= 0.5
    is_head[:, 0] = True
    gap = (p - q.detach()).abs().gather(-1, order)
    head, tail = (gap * is_head).sum(-1), (gap * ~is_head).sum(-1)
    forward, backward = (p * (log_p - log_q)).sum(-1), (q * (log_q - log_p)).sum(-1)
    return ((head * forward + tail * backward) / (head + tail)).mean()


TABLE: dict[str, Naive] = {
    form.__name__: Naive(form, LOGITS)
    for form in (
        reverse_kl,
        symmetric_kl,
        jsd,
        skew_kl,
        total_variation,
        alpha_divergence,
        ab_divergence,
        adaptive_kl,
    )
}
