"""Cases of token logits, where a label of -100 drops its position."""

import torch
from torch import Tensor

from mapping.kit import Hyper, Inputs, Reasons, Rule, Rules, Unsupported
from tutelage.losses import (
    CELoss,
    JSDLoss,
    KDLoss,
    LogitMSELoss,
    TokenLoss,
    TopKLoss,
    TotalVariationLoss,
)
from tutelage.losses.logits.base import LogitLoss
from tutelage.losses.tokens.sparse import SparseTeacher


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


def _trl_topk(inputs: Inputs, hyper: Hyper) -> Tensor:
    outside = "tail" if hyper["tail"] else "renormalise"
    loss = TopKLoss(outside=outside, temperature=hyper["temperature"], scale_by_temperature=False)
    teacher = SparseTeacher(inputs["topk_ids"], inputs["topk_logprobs"], hyper["temperature"])
    return _of_tokens(loss, inputs, teacher, hyper)


def _distillkit_topk(loss: LogitLoss) -> Rule:
    outside = {"zero": "zero", "symmetric_uniform": "tail"}

    def rule(inputs: Inputs, hyper: Hyper) -> Tensor:
        if hyper["missing"] not in outside:
            raise Unsupported(f"no option for the missing mass {hyper['missing']!r}")
        topk = TopKLoss(loss, outside=outside[hyper["missing"]], temperature=hyper["temperature"])
        teacher = SparseTeacher(
            inputs["topk_ids"], inputs["topk_logprobs"], hyper["generation_temperature"]
        )
        return _of_tokens(topk, inputs, teacher, hyper)

    return rule


def _of_tokens(loss: LogitLoss, inputs: Inputs, teacher: SparseTeacher, hyper: Hyper) -> Tensor:
    if inputs["topk_ids"].shape[-1] != hyper["k"]:
        raise Unsupported(f"{inputs['topk_ids'].shape[-1]} ids in a case of k = {hyper['k']}")
    return TokenLoss(loss, shift=0)(inputs["student"], teacher, inputs["labels"])


_DISTILLKIT = {
    "seq_topk_kl": KDLoss(temperature=1.0),
    "seq_topk_jsd": JSDLoss(),
    "seq_topk_tvd": TotalVariationLoss(),
}

RULES: Rules = {
    ("seq_topk_kl", "trl-tail"): _trl_topk,
    ("seq_topk_kl", "trl-renorm"): _trl_topk,
    **{
        (method, f"distillkit-{missing}"): _distillkit_topk(loss)
        for method, loss in _DISTILLKIT.items()
        for missing in ("zero", "symmetric_uniform")
    },
    ("distilbert", "author-ce"): _distilbert,
    ("distilbert", "author-mse"): _distilbert,
    ("distilbert", "author-mlm"): _distilbert,
    ("distilbert", "author-cos"): _distilbert,
}

REASONS: Reasons = {
    ("hidden_mse", "*"): "HintLoss has no mask of valid tokens",
    ("tinybert", "*"): "HintLoss has no mask of attention scores",
}
