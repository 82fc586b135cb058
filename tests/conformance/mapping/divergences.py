"""Cases of divergences, one at each token; a label of -100 drops its token."""

from collections.abc import Callable

import torch
from torch import Tensor

from mapping.kit import Hyper, Inputs, Reasons, Rule, Rules
from tutelage.losses import (
    ABDivergenceLoss,
    AdaptiveKLLoss,
    JSDLoss,
    KDLoss,
    Loss,
    ReverseKLLoss,
    SkewKLLoss,
    SymmetricKLLoss,
    TotalVariationLoss,
)
from tutelage.losses.divergences.base import DivergenceLoss

Make = Callable[[Hyper], Loss]


def _mean(make: Make) -> Rule:
    """Over all valid tokens of the batch, as the losses do by themselves."""
    return lambda inputs, hyper: make(hyper)(inputs["student"], inputs["teacher"], inputs["labels"])


def _sum(make: Make) -> Rule:
    """Over all valid tokens: the mean times their number."""
    return lambda inputs, hyper: _mean(make)(inputs, hyper) * (inputs["labels"] != -100).sum()


def _over_num_items(make: Make) -> Rule:
    return lambda inputs, hyper: _sum(make)(inputs, hyper) / hyper["num_items"]


def _mean_of_sequences(make: Make) -> Rule:
    """The mean over each sequence first; the token at t is predicted by the logits at t - 1."""

    def rule(inputs: Inputs, hyper: Hyper) -> Tensor:
        loss = make(hyper)
        student, teacher = inputs["student"][:, :-1], inputs["teacher"][:, :-1]
        sequences = zip(student, teacher, inputs["labels"][:, 1:], strict=True)
        return torch.stack([loss(*sequence) for sequence in sequences]).mean()

    return rule


def _with_entropy(rule: Rule, share: Callable[[Hyper], float]) -> Rule:
    """With the teacher's entropy: its cross-entropy with itself. A constant."""

    def summed(inputs: Inputs, hyper: Hyper) -> Tensor:
        teacher, labels = inputs["teacher"], inputs["labels"]
        entropy = KDLoss(temperature=1.0, variant="cross-entropy")(teacher, teacher, labels)
        return rule(inputs, hyper) + share(hyper) * entropy

    return summed


def _unscaled(kind: type[DivergenceLoss], **options: object) -> Make:
    return lambda hyper: kind(
        temperature=hyper["temperature"],
        scale_by_temperature=False,
        **options,  # type: ignore[arg-type]
    )


def _kd(hyper: Hyper) -> Loss:
    return KDLoss(temperature=hyper["temperature"])


def _kd_unscaled(inputs: Inputs, hyper: Hyper) -> Tensor:
    return _sum(_kd)(inputs, hyper) / hyper["temperature"] ** 2


def _cross_entropy(hyper: Hyper) -> Loss:
    return KDLoss(temperature=hyper["temperature"], variant="cross-entropy")


def _gjsd(hyper: Hyper) -> Loss:
    # TRL computes the raw form, but at the ends the two KLs.
    variant = "scaled" if hyper["beta"] in (0, 1) else "raw"
    return _unscaled(JSDLoss, beta=hyper["beta"], variant=variant)(hyper)


def _student_weighted_jsd(hyper: Hyper) -> Loss:
    return JSDLoss(beta=1 - hyper["lam"])


def _skew(direction: str, **options: bool) -> Make:
    return lambda hyper: SkewKLLoss(skew=hyper["lam"], direction=direction, **options)


def _skew_softened(direction: str) -> Make:
    return lambda hyper: _unscaled(SkewKLLoss, skew=hyper["lam"], direction=direction)(hyper)


def _adaptive(variant: str, name: str) -> Make:
    return lambda hyper: _unscaled(AdaptiveKLLoss, threshold=hyper[name], variant=variant)(hyper)


def _ab(inputs: Inputs, hyper: Hyper) -> Tensor:
    alpha, beta = hyper["alpha"], hyper["beta"]
    value = _mean(lambda _: ABDivergenceLoss(alpha=alpha, beta=beta))(inputs, hyper)
    # The authors' code divides its limits by the first power of the exponent that is left.
    is_limit = 0 in (alpha, beta, alpha + beta) and (alpha or beta)
    return value * (alpha or beta) if is_limit else value


RULES: Rules = {
    ("seq_forward_kl", "distillkit"): _mean(_kd),
    ("seq_forward_kl", "distillm"): lambda inputs, hyper: (
        _mean(_cross_entropy)(inputs, hyper) / hyper["temperature"] ** 2
    ),
    ("seq_forward_kl", "dskd"): _kd_unscaled,
    ("seq_reverse_kl", "distillm"): _mean(_unscaled(ReverseKLLoss)),
    ("seq_reverse_kl", "dskd"): _sum(_unscaled(ReverseKLLoss)),
    ("seq_jsd", "distillm"): _mean(_student_weighted_jsd),
    ("seq_jsd", "dskd"): _sum(lambda hyper: _unscaled(JSDLoss, eps=hyper["eps"])(hyper)),
    ("seq_jsd", "distillkit"): _mean(lambda hyper: JSDLoss(temperature=hyper["temperature"])),
    ("seq_symmetric_kl", "distillm"): _with_entropy(
        _mean(lambda hyper: SymmetricKLLoss(reverse_weight=hyper["lam"])),
        share=lambda hyper: 1 - hyper["lam"],
    ),
    ("seq_akl", "author"): _mean(_adaptive("descending", "mu")),
    ("seq_akl", "dskd"): _sum(_adaptive("ascending", "alpha")),
    ("seq_ab_divergence", "author"): _ab,
    ("seq_tvd", "distillm"): _mean(lambda hyper: TotalVariationLoss()),
    ("seq_tvd", "distillkit"): _mean(
        lambda hyper: TotalVariationLoss(temperature=hyper["temperature"])
    ),
    ("seq_gjsd", "trl"): _mean(_gjsd),
    ("seq_gjsd", "trl-num-items"): _over_num_items(_gjsd),
    ("seq_gjsd", "trl-all-masked"): _mean(_gjsd),
    ("seq_gjsd", "trl-one-sequence-masked"): _mean(_gjsd),
    ("seq_skew_forward_kl", "distillm-v1"): _with_entropy(
        _mean(_skew("forward")), share=lambda hyper: 1.0
    ),
    ("seq_skew_reverse_kl", "distillm-v1"): _mean(_skew("reverse")),
    ("seq_skew_forward_kl", "distillm-v2"): _mean_of_sequences(_skew("forward")),
    ("seq_skew_reverse_kl", "distillm-v2"): _mean_of_sequences(
        _skew("reverse", detach_mixture=True)
    ),
    ("seq_skew_forward_kl", "dskd"): _sum(_skew_softened("forward")),
    ("seq_skew_reverse_kl", "dskd"): _sum(_skew_softened("reverse")),
}

REASONS: Reasons = {}
