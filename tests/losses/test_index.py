"""The index of losses, and how other packages add theirs."""

from importlib.metadata import EntryPoint

import pytest

from tutelage import losses
from tutelage.errors import InputError


class OtherLoss(losses.Loss):
    name = "other"


class TakenLoss(losses.Loss):
    name = "kd"


NOT_A_LOSS = 1


def plug_in(monkeypatch, name):
    def entry_points(*, group):
        assert group == "tutelage.losses"
        entry = EntryPoint("theirs", f"their.package:{name}", group)
        monkeypatch.setattr(EntryPoint, "load", lambda self: globals()[name])
        return [entry]

    monkeypatch.setattr(losses, "entry_points", entry_points)


def test_every_public_loss_is_in_the_index_under_its_name():
    public = {name for name in losses.__all__ if name.endswith("Loss")}
    # A loss of losses cannot be built from its name alone.
    assert {loss.__name__ for loss in losses.index().values()} == public - {"Loss", "TokenLoss"}
    assert all(name == loss.name for name, loss in losses.index().items())


def test_a_package_adds_its_loss(monkeypatch):
    plug_in(monkeypatch, "OtherLoss")
    assert losses.index()["other"] is OtherLoss


def test_a_package_cannot_replace_a_loss(monkeypatch):
    plug_in(monkeypatch, "TakenLoss")
    with pytest.raises(InputError, match=r"expected a new name, found 'kd'.*rename that loss"):
        losses.index()


def test_a_package_cannot_add_what_is_no_loss(monkeypatch):
    plug_in(monkeypatch, "NOT_A_LOSS")
    with pytest.raises(InputError, match=r"their.package:NOT_A_LOSS: expected a subclass of"):
        losses.index()
