"""Contrastive distillation, against a loop over Python floats; what its state keeps."""

import copy
import math

import pytest
import torch

from tutelage.errors import DataError, InputError, ShapeError
from tutelage.losses import CRDLoss
from tutelage.losses.relations import crd
from tutelage.losses.relations.bank import draw
from tutelage.losses.relations.crd import noise_contrast

SAMPLES, NEGATIVES = 20, 6
IDS = torch.tensor([7, 0, 19, 4])


def build(**options):
    torch.manual_seed(0)
    loss = CRDLoss(**{"samples": SAMPLES, "negatives": NEGATIVES, "dim": 3, **options})
    loss.size_for(torch.zeros(1, 4), torch.zeros(1, 5))
    return loss.double()


def batch(seed=1):
    torch.manual_seed(seed)
    return (
        torch.randn(4, 4, dtype=torch.float64, requires_grad=True),
        torch.randn(4, 5, dtype=torch.float64),
    )


def embedded(feature, layer):
    rows = []
    for x in feature.tolist():
        y = [
            sum(w * a for w, a in zip(weight, x, strict=True)) + bias
            for weight, bias in zip(layer.weight.tolist(), layer.bias.tolist(), strict=True)
        ]
        rows.append([a / math.hypot(*y) for a in y])
    return rows


def dot(x, y):
    return sum(a * b for a, b in zip(x, y, strict=True))


def reference(vectors, bank, index, temperature, z=None):
    """One direction: the mean over samples, and Z."""
    e = [[math.exp(dot(v, bank[j]) / temperature) for j in row]
         for v, row in zip(vectors, index, strict=True)]  # fmt: skip
    z = z or sum(map(sum, e)) / sum(map(len, e)) * len(bank)
    total, c = 0.0, (len(index[0]) - 1) / len(bank)
    for row in e:
        own, *drawn = (x / z for x in row)
        total -= math.log(own / (own + c + 1e-7))
        total -= sum(math.log(c / (p + c + 1e-7)) for p in drawn)
    return total / len(e), z


def test_two_steps_equal_the_reference_with_z_of_the_first_and_banks_that_moved():
    loss = build()
    torch.manual_seed(3)
    index = torch.cat([IDS[:, None], torch.randint(SAMPLES, (4, NEGATIVES))], 1)
    banks = [loss.bank_student.vectors.tolist(), loss.bank_teacher.vectors.tolist()]
    z = [None, None]
    for seed in (1, 2):
        student, teacher = batch(seed)
        v = [embedded(student, loss.embed_student), embedded(teacher, loss.embed_teacher)]
        value = loss(student, teacher, None, IDS, index)
        by_student, z[0] = reference(v[0], banks[1], index.tolist(), 0.07, z[0])
        by_teacher, z[1] = reference(v[1], banks[0], index.tolist(), 0.07, z[1])
        torch.testing.assert_close(value.item(), by_student + by_teacher)
        for bank, rows in zip(banks, v, strict=True):
            for i, row in zip(IDS.tolist(), rows, strict=True):
                mixed = [0.5 * old + 0.5 * new for old, new in zip(bank[i], row, strict=True)]
                bank[i] = [x / math.hypot(*mixed) for x in mixed]
        torch.testing.assert_close(loss.bank_student.vectors.tolist(), banks[0])
        torch.testing.assert_close(loss.bank_teacher.vectors.tolist(), banks[1])
        torch.testing.assert_close(loss.log_z.exp().tolist(), z)


def test_a_known_number():
    # p = c / 3 for its own and 3 c for one drawn vector: -log 1/4 and -log 1/4.
    log_ratio = torch.tensor([[0.5 / 3, 1.5]]).log()
    found = noise_contrast(log_ratio, noise=0.5, eps=0.0)
    torch.testing.assert_close(found, torch.tensor([2 * math.log(4)]))


def test_the_contrast_is_a_logistic_regression():
    x = torch.randn(3, 5, dtype=torch.float64)
    labels = torch.zeros_like(x).index_fill(1, torch.tensor([0]), 1.0)
    entropy = torch.nn.functional.binary_cross_entropy_with_logits(x, labels, reduction="none")
    found = noise_contrast(x + math.log(0.3), noise=0.3, eps=0.0)
    torch.testing.assert_close(found, entropy.sum(1))


