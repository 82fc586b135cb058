"""What a teacher says of its likeliest classes only: small enough to be kept on disk or sent."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Self

import torch
from jaxtyping import Float, Int
from torch import Tensor

from tutelage.errors import InputError

POLICIES = ("tail", "renormalise", "ignore")


@dataclass(frozen=True, eq=False)
class SparseLogits:
    r"""The k likeliest classes of each position, and their log-probabilities over *all* classes.

    Args:
        ids: Class indices ``[*B, k]``, each at most once in a row.
        log_probs: Their log-probabilities in nats, ``[*B, k]``, in any order.
        rest: Log of the probability of all other classes together, ``[*B]``; ``None`` takes it
            from what the kept ones lack of 1.
        log_totals: For further temperatures T the ``[*B]`` of
            :math:`\log \sum_c p_c^{g / T}` over *all* classes, with which the softened
            probabilities of the kept ones are exact at T as well.
        num_classes: How many classes there are, C.
        temperature: g above 0, that of the softmax which ``log_probs`` come from.
        policy: What losses take for the classes outside, unless they have an option of their own:
            ``"tail"``, ``"renormalise"`` or ``"ignore"``; see
            :func:`~tutelage.losses.logits.kept.kept_divergence`.
    """

    ids: Int[Tensor, "*B k"]
    log_probs: Float[Tensor, "*B k"]
    rest: Float[Tensor, "*B"] | None = None
    log_totals: Mapping[float, Float[Tensor, "*B"]] = field(default_factory=dict)
    num_classes: int = field(kw_only=True)
    temperature: float | Tensor = 1.0
    policy: str = "tail"

    @classmethod
    def from_logits(
        cls,
        logits: Float[Tensor, "*B C"],
        *,
        k: int,
        temperatures: Sequence[float] = (),
        temperature: float | Tensor = 1.0,
        policy: str = "tail",
    ) -> Self:
        """Keep the ``k`` likeliest classes of dense logits, or all of them if there are fewer.

        Args:
            logits: The classes are the last axis; no gradient reaches them.
            k: How many classes to keep.
            temperatures: Further temperatures at which the kept classes shall be exact.
            temperature: That of the softmax.
            policy: See the class.

        >>> teacher = SparseLogits.from_logits(torch.tensor([[0.0, 3.0, 1.0]]).log(), k=1)
        >>> teacher.ids, teacher.log_probs.exp()
        (tensor([[1]]), tensor([[0.7500]]))
        """
        logits = logits.detach()
        count = logits.shape[-1]
        highest, ids = logits.topk(min(k, count), -1)
        z = _widen(logits) / temperature
        total = z.logsumexp(-1, keepdim=True)
        log_totals = {t: ((z - total) * (temperature / t)).logsumexp(-1) for t in temperatures}
        log_probs = _widen(highest) / temperature - total
        return cls(
            ids,
            log_probs,
            log_totals=log_totals,
            num_classes=count,
            temperature=temperature,
            policy=policy,
        )

    @property
    def shape(self) -> torch.Size:
        """The shape of the dense logits that it stands for, ``[*B, C]``."""
        return torch.Size((*self.ids.shape[:-1], self.num_classes))

    @property
    def k(self) -> int:
        """How many classes of each position are kept."""
        return self.ids.shape[-1]

    @property
    def is_whole(self) -> bool:
        """Whether all classes are kept, so that nothing is outside."""
        return self.k >= self.num_classes

    @property
    def requires_grad(self) -> bool:
        """Whether a gradient would reach whoever made it."""
        return self.log_probs.requires_grad

    def softened(
        self, temperature: float | Tensor
    ) -> tuple[Float[Tensor, "*B k"], Float[Tensor, "*B"]]:
        """Return the log-probabilities of the kept classes at a temperature, and of the rest.

        Both are exact but for the rounding of what is stored. The rest is known to the dtype's
        epsilon where it follows from a sum.

        Raises:
            InputError: The mass of the other classes at this temperature is not known.

        >>> logits = torch.tensor([[4.0, 2.0, 0.0, 0.0]])
        >>> sparse = SparseLogits.from_logits(logits, k=2, temperatures=(2.0,))
        >>> log_probs, rest = sparse.softened(2.0)
        >>> torch.cat([log_probs.exp(), rest.exp()[:, None]], -1), (logits / 2).softmax(-1)
        (tensor([[0.6103, 0.2245, 0.1652]]), tensor([[0.6103, 0.2245, 0.0826, 0.0826]]))
        """
        if self.is_whole:
            whole = self.normalised(temperature)
            return whole, whole.new_full(whole.shape[:-1], -math.inf)
        log_probs = _widen(self.log_probs)
        if _is_same(temperature, self.temperature):
            rest = log_rest(log_probs) if self.rest is None else _widen(self.rest)
            return log_probs, rest
        log_probs = log_probs * (self.temperature / temperature) - self._total(temperature)
        return log_probs, log_rest(log_probs)

    def normalised(self, temperature: float | Tensor) -> Float[Tensor, "*B k"]:
        """Return the log-probabilities of the kept classes as if there were no others.

        They are known at every temperature.
        """
        if _is_same(temperature, self.temperature):
            return _widen(self.log_probs).log_softmax(-1)
        return (_widen(self.log_probs) * (self.temperature / temperature)).log_softmax(-1)

    def detach(self) -> Self:
        """Return the same, apart from any graph."""
        return self.map(Tensor.detach)

    def to(self, device: torch.device | str, *, non_blocking: bool = False) -> Self:
        """Return the same on another device."""
        return self.map(lambda tensor: tensor.to(device, non_blocking=non_blocking))

    def positions(self, stop: int) -> Self:
        """Return the tokens before ``stop`` of each sequence ``[B, N, k]``."""
        return self.map(lambda tensor: tensor[:, :stop])

    def rows(self, order: Int[Tensor, "b"]) -> Self:
        """Return the chosen samples, in that order."""
        return self.map(lambda tensor: tensor.index_select(0, order.to(tensor.device)))

    def map(self, function: Callable[[Tensor], Tensor]) -> Self:
        """Return the same with ``function(tensor)`` in place of each of its tensors."""
        return replace(
            self,
            ids=function(self.ids),
            log_probs=function(self.log_probs),
            rest=None if self.rest is None else function(self.rest),
            log_totals={t: function(total) for t, total in self.log_totals.items()},
        )

    def __repr__(self) -> str:
        known = ", ".join(f"{t:g}" for t in self.log_totals)
        return (
            f"SparseLogits({self.k} of {self.num_classes} classes, shape {list(self.shape)}, "
            f"temperature={self.temperature}, further temperatures: {known or 'none'}, "
            f"policy={self.policy!r})"
        )

    def _total(self, temperature: float | Tensor) -> Tensor:
        for known, total in self.log_totals.items():
            if _is_same(temperature, known):
                return _widen(total).unsqueeze(-1)
        found = ", ".join(f"{float(t):g}" for t in (self.temperature, *self.log_totals))
        raise InputError(
            f"teacher's logits: expected all classes, or the top {self.k} of {self.num_classes} "
            f"with their total at temperature {float(temperature):g}, found totals at {found} "
            f"only; build it with that temperature too (tutelage cache build --temperatures "
            f"{float(temperature):g}), or train at one that is there"
        )


def log_rest(log_probs: Float[Tensor, "*B k"]) -> Float[Tensor, "*B"]:
    """Return the log of what the probabilities lack of 1, at least the dtype's epsilon.

    >>> log_rest(torch.tensor([[0.5, 0.25]]).log()).exp()
    tensor([0.2500])
    """
    total = log_probs.logsumexp(-1)
    return (-torch.expm1(total.clamp(max=-torch.finfo(total.dtype).eps))).log()


def _widen(tensor: Tensor) -> Tensor:
    return tensor.float() if tensor.dtype in (torch.float16, torch.bfloat16) else tensor


def _is_same(one: float | Tensor, other: float | Tensor) -> bool:
    """Whether both are one temperature; a tensor is asked only if it is not the same object."""
    return one is other or math.isclose(float(one), float(other), rel_tol=1e-6)
