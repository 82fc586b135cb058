"""Cases of features, by channel and by position."""

from torch import Tensor, nn
from torch.nn import functional as F

from mapping.kit import Hyper, Inputs, Reasons, Rule, Rules, Unsupported, convolved, over_layers
from tutelage.losses import (
    ABLoss,
    ATLoss,
    CWDLoss,
    FSPLoss,
    ICKDLoss,
    LayersLoss,
    NSTLoss,
    OFDLoss,
)


def _listed(found: Tensor | list[Tensor]) -> list[Tensor]:
    return found if isinstance(found, list) else [found]


def _at(variant: str, power: str = "p") -> Rule:
    def rule(inputs: Inputs, hyper: Hyper) -> Tensor:
        student, teacher = inputs["student"], inputs["teacher"]
        loss = ATLoss(
            power=hyper[power],
            signed=hyper[power] % 2 == 1,  # the code of these variants takes no magnitude
            variant=variant,
            resize=student.shape[2:] != teacher.shape[2:],
        )
        return loss(student, teacher)

    return over_layers(rule)


def _l1_of_attention(inputs: Inputs, hyper: Hyper) -> Tensor:
    variant = {1: "l1", 2: "author"}[hyper["p2"]]
    return _at(variant, "p1")(inputs, hyper)


def _attention_rows(inputs: Inputs, hyper: Hyper) -> Tensor:
    # Each row is a map already: positions with a single channel.
    student, teacher = (inputs[role].unsqueeze(-1) for role in ("student", "teacher"))
    return ATLoss(power=hyper["beta"], norm="sum")(student, teacher)


def _layers(inputs: Inputs, hyper: Hyper) -> Tensor:
    loss = LayersLoss(weights=hyper["layer_weights"], power=hyper["p"])
    return loss(_listed(inputs["student"]), _listed(inputs["teacher"]))


def _ab_sum(inputs: Inputs, hyper: Hyper) -> Tensor:
    return _ab("author")(inputs, hyper) * len(inputs["student"])


def _ab(variant: str) -> Rule:
    def rule(inputs: Inputs, hyper: Hyper) -> Tensor:
        loss = ABLoss(margin=hyper["margin"], variant=variant)
        return loss(inputs["student"], inputs["teacher"])

    return rule


def _ab_script(inputs: Inputs, hyper: Hyper) -> Tensor:
    layers = list(zip(_listed(inputs["student"]), _listed(inputs["teacher"]), strict=True))
    loss = ABLoss(margin=hyper["margin"])
    terms = [2.0 ** (i - len(layers) + 1) * loss(*layer) for i, layer in enumerate(layers)]
    return 3 / 1000 * sum(terms)


def _nst(inputs: Inputs, hyper: Hyper) -> Tensor:
    if hyper["kernel"] != "polynomial":
        raise Unsupported("NSTLoss has the polynomial kernel, which the paper found the best")
    student, teacher = inputs["student"], inputs["teacher"]
    if student.shape[2:] != teacher.shape[2:]:  # that code pools the larger map
        size = tuple(map(min, student.shape[2:], teacher.shape[2:]))
        student, teacher = (F.adaptive_avg_pool2d(f, size) for f in (student, teacher))
    return NSTLoss(degree=hyper["degree"], offset=hyper["c"])(student, teacher)


def _cwd(inputs: Inputs, hyper: Hyper) -> Tensor:
    return CWDLoss(temperature=hyper["temperature"])(inputs["student"], inputs["teacher"])


def _fsp(variant: str, pool: str) -> Rule:
    return lambda inputs, hyper: FSPLoss(variant=variant, pool=pool)(
        inputs["student"], inputs["teacher"]
    )


def _ofd(inputs: Inputs, hyper: Hyper) -> Tensor:
    norm = nn.BatchNorm2d(len(inputs["gamma"])).to(inputs["gamma"].dtype)
    norm.load_state_dict({"weight": inputs["gamma"], "bias": inputs["beta"]}, strict=False)
    loss = OFDLoss()
    loss.borrow(norm)
    return loss(inputs["student"], inputs["teacher"])


def _ofd_sum(inputs: Inputs, hyper: Hyper) -> Tensor:
    return _ofd(inputs, hyper) * len(inputs["student"])


def _ickd(inputs: Inputs, hyper: Hyper) -> Tensor:
    parts = {
        "conv.weight": inputs["conv_weight"],
        "norm.weight": inputs["bn_weight"],
        "norm.bias": inputs["bn_bias"],
    }
    return ICKDLoss()(convolved(inputs["student"], parts), inputs["teacher"])


def _ickd_torchdistill(inputs: Inputs, hyper: Hyper) -> Tensor:
    return ICKDLoss()(inputs["student"], inputs["teacher"]) / len(inputs["student"])


RULES: Rules = {
    ("at", "author"): _at("author"),
    ("at", "repdistiller"): _at("author"),
    ("at", "fasterai"): _at("author"),
    ("at", "paper"): _at("paper"),
    ("factor", "repdistiller"): over_layers(_l1_of_attention),
    ("tensorlogic_attention", "rust"): _attention_rows,
    ("tensorlogic_feature", "rust"): _layers,
    ("ab", "author"): over_layers(_ab_sum),
    ("ab", "fasterai"): over_layers(_ab("mean")),
    ("ab", "repdistiller"): _ab_script,
    ("nst", "repdistiller"): over_layers(_nst),
    ("cwd", "author"): over_layers(_cwd),
    ("cwd", "mmrazor"): over_layers(_cwd),
    ("fsp", "repdistiller"): _fsp("mean", "average"),
    ("fsp", "torchdistill"): _fsp("columns", "max"),
    ("fsp", "paper"): _fsp("paper", "max"),
    ("ofd", "author"): over_layers(_ofd_sum),
    ("ofd", "mdistiller"): over_layers(_ofd),
    ("ickd", "author"): over_layers(_ickd),
    ("ickd", "torchdistill"): over_layers(_ickd_torchdistill),
}

REASONS: Reasons = {}
# The rule of the margin is what the loss does: it says so in words.
IGNORED = {("ofd", "author"): {"margin_rule"}, ("ofd", "mdistiller"): {"margin_rule"}}
