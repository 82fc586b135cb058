"""Cases of relations of samples."""

import torch
from torch import Tensor

from mapping.kit import Hyper, Inputs, Reasons, Rule, Rules, Unsupported, called
from tutelage.losses import CCLoss, CRDLoss, DarkRankLoss, ITRDLoss, PKTLoss, RKDLoss, SPLoss
from tutelage.projectors import LinearProjector


def _sp(inputs: Inputs, hyper: Hyper) -> Tensor:
    if "p" in hyper and hyper["p"] != 2:
        raise Unsupported("SPLoss has rows of length 1 in the Euclidean norm, as the paper has")
    return SPLoss()(inputs["student"], inputs["teacher"])


def _pkt(inputs: Inputs, hyper: Hyper) -> Tensor:
    return PKTLoss(eps=hyper["eps"])(inputs["student"], inputs["teacher"])


def _rkd_part(part: str) -> Rule:
    def rule(inputs: Inputs, hyper: Hyper) -> Tensor:
        weights = {"distance_weight": 0.0, "angle_weight": 0.0, f"{part}_weight": 1.0}
        loss = RKDLoss(**weights, delta=hyper["delta"])
        return loss(inputs["student"], inputs["teacher"])

    return rule


def _rkd(inputs: Inputs, hyper: Hyper) -> Tensor:
    options = {
        "distance_weight": "distance_weight",
        "angle_weight": "angle_weight",
        "normalize_inputs": "normalize",
        "delta": "delta",
    }
    loss = RKDLoss(**{ours: hyper[theirs] for theirs, ours in options.items() if theirs in hyper})
    return loss(inputs["student"], inputs["teacher"])


def _cc(kernel: str, variant: str) -> Rule:
    def rule(inputs: Inputs, hyper: Hyper) -> Tensor:
        options = {"gamma": "gamma", "taylor_order": "order", "kernel": "kernel"}
        stated = {ours: hyper[theirs] for theirs, ours in options.items() if theirs in hyper}
        # The embeddings of these cases are of length 1 as they come.
        loss = CCLoss(**{"kernel": kernel, "variant": variant, **stated}, normalize=False)
        return loss(inputs["student"], inputs["teacher"])

    return rule


def _dark_rank(inputs: Inputs, hyper: Hyper) -> Tensor:
    loss = DarkRankLoss(
        alpha=hyper["alpha"], beta=hyper["beta"], length=hyper["permute_len"], normalize=False
    )
    return loss(inputs["student"], inputs["teacher"])


def _embedded(inputs: Inputs) -> Tensor:
    weight, bias = inputs["embed_weight"], inputs["embed_bias"]
    projector = LinearProjector(weight.shape[1], weight.shape[0])
    return called(projector, {"linear.weight": weight, "linear.bias": bias}, inputs["student"])


def _itrd_corr(inputs: Inputs, hyper: Hyper) -> Tensor:
    if hyper["std"] != "unbiased":
        raise Unsupported("ITRDLoss has the unbiased standard deviation, as the released code")
    loss = ITRDLoss(correlation_weight=1, mutual_weight=0, alpha=hyper["alpha"])
    return loss(_embedded(inputs), inputs["teacher"])


def _itrd_mutual(inputs: Inputs, hyper: Hyper) -> Tensor:
    loss = ITRDLoss(correlation_weight=0, mutual_weight=1)
    return loss(_embedded(inputs), inputs["teacher"])


def _crd(inputs: Inputs, hyper: Hyper) -> Tensor:
    if hyper["eps"] != 1e-7:
        raise Unsupported("CRDLoss has the eps of the released code, 1e-7")
    loss = CRDLoss(
        samples=hyper["dataset_size"],
        negatives=hyper["negatives"],
        dim=len(inputs["embed_s_weight"]),
        temperature=hyper["temperature"],
        momentum=hyper["momentum"],
    )
    student, teacher = inputs["student"], inputs["teacher"]
    loss.size_for(student, teacher)
    z = torch.tensor([hyper["z_student"], hyper["z_teacher"]], dtype=student.dtype)
    state = {
        "embed_student.weight": inputs["embed_s_weight"],
        "embed_student.bias": inputs["embed_s_bias"],
        "embed_teacher.weight": inputs["embed_t_weight"],
        "embed_teacher.bias": inputs["embed_t_bias"],
        "bank_student.vectors": inputs["memory_student"].clone(),
        "bank_teacher.vectors": inputs["memory_teacher"].clone(),
        "log_z": z.log(),  # below 0 it is not set, which is a NaN in the loss too
    }
    arguments = (student, teacher, None, inputs["index"], inputs["contrast_index"])
    return torch.func.functional_call(loss, state, arguments)


RULES: Rules = {
    ("sp", "repdistiller"): _sp,
    ("sp", "fasterai"): _sp,
    ("pkt", "author"): _pkt,
    ("rkd_distance", "author"): _rkd_part("distance"),
    ("rkd_angle", "author"): _rkd_part("angle"),
    ("rkd", "repdistiller"): _rkd,
    ("rkd", "mmrazor-l2"): _rkd,
    ("cc", "paper-rbf"): _cc("rbf", "norm"),
    ("cc", "paper-bilinear"): _cc("bilinear", "norm"),
    ("cc", "paper-squared"): _cc("rbf", "paper"),
    ("dark_rank", "author"): _dark_rank,
    ("itrd_corr", "author"): _itrd_corr,
    ("itrd_mutual", "author"): _itrd_mutual,
    ("crd", "author"): _crd,
}

# The reference floors squared distances; ours are exact, and copies of a sample have no gradient.
IGNORED = {("rkd_distance", "author"): {"eps"}}

REASONS: Reasons = {
    ("cc", "repdistiller"): (
        "it multiplies the differences of adjacent samples, so the order of a batch changes it"
    ),
    ("sp", "torchdistill"): "it divides rows by their L1 norm, a mistake: the paper has L2",
}