def test_gradients_are_those_of_the_value():
    loss = build()
    loss(*batch(), None, IDS)
    loss.eval()
    student, teacher = batch(2)
    weights = tuple(loss.parameters())
    assert torch.autograd.gradcheck(
        lambda student, *_: loss(student, teacher, None, IDS), (student, *weights)
    )


def test_chunks_change_nothing(monkeypatch):
    whole = build()(*batch(), None, IDS)
    monkeypatch.setattr(crd, "CHUNK", 3 * SAMPLES)
    torch.testing.assert_close(build()(*batch(), None, IDS), whole)


def test_nothing_moves_in_eval_mode_or_without_gradients():
    loss = build()
    before = copy.deepcopy(loss.state_dict())
    with torch.no_grad():
        loss(*batch(), None, IDS)
    loss.eval()(*batch(), None, IDS)
    torch.testing.assert_close(dict(loss.state_dict()), dict(before))
    loss.train()(*batch(), None, IDS)
    moved = {name for name, old in before.items() if not loss.state_dict()[name].equal(old)}
    assert moved == {"bank_student.vectors", "bank_teacher.vectors", "log_z", "turn"}
    rows = loss.bank_student.vectors.ne(before["bank_student.vectors"]).any(1).nonzero()
    assert set(rows.flatten().tolist()) == set(IDS.tolist())


def test_a_restored_state_goes_on_with_the_same_draws_and_the_same_z():
    loss = build()
    loss(*batch(1), None, IDS)
    again = build(seed=0)
    again.eval()(*batch(3), None, IDS)  # looks at a Z that is not set yet
    again.train().load_state_dict(loss.state_dict())
    for seed in (2, 3):
        assert again(*batch(seed), None, IDS) == loss(*batch(seed), None, IDS)


def test_a_state_waits_for_its_widths():
    loss = build()
    fresh = CRDLoss(samples=SAMPLES, negatives=NEGATIVES, dim=3).double()
    fresh.load_state_dict(loss.state_dict())
    assert fresh.is_sized
    assert fresh(*batch(), None, IDS) == loss(*batch(), None, IDS)


def test_draws_follow_from_seed_turn_and_id_and_reach_every_sample_alike():
    turn, ids = torch.tensor(5), torch.arange(50)
    drawn = draw(ids, 2000, 10, seed=1, turn=turn)
    assert draw(ids.flip(0), 2000, 10, seed=1, turn=turn).flip(0).equal(drawn)
    counts = drawn.flatten().bincount(minlength=10)
    # Ten numbers, 100,000 draws: a standard deviation of 95.
    assert (counts - 10_000).abs().max() < 500
    for other in (
        draw(ids, 2000, 10, seed=2, turn=turn),
        draw(ids, 2000, 10, seed=1, turn=turn + 1),
        draw(ids + 50, 2000, 10, seed=1, turn=turn),
    ):
        # Independent draws agree in a tenth of 100,000.
        assert abs(int(other.eq(drawn).sum()) - 10_000) < 500


def test_pairs_that_belong_together_are_learned():
    torch.manual_seed(0)
    loss = CRDLoss(samples=64, negatives=32, dim=8)
    teacher = torch.randn(64, 6)
    student = (teacher @ torch.randn(6, 5)).clone()
    loss.size_for(student, teacher)
    optimiser = torch.optim.Adam(loss.parameters(), lr=0.02)
    values = []
    for _ in range(30):
        value = loss(student, teacher, None, torch.arange(64))
        optimiser.zero_grad()
        value.backward()
        optimiser.step()
        values.append(value.item())
    assert values[-1] < 0.7 * values[0]


