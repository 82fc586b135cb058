"""Cases of token logits, where a label of -100 drops its position."""

import torch
from torch import Tensor

from mapping.kit import Hyper, Inputs, Reasons, Rules, Unsupported
from tutelage.losses import CELoss, KDLoss, LogitMSELoss
from tutelage.losses.logits.kd import tempered_divergence


def _token_kd(inputs: Inputs, hyper: Hyper) -> Tensor:
    loss = KDLoss(temperature=hyper["temperature"])
    return loss(inputs["student"], inputs["teacher"], inputs["labels"])


def _token_ce(inputs: Inputs, hyper: Hyper) -> Tensor:
    loss = KDLoss(temperature=hyper["temperature"], variant="cross-entropy")
    value = loss(inputs["student"], inputs["teacher"], inputs["labels"])
    return value / hyper["temperature"] ** 2


def _token_kl_sum(inputs: Inputs, hyper: Hyper) -> Tensor:
    values = tempered_divergence(
        inputs["student"],
        inputs["teacher"],
        temperature=hyper["temperature"],
        kept=inputs["labels"] != -100,
    )
    return values.sum() / hyper["temperature"] ** 2


def _distilbert(inputs: Inputs, hyper: Hyper) -> Tensor:
    if hyper["alpha_cos"]:
        raise Unsupported("no loss compares hidden states by their cosine")
    student, teacher, labels = inputs["student"], inputs["teacher"], inputs["labels"]
    attended = torch.where(inputs["attention_mask"].bool(), 0, -100)
    kd = KDLoss(temperature=hyper["temperature"])(student, teacher, attended)
    mse = student.shape[-1] * LogitMSELoss()(student, teacher, attended)
    mlm = CELoss()(student, None, labels)
    clm = CELoss()(student[:, :-1], None, labels[:, 1:])
    terms = {"alpha_ce": kd, "alpha_mse": mse, "alpha_mlm": mlm, "alpha_clm": clm}
    return sum((hyper[name] * value for name, value in terms.items()), student.new_zeros(()))


RULES: Rules = {
    ("seq_forward_kl", "distillkit"): _token_kd,
    ("seq_forward_kl", "distillm"): _token_ce,
    ("seq_forward_kl", "dskd"): _token_kl_sum,
    ("distilbert", "author-ce"): _distilbert,
    ("distilbert", "author-mse"): _distilbert,
    ("distilbert", "author-mlm"): _distilbert,
    ("distilbert", "author-cos"): _distilbert,
}

REASONS: Reasons = {
    ("hidden_mse", "*"): "HintLoss has no mask of valid tokens",
    ("tinybert", "*"): "HintLoss has no mask of attention scores",
}
