"""Cases of features."""

import torch
from torch import Tensor

from mapping.kit import (
    Hyper,
    Inputs,
    Reasons,
    Rule,
    Rules,
    Unsupported,
    called,
    ce,
    convolved,
    over_layers,
)
from tutelage.losses import (
    FTLoss,
    HintLoss,
    KDLoss,
    MGDLoss,
    PooledFeatureLoss,
    ReviewKDLoss,
    SimKDLoss,
    VIDLoss,
)
from tutelage.losses.features.hint import feature_distance
from tutelage.losses.features.paraphraser import Paraphraser
from tutelage.losses.features.srrl import feature_matching, softmax_regression
from tutelage.projectors import (
    BottleneckProjector,
    LinearProjector,
    MaskedGeneration,
    MLPConvProjector,
    ReviewFusion,
    TranslatorProjector,
)


def _hint(inputs: Inputs, hyper: Hyper) -> Tensor:
    return HintLoss()(inputs["student"], inputs["teacher"])


def _fitnet(inputs: Inputs, hyper: Hyper) -> Tensor:
    parts = {"conv.weight": inputs["weight"]}
    if "bias" in inputs:
        parts["conv.bias"] = inputs["bias"]
    return HintLoss()(convolved(inputs["student"], parts), inputs["teacher"])


def _fitnet_mdistiller(inputs: Inputs, hyper: Hyper) -> Tensor:
    parts = {
        "conv.weight": inputs["conv_weight"],
        "conv.bias": inputs["conv_bias"],
        "norm.weight": inputs["bn_weight"],
        "norm.bias": inputs["bn_bias"],
    }
    return HintLoss()(convolved(inputs["student"], parts, relu=True), inputs["teacher"])


def _blog_hint(inputs: Inputs, hyper: Hyper) -> Tensor:
    # Its projector sits on the teacher's side and is trained there, so the equation of the hint
    # is used, which is symmetric, and not HintLoss, which stops the gradient at the teacher.
    parts = {"conv.weight": inputs["conv_weight"], "conv.bias": inputs["conv_bias"]}
    projected = convolved(inputs["teacher_feature"], parts)
    hint = feature_distance(inputs["student_feature"], projected).mean()
    kd = KDLoss(temperature=hyper["temperature"])(inputs["student"], inputs["teacher"])
    alpha = hyper["alpha"]
    return alpha * kd + (1 - alpha) * ce(inputs) + hyper["beta"] * hint


def _timm_feature_task(inputs: Inputs, hyper: Hyper) -> Tensor:
    weight = inputs["proj_weight"]
    parts = {"linear.weight": weight}
    if "proj_bias" in inputs:
        parts["linear.bias"] = inputs["proj_bias"]
    projector = LinearProjector(
        weight.shape[1], weight.shape[0], bias="proj_bias" in inputs, pool=True
    )
    feature = PooledFeatureLoss()(called(projector, parts, inputs["student"]), inputs["teacher"])
    return hyper["distill_weight"] * feature + hyper["task_weight"] * ce(inputs, "student_logits")


def _vid(inputs: Inputs, hyper: Hyper) -> Tensor:
    parts = {f"conv{i}.weight": inputs[f"conv{i}"] for i in (1, 2, 3)}
    hidden, in_channels = inputs["conv1"].shape[:2]
    channels = len(inputs["log_scale"])
    projector = MLPConvProjector(in_channels, channels, hidden_channels=hidden)
    student = called(projector, parts, inputs["student"])
    loss = VIDLoss(channels=channels, eps=hyper["eps"])
    learned = {"log_scale": inputs["log_scale"]}
    return torch.func.functional_call(loss, learned, (student, inputs["teacher"]))


def _ft(inputs: Inputs, hyper: Hyper) -> Tensor:
    slope = hyper["leaky_slope"]
    factor_channels, channels = inputs["p_conv1_weight"].shape[:2]
    paraphraser = Paraphraser(channels, rate=factor_channels / channels, slope=slope)
    paraphraser.to(inputs["teacher"].dtype).load_state_dict(_convs(inputs, "p"), strict=False)
    student = inputs["student"]
    translator = TranslatorProjector(student.shape[1], factor_channels, slope=slope)
    factor = called(translator, _convs(inputs, "t"), student)
    return FTLoss(paraphraser=paraphraser)(factor, inputs["teacher"])


