"""Co-distillation of two sub-networks (Touvron et al., Co-training 2^L submodels, 2212.04884)."""

from collections.abc import Sequence

from jaxtyping import Float
from torch import Tensor

from tutelage import _check
from tutelage.errors import ShapeError
from tutelage.losses import BCEKDLoss, BCELoss, Loss

Logits = Float[Tensor, "B C"]


class CosubLoss(Loss):
    r"""Two sub-networks of one student learn the labels, and each what the other says.

    Stochastic depth draws another part of the network for each sample. The batch goes through
    the student twice, and with logits a and b of the two passes

    .. math:: \tfrac14 \big[ \ell(a, y) + \ell(b, y) + d(a, b) + d(b, a) \big]

    where the second argument of d is a constant. With the defaults these are the four binary
    cross-entropies of the authors' code.

    It stands in a term for both passes at once, so that a teacher may stand beside it:
    ``Term(CosubLoss(), at=[("first", None), ("second", None)])`` with a
    :class:`~tutelage.models.Submodels` as the student. In DeiT's engine it is the base criterion
    of :class:`DistillationLoss`.

    Args:
        task: The loss :math:`\ell` with the labels.
        between: The divergence d of one sub-network from the other. For a cross-entropy with
            the labels it is ``KDLoss(temperature=1.0, variant="cross-entropy")``.

    >>> import torch
    >>> undecided = [torch.zeros(2, 3), torch.zeros(2, 3)]
    >>> CosubLoss()(undecided, None, torch.tensor([0, 2]))  # log 2
    tensor(0.6931)
    """

    name = "cosub"
    paper = "2212.04884"
    needs_teacher = False
    needs_target = True
    takes_layers = True

    def __init__(self, task: Loss | None = None, between: Loss | None = None) -> None:
        super().__init__()
        self.task = BCELoss() if task is None else task
        self.between = BCEKDLoss(probabilities="sigmoid") if between is None else between

    def forward(
        self, student: Sequence[Logits], teacher: object = None, target: Tensor | None = None
    ) -> Tensor:
        """Return the mean of the four losses.

        Args:
            student: The logits of both passes over the same samples.
            teacher: Not used.
            target: The labels, as ``task`` takes them.

        Raises:
            ShapeError: There are not two, or they differ in shape.
        """
        if len(student) != 2:
            raise ShapeError(
                f"CosubLoss: expected the logits of two passes, found {len(student)}; give "
                'at=[("first", None), ("second", None)] and a Submodels student'
            )
        a, b = student
        _check.same_shape(a, b, where="CosubLoss", hint="both passes see the same batch")
        task = self.task(a, None, target) + self.task(b, None, target)
        between = self.between(a, b.detach(), target) + self.between(b, a.detach(), target)
        mean: Tensor = (task + between) / 4
        return mean
