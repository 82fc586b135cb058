"""What a term has learnt in one stage goes on to its like in the next."""

from collections.abc import Iterable, Iterator

from torch import Tensor, nn

from tutelage.losses import Loss
from tutelage.objective import Objective, Term

_PARTS = ("loss", "via", "normalize")


def follow(earlier: Objective, terms: Iterable[Term]) -> None:
    """Let losses take over what they need before their first batch, as a trained paraphraser.

    Args:
        earlier: The objective of the stage before.
        terms: The terms of the next stage, in no objective yet.
    """
    for old, new in _alike(earlier, terms):
        if isinstance(old.loss, Loss) and isinstance(new.loss, Loss):
            new.loss.follow(old.loss)


def hand_on(earlier: Objective, later: Objective) -> None:
    """Copy the state of each part of a term into the same part of its like.

    Terms are alike that have one name and one kind of loss; their parts, if they are of one kind
    and their tensors of one shape.

    Args:
        earlier: The objective of the stage before, as it was trained.
        later: That of the next stage, sized; all that has no like in the other stays new.
    """
    for old, new in _alike(earlier, later):
        for part in _PARTS:
            mine, other = getattr(new, part), getattr(old, part)
            if _is_same_kind(mine, other):
                mine.load_state_dict(other.state_dict())


def _alike(earlier: Objective, terms: Iterable[Term]) -> Iterator[tuple[Term, Term]]:
    known = {term.name: term for term in earlier}
    for term in terms:
        old = known.get(term.name)
        if old is not None and type(old.loss) is type(term.loss):
            yield old, term


def _is_same_kind(mine: object, other: object) -> bool:
    if not isinstance(mine, nn.Module) or type(mine) is not type(other):
        return False
    assert isinstance(other, nn.Module)
    return _shapes(mine) == _shapes(other)


def _shapes(part: nn.Module) -> dict[str, object]:
    state = part.state_dict().items()
    return {name: t.shape if isinstance(t, Tensor) else type(t) for name, t in state}