def test_what_is_missing_or_does_not_fit_is_refused():
    student, teacher = batch()
    with pytest.raises(
        InputError, match=r"CRDLoss: expected the size of its banks.*samples=\.\.\."
    ):
        CRDLoss()(student, teacher, None, IDS)
    with pytest.raises(InputError, match=r"the samples' ids \[B\], found None; give them to the"):
        build()(student, teacher)
    with pytest.raises(DataError, match=r"expected ids from 0 to 19, found 0 to 20; give CRDLoss"):
        build()(student, teacher, None, IDS + (IDS == 19))
    with pytest.raises(ShapeError, match=r"found student \[4, 4\] vs teacher \[1, 5\] with ids"):
        build()(student, teacher[:1], None, IDS)
    with pytest.raises(ShapeError, match=r"expected 4 and 5 channels, found student \[4, 3\]"):
        build()(student[:, :3], teacher, None, IDS)
    with pytest.raises(InputError, match=r"CRDLoss.negatives: expected a whole number above 0"):
        CRDLoss(samples=3, negatives=0)
    with pytest.raises(InputError, match=r"CRDLoss.samples: expected a whole number above 0"):
        CRDLoss(samples=0)
    with pytest.raises(InputError, match=r"CRDLoss.momentum: expected a number from 0 to 1"):
        CRDLoss(samples=3, momentum=1.5)


def test_fetched_rows_give_what_the_whole_product_gives(monkeypatch):
    values = []
    for fetches in (True, False):
        torch.manual_seed(0)
        loss = CRDLoss(samples=600, negatives=7, dim=5)
        assert loss._fetches(8)
        monkeypatch.setattr(CRDLoss, "_fetches", lambda self, width, fetches=fetches: fetches)
        student = torch.randn(6, 4, requires_grad=True)
        value = loss(student, torch.randn(6, 3), None, torch.arange(6) * 30)
        value.backward()
        values.append((value.detach(), student.grad, loss.log_z))
        monkeypatch.undo()
    torch.testing.assert_close(*values)


def test_its_gradient_is_not_differentiated_once_more():
    loss, (student, teacher) = build(), batch()
    value = loss(student, teacher, None, IDS)
    with pytest.raises(InputError, match="create_graph"):
        torch.autograd.grad(value, student, create_graph=True)
    torch.autograd.grad(value, student)


def test_a_batch_that_is_not_finite_does_not_stay_in_the_banks():
    loss, (student, teacher) = build(), batch()
    loss(student, teacher, None, IDS)
    before = loss.bank_student.vectors[IDS[0]].clone()
    spoilt = student.detach().clone()
    spoilt[0, 0] = math.inf
    assert loss(spoilt, teacher, None, IDS).isnan()
    assert loss.bank_student.vectors[IDS[0]].equal(before)
    assert loss(student, teacher, None, IDS).isfinite()


def test_banks_keep_rows_for_the_samples_they_are_told_of():
    ids = torch.tensor([70, 5, 31, 12])
    told, plain = CRDLoss(negatives=3, dim=4), CRDLoss(samples=4, negatives=3, dim=4)
    told.know(ids)
    student, teacher = torch.randn(3, 6), torch.randn(3, 5)
    for loss in (told, plain):
        torch.manual_seed(0)
        loss.size_for(student, teacher)
    # Sorted, 5 12 31 70 are the rows 0 to 3.
    values = [told(student, teacher, None, torch.tensor([31, 5, 70])),
              plain(student, teacher, None, torch.tensor([2, 0, 3]))]  # fmt: skip
    torch.testing.assert_close(*values)
    torch.testing.assert_close(told.bank_student.vectors, plain.bank_student.vectors)
    assert told.samples == 4
    assert set(told.some_ids(6).tolist()) == set(ids.tolist())
    with pytest.raises(DataError, match=r"expected ids that know\(\) was told of, found 6"):
        told(student, teacher, None, torch.tensor([31, 6, 70]))
    with pytest.raises(DataError, match="expected each id once, found 1 of them again"):
        told.know(torch.tensor([1, 2, 1]))


def test_what_it_was_told_travels_in_the_state():
    told, other = (CRDLoss(negatives=3, dim=4) for _ in range(2))
    told.know(torch.tensor([70, 5, 31, 12]))
    other.know(torch.tensor([1, 2, 3, 4]))
    for loss in (told, other):
        loss.size_for(torch.randn(2, 6), torch.randn(2, 5))
    other.load_state_dict(told.state_dict())
    assert other.rows.known.tolist() == [5, 12, 31, 70]
