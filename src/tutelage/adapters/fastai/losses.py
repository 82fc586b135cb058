"""fasterai's eight losses by their names there: each returns the loss of this package.

Its constants are kept, and where its values are right these are its values. ``SoftTarget``,
``SoftTarget()`` and ``functools.partial(SoftTarget, T=4)`` all serve as the ``loss`` of the
callback. Of several pairs of layers the sum is taken, as there.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

from tutelage.errors import InputError
from tutelage.losses import (
    ABLoss,
    ATLoss,
    DKDLoss,
    HintLoss,
    KDLoss,
    LogitMSELoss,
    Loss,
    NKDLoss,
    SPLoss,
)
from tutelage.losses.base import Schedule


def SoftTarget(T: float | Schedule = 5.0) -> KDLoss:
    """Return :class:`~tutelage.losses.KDLoss`: ``T^2 * KL(teacher || student)`` (1503.02531).

    Args:
        T: The temperature, above 0, or a schedule of it.

    >>> SoftTarget(T=4)
    KDLoss(temperature=4.0, variant='paper', ignore_index=-100)
    """
    return KDLoss(temperature=T)


def Logits() -> LogitMSELoss:
    """Return :class:`~tutelage.losses.LogitMSELoss`: the mean squared difference of the logits."""
    return LogitMSELoss()


def Mutual() -> KDLoss:
    """Return :class:`~tutelage.losses.KDLoss` at temperature 1.

    The name is that of deep mutual learning (1706.00384), whose teacher learns as well; here, as
    in fasterai, it stands still.
    """
    return KDLoss(temperature=1.0)


def DecoupledKD(
    T: float | Schedule | None = None,
    alpha: float = 1.0,
    beta: float | None = None,
    normalize: bool = False,
) -> Loss:
    """Return :class:`~tutelage.losses.DKDLoss` (2203.08679).

    fasterai takes the student's probabilities of the true class and of the rest to be at least
    1e-7, where its loss stops teaching; here they are not bounded, which is the paper's loss and
    the same value above that.

    Args:
        T: The temperature, above 0, or a schedule of it. Default: 4, and 1 with ``normalize``.
        alpha: Weight of the true class against the rest; 1 with ``normalize``.
        beta: Weight among the other classes. Default: 8, and 1.5 with ``normalize``.
        normalize: Whether to return :class:`~tutelage.losses.NKDLoss` (2303.13005), with ``beta``
            as its gamma. In fasterai the flag announces that method and changes no value: a
            softmax without the true class is what DKD has already.

    Raises:
        InputError: ``alpha`` is not 1 with ``normalize``.
    """
    if not normalize:
        return DKDLoss(
            temperature=4.0 if T is None else T, alpha=alpha, beta=8.0 if beta is None else beta
        )
    if alpha != 1:
        raise InputError(
            f"DecoupledKD: expected alpha=1 with normalize=True, as NKD gives the true class the "
            f"weight 1, found {alpha}; set beta, or the weight of the callback"
        )
    return NKDLoss(temperature=1.0 if T is None else T, gamma=1.5 if beta is None else beta)


def Attention(p: float = 2) -> ATLoss:
    """Return :class:`~tutelage.losses.ATLoss`: distance of the attention maps (1612.03928).

    It takes magnitudes, as the paper does: for odd ``p`` fasterai lets channels of opposite sign
    cancel. Tokens ``[B, N, D]`` work as well as maps.

    Args:
        p: The power of the magnitudes, at least 1.
    """
    return ATLoss(power=p)


def FitNet() -> HintLoss:
    """Return :class:`~tutelage.losses.HintLoss`: mean squared difference of features (1412.6550).

    Shapes must be equal: give the callback ``projector="auto"`` where they are not.
    """
    return HintLoss()


def ActivationBoundaries(m: float = 2.0) -> ABLoss:
    """Return :class:`~tutelage.losses.ABLoss`, mean over the features (1811.03233).

    It reads pre-activations: name layers before their ReLU.

    Args:
        m: The margin, above 0; the paper uses 1.
    """
    return ABLoss(margin=m, variant="mean")


def Similarity(p: int = 2) -> SPLoss:
    """Return :class:`~tutelage.losses.SPLoss`: similarities within a batch (1907.09682).

    Under distributed training it compares the samples of all processes.

    Args:
        p: The norm of the rows, which is 2 in the paper.

    Raises:
        InputError: ``p`` is not 2.
    """
    if p != 2:
        raise InputError(
            f"Similarity: expected p=2, the norm of the paper, found {p}; leave p out, or give a "
            "function of your own"
        )
    return SPLoss()


_NAMED = (
    SoftTarget,
    Logits,
    Mutual,
    DecoupledKD,
    Attention,
    FitNet,
    ActivationBoundaries,
    Similarity,
)


def made(loss: Any) -> Any:
    """Return the loss that a name of this file makes, and anything else as it is.

    >>> made(partial(SoftTarget, T=3.0)).temperature
    3.0
    """
    function: Callable[..., Any] = loss.func if isinstance(loss, partial) else loss
    return loss() if function in _NAMED else loss
