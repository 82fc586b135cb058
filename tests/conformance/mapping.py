"""From the method and variant of a golden case to the classes of this package that compute it.

A new loss adds its lines to ``RULES``. What is known but not computed stands in ``REASONS``; what
stands in neither is unknown. A rule takes the inputs by role and the hyper-parameters of the case
and returns the scalar. It may weigh, sum and project, as a user would with Terms; it may not
compute a method that the package does not have.
"""

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from tutelage.losses import ATLoss, CELoss, HardLabelLoss, HintLoss, KDLoss, LogitMSELoss
from tutelage.losses.hint import feature_distance
from tutelage.losses.kd import tempered_divergence
from tutelage.projectors import ConvProjector, LinearProjector

Inputs = Mapping[str, Any]  # role -> Tensor, or a list of them (layers)
Hyper = Mapping[str, Any]
Rule = Callable[[Inputs, Hyper], Tensor]


class Unsupported(Exception):
    """A case that nothing in this package computes; the message says why."""


def evaluate(method: str, variant: str, inputs: Inputs, hyper: Hyper) -> Tensor:
    """Return the scalar of a case.

    Raises:
        Unsupported: No rule computes it, or it states a hyper-parameter that its rule ignores.
    """
    if (rule := RULES.get((method, variant))) is None:
        raise Unsupported(
            REASONS.get((method, variant)) or REASONS.get((method, "*")) or "no rule for it"
        )
    known = _Known(hyper)
    value = rule(inputs, known)
    ignored = known.keys() - known.read - DESCRIBED - IGNORED.get((method, variant), set())
    if ignored:
        names = ", ".join(map(repr, sorted(ignored)))
        raise Unsupported(f"its rule does not know the hyper-parameter {names}")
    return value


class _Known(dict[str, Any]):
    def __init__(self, hyper: Hyper) -> None:
        super().__init__(hyper)
        self.read: set[str] = set()

    def __getitem__(self, name: str) -> Any:
        self.read.add(name)
        return super().__getitem__(name)

    def __missing__(self, name: str) -> Any:
        raise Unsupported(f"the case does not state its hyper-parameter {name!r}")


# Logits


def _kd(inputs: Inputs, hyper: Hyper, variant: str = "paper") -> Tensor:
    loss = KDLoss(temperature=hyper["temperature"], variant=variant)
    return loss(inputs["student"], inputs["teacher"])


def _ce(inputs: Inputs, student: str = "student") -> Tensor:
    return CELoss()(inputs[student], None, inputs["target"])


def _kd_without_its_factor(inputs: Inputs, hyper: Hyper) -> Tensor:
    return _kd(inputs, hyper, "cross-entropy") / hyper["temperature"] ** 2


def _kd_weighted(inputs: Inputs, hyper: Hyper) -> Tensor:
    return hyper["alpha"] * _kd(inputs, hyper, "cross-entropy")


def _mutual(inputs: Inputs, hyper: Hyper) -> Tensor:
    return KDLoss(temperature=1.0)(inputs["student"], inputs["teacher"])


def _kd_and_ce(inputs: Inputs, hyper: Hyper) -> Tensor:
    alpha = hyper["alpha"]
    return alpha * _kd(inputs, hyper) + (1 - alpha) * _ce(inputs)


def _tfkd(inputs: Inputs, hyper: Hyper) -> Tensor:
    alpha = hyper["alpha"]
    return alpha * _kd(inputs, hyper, "numel") + (1 - alpha) * _ce(inputs)


def _timm_kd_task(inputs: Inputs, hyper: Hyper) -> Tensor:
    return hyper["distill_weight"] * _kd(inputs, hyper) + hyper["task_weight"] * _ce(inputs)


def _deit_soft(inputs: Inputs, hyper: Hyper) -> Tensor:
    loss = KDLoss(temperature=hyper["temperature"], variant="numel")
    soft = loss(inputs["student_dist"], inputs["teacher"])
    return hyper["alpha"] * soft + (1 - hyper["alpha"]) * _ce(inputs)


