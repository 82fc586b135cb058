"""Cases of token logits, where a label of -100 drops its position."""

import torch
from torch import Tensor

from mapping.kit import Hyper, Inputs, Reasons, Rules, Unsupported
from tutelage.losses import CELoss, KDLoss, LogitMSELoss


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
    ("distilbert", "author-ce"): _distilbert,
    ("distilbert", "author-mse"): _distilbert,
    ("distilbert", "author-mlm"): _distilbert,
    ("distilbert", "author-cos"): _distilbert,
}

REASONS: Reasons = {
    ("hidden_mse", "*"): "HintLoss has no mask of valid tokens",
    ("tinybert", "*"): "HintLoss has no mask of attention scores",
}
