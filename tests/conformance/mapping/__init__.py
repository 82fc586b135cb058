"""From the method and variant of a golden case to the classes of this package that compute it.

A new loss adds its lines to the ``RULES`` of its family. What is known but not computed stands in
``REASONS``; what stands in neither is unknown. A rule takes the inputs by role and the
hyper-parameters of the case and returns the scalar. It may weigh, sum and project, as a user would
with Terms; it may not compute a method that the package does not have.
"""

from typing import Any

from torch import Tensor

from mapping import divergences, features, logits, maps, relations, tokens
from mapping.kit import Hyper, Inputs, Reasons, Rules
from mapping.kit import Unsupported as Unsupported
from tutelage.errors import InputError

_FAMILIES = (logits, divergences, features, maps, relations, tokens)
RULES: Rules = {key: rule for family in _FAMILIES for key, rule in family.RULES.items()}
REASONS: Reasons = {key: why for family in _FAMILIES for key, why in family.REASONS.items()}
# What a method states and its formula does not have.
IGNORED: dict[tuple[str, str], set[str]] = {
    key: names for family in _FAMILIES for key, names in getattr(family, "IGNORED", {}).items()
}
# What cases say of their numbers without asking for anything: how the reference was run.
DESCRIBED = {"norm_eps", "batchnorm", "labels"}


def evaluate(method: str, variant: str, inputs: Inputs, hyper: Hyper) -> Tensor:
    """Return the scalar of a case.

    Raises:
        Unsupported: No rule computes it, or it states a hyper-parameter that its rule ignores or
            its class refuses.
    """
    if (rule := RULES.get((method, variant))) is None:
        raise Unsupported(
            REASONS.get((method, variant)) or REASONS.get((method, "*")) or "no rule for it"
        )
    known = _Known(hyper)
    try:
        value = rule(inputs, known)
    except InputError as error:  # a number that the class refuses, with the reason
        raise Unsupported(str(error)) from error
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
