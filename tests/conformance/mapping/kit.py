"""What the tables share: the shape of a rule, and how learned parts of a case are put to use."""

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tutelage.losses import CELoss
from tutelage.projectors import ConvProjector

Inputs = Mapping[str, Any]  # role -> Tensor, or a list of them (layers)
Hyper = Mapping[str, Any]
Rule = Callable[[Inputs, Hyper], Tensor]
Rules = dict[tuple[str, str], Rule]  # by method and variant
Reasons = dict[tuple[str, str], str]  # the variant "*" stands for all others


class Unsupported(Exception):
    """A case that nothing in this package computes; the message says why."""


def over_layers(rule: Rule) -> Rule:
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


def ce(inputs: Inputs, student: str = "student") -> Tensor:
    """Return the plain cross-entropy with the labels of the case."""
    return CELoss()(inputs[student], None, inputs["target"])


def scores(inputs: Inputs, hyper: Hyper) -> Tensor:
    """Return what a ranking model says of each query's documents, the positive first."""
    negatives = [role for role in inputs if role.startswith("negative")]
    ordered = sorted(negatives, key=lambda role: int(role.removeprefix("negative") or 1))
    query, documents = inputs["query"], [inputs[role] for role in ("positive", *ordered)]
    if hyper["similarity"] == "cos":
        query, *documents = (F.normalize(vectors, dim=-1) for vectors in (query, *documents))
    elif hyper["similarity"] != "dot":
        raise Unsupported(f"no rule for the similarity {hyper['similarity']!r}")
    return torch.stack([(query * document).sum(-1) for document in documents], -1)


def convolved(feature: Tensor, parts: dict[str, Tensor], *, relu: bool = False) -> Tensor:
    out_channels, in_channels = parts["conv.weight"].shape[:2]
    projector = ConvProjector(
        in_channels,
        out_channels,
        bias="conv.bias" in parts,
        norm="norm.weight" in parts,
        relu=relu,
    )
    return called(projector, parts, feature)


def called(projector: nn.Module, parts: dict[str, Tensor], feature: Any, *more: Any) -> Any:
    """Call a projector with the learned parts of the case in place of its own."""
    dtype = (feature[0] if isinstance(feature, list) else feature).dtype
    assert parts.keys() == dict(projector.named_parameters()).keys()
    return torch.func.functional_call(projector.to(dtype).train(), parts, (feature, *more))
