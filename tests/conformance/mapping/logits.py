"""Cases of logits."""

import torch
from torch import Tensor

from mapping.kit import Hyper, Inputs, Reasons, Rules, Unsupported, ce, scores
from tutelage.losses import (
    BatchGramLoss,
    CELoss,
    ClassGramLoss,
    CTKDLoss,
    DISTLoss,
    DKDLoss,
    HardLabelLoss,
    KDLoss,
    LogitMSELoss,
    LSKDLoss,
    NKDLoss,
    OFALoss,
    TTMLoss,
    WSLDLoss,
    WTTMLoss,
)
from tutelage.losses.logits.ctkd import divergence_at_learned_temperature
from tutelage.losses.logits.lskd import EPS, standardized


def _kd(inputs: Inputs, hyper: Hyper, variant: str = "paper") -> Tensor:
    loss = KDLoss(temperature=hyper["temperature"], variant=variant)
    return loss(inputs["student"], inputs["teacher"])


def _kd_without_its_factor(inputs: Inputs, hyper: Hyper) -> Tensor:
    return _kd(inputs, hyper, "cross-entropy") / hyper["temperature"] ** 2


def _kd_weighted(inputs: Inputs, hyper: Hyper) -> Tensor:
    return hyper["alpha"] * _kd(inputs, hyper, "cross-entropy")


def _mutual(inputs: Inputs, hyper: Hyper) -> Tensor:
    return KDLoss(temperature=1.0)(inputs["student"], inputs["teacher"])


def _kd_and_ce(inputs: Inputs, hyper: Hyper) -> Tensor:
    alpha = hyper["alpha"]
    return alpha * _kd(inputs, hyper) + (1 - alpha) * ce(inputs)


def _tfkd(inputs: Inputs, hyper: Hyper) -> Tensor:
    alpha = hyper["alpha"]
    return alpha * _kd(inputs, hyper, "numel") + (1 - alpha) * ce(inputs)


def _timm_kd_task(inputs: Inputs, hyper: Hyper) -> Tensor:
    return hyper["distill_weight"] * _kd(inputs, hyper) + hyper["task_weight"] * ce(inputs)


def _deit_soft(inputs: Inputs, hyper: Hyper) -> Tensor:
    loss = KDLoss(temperature=hyper["temperature"], variant="numel")
    soft = loss(inputs["student_dist"], inputs["teacher"])
    return hyper["alpha"] * soft + (1 - hyper["alpha"]) * ce(inputs)


def _deit_hard(inputs: Inputs, hyper: Hyper) -> Tensor:
    hard = HardLabelLoss()(inputs["student_dist"], inputs["teacher"])
    return hyper["alpha"] * hard + (1 - hyper["alpha"]) * ce(inputs)


def _label_smoothing(inputs: Inputs, hyper: Hyper) -> Tensor:
    # Spread over the C - 1 wrong classes; ours, like torch's, spreads over all C.
    student, target, classes = inputs["student"], inputs["target"], inputs["student"].shape[-1]
    share = hyper["smoothing"] / (classes - 1)  # of each wrong class
    if share * classes <= 1:
        return CELoss(label_smoothing=share * classes)(student, None, target)
    # Less for the right class than for any other is no smoothing in our sense.
    soft = torch.full_like(student.detach(), share)
    soft.scatter_(-1, target.unsqueeze(-1), 1 - hyper["smoothing"])
    return CELoss()(student, None, soft)


def _logit_mse(inputs: Inputs, hyper: Hyper) -> Tensor:
    return LogitMSELoss()(inputs["student"], inputs["teacher"])


def _dkd(inputs: Inputs, hyper: Hyper, floor: float = 0.0) -> Tensor:
    loss = DKDLoss(
        temperature=hyper["temperature"],
        alpha=hyper["alpha"],
        beta=hyper["beta"],
        floor=floor,
    )
    return loss(inputs["student"], inputs["teacher"], inputs["target"])


def _dkd_clamped(inputs: Inputs, hyper: Hyper) -> Tensor:
    return _dkd(inputs, hyper, hyper["clamp"])


def _check_deviation(hyper: Hyper) -> None:
    if hyper["std"] != "unbiased":
        raise Unsupported(f"no rule for the deviation {hyper['std']!r}")


def _logit_std_kd(inputs: Inputs, hyper: Hyper) -> Tensor:
    _check_deviation(hyper)
    loss = LSKDLoss(temperature=hyper["temperature"], eps=hyper["eps"])
    return loss(inputs["student"], inputs["teacher"])


def _logit_std_dkd(inputs: Inputs, hyper: Hyper) -> Tensor:
    _check_deviation(hyper)
    if hyper["eps"] == EPS:
        loss = DKDLoss(
            temperature=hyper["temperature"],
            alpha=hyper["alpha"],
            beta=hyper["beta"],
            standardize=True,
        )
        return loss(inputs["student"], inputs["teacher"], inputs["target"])
    z_s, z_t = (standardized(inputs[who], eps=hyper["eps"]) for who in ("student", "teacher"))
    return _dkd({**inputs, "student": z_s, "teacher": z_t}, hyper)


