"""Cases of token logits, where a label of -100 drops its position."""

import torch
from torch import Tensor

from mapping.kit import Hyper, Inputs, Reasons, Rule, Rules, Unsupported, called, scores
from tutelage.losses import (
    AttentionCELoss,
    AttentionMSELoss,
    CELoss,
    HiddenCosineLoss,
    HiddenMSELoss,
    HingeRankingLoss,
    JSDLoss,
    KDLoss,
    LogisticRankingLoss,
    LogitMSELoss,
    Loss,
    MarginMSELoss,
    MiniLMv2Loss,
    PatientKDLoss,
    TokenLoss,
    TopKLoss,
    TotalVariationLoss,
    ULDLoss,
)
from tutelage.losses.logits.base import LogitLoss
from tutelage.losses.tokens.uld import paired_answers
from tutelage.projectors import LinearProjector
from tutelage.signals import SparseLogits


def _attended(mask: Tensor) -> Tensor:
    """Return the target that drops padding."""
    return torch.where(mask.bool(), 0, -100)


def _distilbert(inputs: Inputs, hyper: Hyper) -> Tensor:
    student, teacher, labels = inputs["student"], inputs["teacher"], inputs["labels"]
    attended = _attended(inputs["attention_mask"])
    kd = TokenLoss(KDLoss(temperature=hyper["temperature"]), shift=0)
    mse = student.shape[-1] * TokenLoss(LogitMSELoss(), shift=0)(student, teacher, attended)
    terms = {
        "alpha_ce": kd(student, teacher, attended),
        "alpha_mse": mse,
        "alpha_mlm": TokenLoss(CELoss(), shift=0)(student, None, labels),
        "alpha_clm": TokenLoss(CELoss(), shift=1)(student, None, labels),
        "alpha_cos": HiddenCosineLoss()(
            inputs["student_hidden"], inputs["teacher_hidden"], attended
        ),
    }
    return sum((hyper[name] * value for name, value in terms.items()), student.new_zeros(()))


def _states(loss: Loss) -> Rule:
    def rule(inputs: Inputs, hyper: Hyper) -> Tensor:
        target = _attended(inputs["mask"]) if "mask" in inputs else None
        return loss(inputs["student"], inputs["teacher"], target)

    return rule


def _patient(inputs: Inputs, hyper: Hyper) -> Tensor:
    return PatientKDLoss()(inputs["student"], inputs["teacher"])


def _minilm(inputs: Inputs, hyper: Hyper) -> Tensor:
    loss = MiniLMv2Loss(relation_heads=hyper["relation_heads"], relations=hyper["relations"])
    student, teacher = (
        [inputs[f"{who}_{vectors}"] for vectors in "qkv"] for who in ("student", "teacher")
    )
    return loss(student, teacher, _attended(inputs["mask"]))


def _tinybert(inputs: Inputs, hyper: Hyper) -> Tensor:
    if len(inputs["student_attention"]) != hyper["layers"]:
        raise Unsupported("attention of another number of layers than stated")
    parts = {"linear.weight": inputs["proj_weight"], "linear.bias": inputs["proj_bias"]}
    width, narrow = inputs["proj_weight"].shape
    projector = LinearProjector(narrow, width)
    hidden = zip(inputs["student_hidden"], inputs["teacher_hidden"], strict=True)
    attention = zip(inputs["student_attention"], inputs["teacher_attention"], strict=True)
    values = [HiddenMSELoss()(called(projector, parts, s), t) for s, t in hidden]
    values += [AttentionMSELoss(floor=-100)(s, t) for s, t in attention]
    return torch.stack(values).sum()


def _trl_topk(inputs: Inputs, hyper: Hyper) -> Tensor:
    outside = "tail" if hyper["tail"] else "renormalise"
    loss = TopKLoss(outside=outside, temperature=hyper["temperature"], scale_by_temperature=False)
    teacher = _kept(inputs, hyper["temperature"])
    return _of_tokens(loss, inputs, teacher, hyper)


def _distillkit_topk(loss: LogitLoss) -> Rule:
    outside = {"zero": "zero", "symmetric_uniform": "power"}

    def rule(inputs: Inputs, hyper: Hyper) -> Tensor:
        if hyper["missing"] not in outside:
            raise Unsupported(f"no option for the missing mass {hyper['missing']!r}")
        topk = TopKLoss(loss, outside=outside[hyper["missing"]], temperature=hyper["temperature"])
        return _of_tokens(topk, inputs, _kept(inputs, hyper["generation_temperature"]), hyper)

    return rule


