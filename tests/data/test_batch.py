import torch

from tutelage.data import Batch


def batch():
    return Batch(torch.zeros(2, 1, 3, 3), torch.tensor([0, 1]), torch.tensor([7, 9]))


def test_a_batch_unpacks_in_the_order_inputs_target_ids():
    inputs, target, ids = batch()
    assert inputs.shape == (2, 1, 3, 3)
    assert target.tolist() == [0, 1]
    assert ids.tolist() == [7, 9]


def test_a_batch_counts_its_samples():
    assert len(batch()) == 2


def test_to_moves_every_part():
    moved = batch().to("meta")
    assert {part.device.type for part in moved} == {"meta"}