def _nkd(inputs: Inputs, hyper: Hyper) -> Tensor:
    loss = NKDLoss(temperature=hyper["temperature"], gamma=hyper["gamma"])
    return loss(inputs["student"], inputs["teacher"], inputs["target"])


def _ttm(inputs: Inputs, hyper: Hyper) -> Tensor:
    return TTMLoss(power=hyper["power"])(inputs["student"], inputs["teacher"])


def _wttm(inputs: Inputs, hyper: Hyper) -> Tensor:
    return WTTMLoss(power=hyper["power"])(inputs["student"], inputs["teacher"])


def _wsld(inputs: Inputs, hyper: Hyper) -> Tensor:
    loss = WSLDLoss(temperature=hyper["temperature"], eps=hyper["eps"])
    return hyper["weight"] * loss(inputs["student"], inputs["teacher"], inputs["target"])


def _wsld_and_ce(inputs: Inputs, hyper: Hyper) -> Tensor:
    return _wsld(inputs, hyper) + (ce(inputs) if hyper["includes_ce"] else 0)


def _dist(inputs: Inputs, hyper: Hyper) -> Tensor:
    names = "temperature", "beta", "gamma", "eps"
    loss = DISTLoss(**{name: hyper[name] for name in names})
    return loss(inputs["student"], inputs["teacher"])


def _tinybert_soft_ce(inputs: Inputs, hyper: Hyper) -> Tensor:
    return _kd_without_its_factor(inputs, hyper) / inputs["student"].shape[-1]


def _listwise_kl(inputs: Inputs, hyper: Hyper) -> Tensor:
    # The scores of the candidates are the student's logits.
    return KDLoss(temperature=hyper["temperature"])(scores(inputs, hyper), inputs["labels"])


def _ctkd(inputs: Inputs, hyper: Hyper) -> Tensor:
    loss = CTKDLoss(start=hyper["t_start"], span=hyper["t_end"], reversal=hyper["lam"])
    parts = {"theta": inputs["param"]}
    return torch.func.functional_call(loss, parts, (inputs["student"], inputs["teacher"]))


def _ctkd_temperature(inputs: Inputs, hyper: Hyper) -> Tensor:
    roles = (inputs[role] for role in ("student", "teacher", "temperature"))
    return divergence_at_learned_temperature(*roles).mean()


def _ofa(inputs: Inputs, hyper: Hyper) -> Tensor:
    loss = OFALoss(gamma=hyper["gamma"], temperature=hyper["temperature"])
    return loss(inputs["student"], inputs["teacher"], inputs["target"])


def _class_gram(inputs: Inputs, hyper: Hyper) -> Tensor:
    return ClassGramLoss(temperature=hyper["temperature"])(inputs["student"], inputs["teacher"])


def _batch_gram(inputs: Inputs, hyper: Hyper) -> Tensor:
    return BatchGramLoss(temperature=hyper["temperature"])(inputs["student"], inputs["teacher"])


RULES: Rules = {
    ("kd", "repdistiller"): _kd,
    ("kd", "mdistiller"): _kd,
    ("kd", "fasterai"): _kd,
    ("kd", "numel-mean"): lambda inputs, hyper: _kd(inputs, hyper, "numel"),
    ("kd", "textbrewer-ce"): _kd_without_its_factor,
    ("kd", "cls_kd-ce"): _kd_weighted,
    ("kd_plus_ce", "reference"): _kd_and_ce,
    ("kd_task", "timm"): _timm_kd_task,
    ("tfkd_kd", "author"): _tfkd,
    ("mutual", "fasterai"): _mutual,
    ("deit_soft", "author"): _deit_soft,
    ("deit_hard", "author"): _deit_hard,
    ("label_smoothing", "author"): _label_smoothing,
    ("logit_mse", "fasterai"): _logit_mse,
    ("dkd", "mdistiller"): _dkd,
    ("dkd", "fasterai"): _dkd_clamped,
    ("dkd", "extreme"): _dkd,
    ("dkd", "two-class"): _dkd,
    ("logit_std_kd", "author"): _logit_std_kd,
    ("logit_std_dkd", "author"): _logit_std_dkd,
    ("nkd", "author"): _nkd,
    ("ctkd", "author"): _ctkd,
    ("ctkd_temperature", "author"): _ctkd_temperature,
    ("ofa", "author"): _ofa,
    ("mlkd_cc", "author"): _class_gram,
    ("mlkd_bc", "author"): _batch_gram,
    ("ttm", "author"): _ttm,
    ("wttm", "author"): _wttm,
    ("wsld", "mmrazor"): _wsld,
    ("wsld", "cls_kd"): _wsld,
    ("wsld", "author"): _wsld_and_ce,
    ("dist", "author"): _dist,
    ("tinybert_soft_ce", "author"): _tinybert_soft_ce,
    ("listwise_kl", "sentence-transformers"): _listwise_kl,
}

REASONS: Reasons = {
    (
        "tensorlogic_kd",
        "rust",
    ): "its hard loss takes the log of a raw logit: a mistake, not offered",
    (
        "tfkd_reg",
        "author",
    ): "it softens probabilities as if they were logits: TeacherFreeKDLoss has it right",
}

IGNORED = {("deit_hard", "author"): {"temperature"}}