def _deit_hard(inputs: Inputs, hyper: Hyper) -> Tensor:
    hard = HardLabelLoss()(inputs["student_dist"], inputs["teacher"])
    return hyper["alpha"] * hard + (1 - hyper["alpha"]) * _ce(inputs)


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


def _tinybert_soft_ce(inputs: Inputs, hyper: Hyper) -> Tensor:
    return _kd_without_its_factor(inputs, hyper) / inputs["student"].shape[-1]


def _listwise_kl(inputs: Inputs, hyper: Hyper) -> Tensor:
    # The scores of the candidates are the student's logits.
    if hyper["similarity"] != "dot":
        raise Unsupported(f"no rule for the similarity {hyper['similarity']!r}")
    candidates = ["positive", *sorted(role for role in inputs if role.startswith("negative"))]
    scores = torch.stack([(inputs["query"] * inputs[role]).sum(-1) for role in candidates], -1)
    return KDLoss(temperature=hyper["temperature"])(scores, inputs["labels"])


# Token logits, where a label of -100 drops its position


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


# Features


def _over_layers(rule: Rule) -> Rule:
    """Sum a rule over layers where the roles are lists, as the code of these variants does."""

    def summed(inputs: Inputs, hyper: Hyper) -> Tensor:
        lists = {role: found for role, found in inputs.items() if isinstance(found, list)}
        if not lists:
            return rule(inputs, hyper)
        layers = zip(*lists.values(), strict=True)
        values = [
            rule({**inputs, **dict(zip(lists, layer, strict=True))}, hyper) for layer in layers
        ]
        return torch.stack(values).sum()

    return summed


def _hint(inputs: Inputs, hyper: Hyper) -> Tensor:
    return HintLoss()(inputs["student"], inputs["teacher"])


def _fitnet(inputs: Inputs, hyper: Hyper) -> Tensor:
    parts = {"conv.weight": inputs["weight"]}
    if "bias" in inputs:
        parts["conv.bias"] = inputs["bias"]
    return HintLoss()(_convolved(inputs["student"], parts), inputs["teacher"])


def _fitnet_mdistiller(inputs: Inputs, hyper: Hyper) -> Tensor:
    parts = {
        "conv.weight": inputs["conv_weight"],
        "conv.bias": inputs["conv_bias"],
        "norm.weight": inputs["bn_weight"],
        "norm.bias": inputs["bn_bias"],
    }
    return HintLoss()(_convolved(inputs["student"], parts, relu=True), inputs["teacher"])


def _blog_hint(inputs: Inputs, hyper: Hyper) -> Tensor:
    # Its projector sits on the teacher's side and is trained there, so the equation of the hint
    # is used, which is symmetric, and not HintLoss, which stops the gradient at the teacher.
    parts = {"conv.weight": inputs["conv_weight"], "conv.bias": inputs["conv_bias"]}
    projected = _convolved(inputs["teacher_feature"], parts)
    hint = feature_distance(inputs["student_feature"], projected).mean()
    return _kd_and_ce(inputs, hyper) + hyper["beta"] * hint


def _timm_feature_task(inputs: Inputs, hyper: Hyper) -> Tensor:
    weight = inputs["proj_weight"]
    parts = {"linear.weight": weight}
    if "proj_bias" in inputs:
        parts["linear.bias"] = inputs["proj_bias"]
    projector = LinearProjector(weight.shape[1], weight.shape[0], bias="proj_bias" in inputs)
    hint = HintLoss()(_called(projector, parts, inputs["student"]), inputs["teacher"])
    return hyper["distill_weight"] * hint + hyper["task_weight"] * _ce(inputs, "student_logits")