def _convs(inputs: Inputs, who: str) -> dict[str, Tensor]:
    kinds = ("weight", "bias")
    return {f"conv{i + 1}.{k}": inputs[f"{who}_conv{i}_{k}"] for i in range(3) for k in kinds}


def _srrl(inputs: Inputs, hyper: Hyper) -> Tensor:
    # The functions, since the case states the teacher's logits apart from its features.
    parts = {
        "conv.weight": inputs["conv_weight"],
        "norm.weight": inputs["bn_weight"],
        "norm.bias": inputs["bn_bias"],
    }
    student = convolved(inputs["student"], parts, relu=True)
    matching = feature_matching(student, inputs["teacher"]).mean()
    head = inputs["cls_weight"], inputs["cls_bias"]
    regression = softmax_regression(student, inputs["teacher_logits"], *head).mean()
    return matching + hyper["weight"] * regression


def _simkd(inputs: Inputs, hyper: Hyper) -> Tensor:
    student, teacher = inputs["student"], inputs["teacher"]
    projector = BottleneckProjector.between(student, teacher, factor=hyper["factor"])
    parts = {f"conv{i}.weight": inputs[f"conv{i}"] for i in (1, 2, 3)}
    parts |= {
        f"norm{i}.{kind}": inputs[f"bn{i}_{kind}"] for i in (1, 2, 3) for kind in ("weight", "bias")
    }
    return SimKDLoss()(called(projector, parts, student), teacher)


def _reviewkd_hcl(inputs: Inputs, hyper: Hyper) -> Tensor:
    return ReviewKDLoss()(inputs["student"], inputs["teacher"])


def _reviewkd(inputs: Inputs, hyper: Hyper) -> Tensor:
    if hyper["upsample"] != "nearest":
        raise Unsupported("ReviewFusion resizes by copying the nearest pixel only")
    student, teacher = inputs["student"], inputs["teacher"]
    names = {"conv1": "conv1", "bn1": "norm1", "conv2": "conv2", "bn2": "norm2", "att": "gates"}
    parts = {
        f"stages.{i}.{names[part]}.{kind}": inputs[f"{part}_{kind}_{i}"]
        for i in range(len(student))
        for part in names
        for kind in ("weight", "bias")
        if f"{part}_{kind}_{i}" in inputs
    }
    fusion = ReviewFusion.between(student, teacher, hidden_channels=hyper["mid_channels"])
    return ReviewKDLoss()(called(fusion, parts, student), teacher)


def _mgd(over: str) -> Rule:
    def rule(inputs: Inputs, hyper: Hyper) -> Tensor:
        names = {"align": "align", "gen1": "conv1", "gen2": "conv2"}
        parts = {
            f"{name}.{kind}": inputs[f"{part}_{kind}"]
            for part, name in names.items()
            for kind in ("weight", "bias")
            if f"{part}_{kind}" in inputs
        }
        student, teacher = inputs["student"], inputs["teacher"]
        projector = MaskedGeneration.between(
            student, teacher, over=over, ratio=hyper["mask_ratio"], align="align.weight" in parts
        )
        generated = called(projector, parts, student, inputs["mask"])
        return hyper["weight"] * MGDLoss()(generated, teacher)

    return rule


RULES: Rules = {
    ("fitnet_mse", "repdistiller"): over_layers(_hint),
    ("fitnet_mse", "fasterai"): over_layers(_hint),
    ("fitnet", "regressor1x1"): over_layers(_fitnet),
    ("fitnet", "mdistiller"): over_layers(_fitnet_mdistiller),
    ("feature_task", "timm"): _timm_feature_task,
    ("blog_hint", "author"): _blog_hint,
    ("vid", "repdistiller"): over_layers(_vid),
    ("factor", "author"): over_layers(_ft),
    ("srrl", "author"): _srrl,
    ("simkd", "author"): over_layers(_simkd),
    ("reviewkd_hcl", "author"): _reviewkd_hcl,
    ("reviewkd", "author"): _reviewkd,
    ("mgd", "author-spatial"): _mgd("pixels"),
    ("mgd", "author-channel"): _mgd("channels"),
}

REASONS: Reasons = {}