def _kept(inputs: Inputs, temperature: float = 1.0) -> SparseLogits:
    return SparseLogits(
        inputs["topk_ids"],
        inputs["topk_logprobs"],
        num_classes=inputs["student"].shape[-1],
        temperature=temperature,
    )


def _of_tokens(loss: LogitLoss, inputs: Inputs, teacher: SparseLogits, hyper: Hyper) -> Tensor:
    if inputs["topk_ids"].shape[-1] != hyper["k"]:
        raise Unsupported(f"{inputs['topk_ids'].shape[-1]} ids in a case of k = {hyper['k']}")
    return TokenLoss(loss, shift=0)(inputs["student"], teacher, inputs["labels"])


def _uld_author(inputs: Inputs, hyper: Hyper) -> Tensor:
    loss = ULDLoss(
        temperature=hyper["student_temperature"], teacher_temperature=hyper["teacher_temperature"]
    )
    of_sequences = TokenLoss(loss, shift=0, count="sequences")
    return hyper["weight"] * of_sequences(*_paired(inputs, shift=1))


def _uld_sum(inputs: Inputs, hyper: Hyper) -> Tensor:
    # That code cuts the teacher's sequence to the student's length before it pairs the answers.
    length = inputs["student"].shape[1]
    cut = {role: inputs[role][:, :length] for role in ("teacher", "teacher_labels")}
    return TokenLoss(ULDLoss(), shift=0, count=1)(*_paired({**inputs, **cut}, shift=0))


def _paired(inputs: Inputs, shift: int) -> tuple[Tensor, Tensor, Tensor]:
    roles = ("student", "teacher", "student_labels", "teacher_labels")
    return paired_answers(*(inputs[role] for role in roles), shift=shift)


def _refuse_a_visible_eps(hyper: Hyper) -> None:
    if hyper["eps"] > 1e-6:  # it only keeps a division by no pairs from NaN
        raise Unsupported("no option for an eps that shows")


def _logistic(inputs: Inputs, hyper: Hyper) -> Tensor:
    _refuse_a_visible_eps(hyper)
    return _of_tokens(LogisticRankingLoss(), inputs, _kept(inputs), hyper)


def _hinge(inputs: Inputs, hyper: Hyper) -> Tensor:
    _refuse_a_visible_eps(hyper)
    margin = hyper["margin"]
    if isinstance(margin, str) and margin != "teacher probability gap":
        raise Unsupported(f"no option for the margin {margin!r}")
    loss = HingeRankingLoss(margin=None if isinstance(margin, str) else margin)
    return _of_tokens(loss, inputs, _kept(inputs), hyper)


def _margin_mse(inputs: Inputs, hyper: Hyper) -> Tensor:
    teacher = inputs["labels"]
    if hyper["labels"] == "teacher margins":
        margins = teacher.reshape(len(teacher), -1)
        teacher = torch.cat([torch.zeros_like(margins[:, :1]), -margins], -1)
    return MarginMSELoss()(scores(inputs, hyper), teacher)


_DISTILLKIT = {
    "seq_topk_kl": KDLoss(temperature=1.0),
    "seq_topk_jsd": JSDLoss(),
    "seq_topk_tvd": TotalVariationLoss(),
}

RULES: Rules = {
    ("uld", "author"): _uld_author,
    ("uld", "dskd"): _uld_sum,
    ("seq_logistic_ranking", "distillkit"): _logistic,
    ("seq_hinge", "distillkit"): _hinge,
    ("margin_mse", "sentence-transformers"): _margin_mse,
    ("hidden_mse", "textbrewer"): _states(HiddenMSELoss()),
    ("hidden_cosine", "textbrewer"): _states(HiddenCosineLoss()),
    ("attention_mse", "textbrewer"): _states(AttentionMSELoss()),
    ("attention_ce", "textbrewer"): _states(AttentionCELoss(variant="textbrewer")),
    ("patient_kd", "textbrewer"): _patient,
    ("minilm_v2", "bloomberg"): _minilm,
    ("tinybert", "author"): _tinybert,
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

REASONS: Reasons = {}
