"""Cases of relations of samples."""

from torch import Tensor

from mapping.kit import Hyper, Inputs, Reasons, Rule, Rules, Unsupported
from tutelage.losses import PKTLoss, RKDLoss, SPLoss


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


RULES: Rules = {
    ("sp", "repdistiller"): _sp,
    ("sp", "fasterai"): _sp,
    ("pkt", "author"): _pkt,
    ("rkd_distance", "author"): _rkd_part("distance"),
    ("rkd_angle", "author"): _rkd_part("angle"),
    ("rkd", "repdistiller"): _rkd,
    ("rkd", "mmrazor-l2"): _rkd,
}

# The reference floors squared distances; ours are exact, and copies of a sample have no gradient.
IGNORED = {("rkd_distance", "author"): {"eps"}}

REASONS: Reasons = {
    ("sp", "torchdistill"): "it divides rows by their L1 norm, a mistake: the paper has L2",
}
