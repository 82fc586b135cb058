"""What every loss leaves alone, and how it travels."""

import copy
import pickle

import torch
from records.cases import Case, call, obeys


@obeys("state")
def test_it_changes_neither_its_inputs_nor_in_eval_mode_itself(case: Case) -> None:
    batch = case.batch()
    for mode in (True, False):
        loss = case.loss(batch).train(mode)
        before = copy.deepcopy(batch), _state(loss)
        first, second = call(loss, batch), call(loss, batch)
        torch.testing.assert_close(batch, before[0], rtol=0, atol=0)
        if not mode:
            assert first == second
            torch.testing.assert_close(_state(loss), before[1], rtol=0, atol=0)


def _state(loss: torch.nn.Module) -> dict[str, torch.Tensor]:
    """Return what it keeps, the buffers that are not saved too."""
    kept = {**dict(loss.named_parameters()), **dict(loss.named_buffers())}
    return {name: tensor.detach().clone() for name, tensor in kept.items()}


@obeys("pickling")
def test_it_survives_pickling_and_copying(case: Case) -> None:
    batch = case.batch()
    loss = case.loss(batch).eval()
    for twin in (pickle.loads(pickle.dumps(loss)), copy.deepcopy(loss)):
        assert repr(twin) == repr(loss)
        assert call(twin, batch) == call(loss, batch)


@obeys("pickling")
def test_its_state_loads_into_a_new_one(case: Case) -> None:
    batch = case.batch()
    loss, other = case.loss(batch).eval(), case.loss(batch).eval()
    for parameter in loss.parameters():
        torch.nn.init.uniform_(parameter, 0.5, 1.0)
    other.load_state_dict(loss.state_dict())
    assert call(other, batch) == call(loss, batch)