def _weighted_features(inputs: Inputs, hyper: Hyper) -> Tensor:
    if hyper["p"] != 2:
        raise Unsupported("HintLoss squares the difference; no loss takes other powers of it")
    roles = (inputs[role] for role in ("student", "teacher"))
    student, teacher = (role if isinstance(role, list) else [role] for role in roles)
    layers = zip(hyper["layer_weights"], student, teacher, strict=True)
    return torch.stack([weight * HintLoss()(s, t) for weight, s, t in layers]).sum()


def _at(variant: str) -> Rule:
    def rule(inputs: Inputs, hyper: Hyper) -> Tensor:
        if hyper["p"] % 2:
            raise Unsupported("ATLoss takes magnitudes; odd powers of the reference keep the sign")
        student, teacher = inputs["student"], inputs["teacher"]
        loss = ATLoss(
            power=hyper["p"], variant=variant, resize=student.shape[2:] != teacher.shape[2:]
        )
        return loss(student, teacher)

    return _over_layers(rule)


def _convolved(feature: Tensor, parts: dict[str, Tensor], *, relu: bool = False) -> Tensor:
    out_channels, in_channels = parts["conv.weight"].shape[:2]
    projector = ConvProjector(
        in_channels,
        out_channels,
        bias="conv.bias" in parts,
        norm="norm.weight" in parts,
        relu=relu,
    )
    return _called(projector, parts, feature)


def _called(projector: nn.Module, parts: dict[str, Tensor], feature: Tensor) -> Tensor:
    """Call a projector with the learned parts of the case in place of its own."""
    assert parts.keys() == dict(projector.named_parameters()).keys()
    return torch.func.functional_call(projector.to(feature.dtype).train(), parts, (feature,))


RULES: dict[tuple[str, str], Rule] = {
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
    ("tinybert_soft_ce", "author"): _tinybert_soft_ce,
    ("listwise_kl", "sentence-transformers"): _listwise_kl,
    ("seq_forward_kl", "distillkit"): _token_kd,
    ("seq_forward_kl", "distillm"): _token_ce,
    ("seq_forward_kl", "dskd"): _token_kl_sum,
    ("distilbert", "author-ce"): _distilbert,
    ("distilbert", "author-mse"): _distilbert,
    ("distilbert", "author-mlm"): _distilbert,
    ("distilbert", "author-cos"): _distilbert,
    ("fitnet_mse", "repdistiller"): _over_layers(_hint),
    ("fitnet_mse", "fasterai"): _over_layers(_hint),
    ("fitnet", "regressor1x1"): _over_layers(_fitnet),
    ("fitnet", "mdistiller"): _over_layers(_fitnet_mdistiller),
    ("feature_task", "timm"): _timm_feature_task,
    ("tensorlogic_feature", "rust"): _weighted_features,
    ("blog_hint", "author"): _blog_hint,
    ("at", "author"): _at("author"),
    ("at", "repdistiller"): _at("author"),
    ("at", "fasterai"): _at("author"),
    ("at", "paper"): _at("paper"),
}

# What cases say of their numbers without asking for anything: how the reference was run.
DESCRIBED = {"norm_eps", "batchnorm", "labels"}
# What a method states and its formula does not have.
IGNORED = {("deit_hard", "author"): {"temperature"}}

REASONS: dict[tuple[str, str], str] = {
    (
        "tensorlogic_kd",
        "rust",
    ): "its hard loss takes the log of a raw logit: a mistake, not offered",
    (
        "tfkd_reg",
        "author",
    ): "it softens probabilities as if they were logits: a mistake, not offered",
    ("tensorlogic_attention", "rust"): "it divides by row sums; ATLoss has maps of unit length",
    (
        "factor",
        "repdistiller",
    ): "it takes the absolute difference of attention maps; ATLoss squares",
    ("hidden_mse", "*"): "HintLoss has no mask of valid tokens",
    ("tinybert", "*"): "HintLoss has no mask of attention scores",
    ("logit_std_kd", "*"): "no loss standardises the logits yet",
}
