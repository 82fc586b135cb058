"""KD from a teacher's likeliest classes, against loops over Python floats."""

import math
import pickle
from dataclasses import replace

import pytest
import torch
from torch import nn

import tutelage as tl
from tutelage.errors import InputError, ShapeError, TeacherError
from tutelage.losses import HardLabelLoss, KDLoss, TokenLoss, TopKLoss, index
from tutelage.losses.logits.kept import kept_divergence, log_outside
from tutelage.signals import SparseLogits
from tutelage.signals.sparse import POLICIES


def softmax(logits, temperature):
    powers = [math.exp((z - max(logits)) / temperature) for z in logits]
    return [power / math.fsum(powers) for power in powers]


def reference(student, teacher, k, temperature, policy, *, with_entropy=True):
    """T^2 sum of p (log p - log q) over what the policy takes for classes, for one row."""
    q, p = softmax(student, temperature), softmax(teacher, temperature)
    ids = sorted(range(len(p)), key=lambda c: -p[c])[:k]
    outside = [c for c in range(len(p)) if c not in ids]
    rest = math.fsum(p[c] for c in outside), math.fsum(q[c] for c in outside)
    p, q = [p[c] for c in ids], [q[c] for c in ids]
    if policy == "renormalise":
        p, q = [one / math.fsum(p) for one in p], [one / math.fsum(q) for one in q]
    if policy == "tail" and outside:
        p, q = [*p, rest[0]], [*q, rest[1]]
    pairs = list(zip(p, q, strict=True))
    entropy = math.fsum(a * math.log(a) for a in p) if with_entropy else 0.0
    return temperature**2 * (entropy - math.fsum(a * math.log(b) for a, b in pairs))


def batch(shape=(6, 9), dtype=torch.float64, *, k=3, temperatures=(0.5, 4.0), policy="tail"):
    torch.manual_seed(0)
    student, teacher = torch.randn(shape, dtype=dtype), 2 * torch.randn(shape, dtype=dtype)
    sparse = SparseLogits.from_logits(teacher, k=k, temperatures=temperatures, policy=policy)
    return student, teacher, sparse


@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize("temperature", [0.5, 1.0, 4.0])
@pytest.mark.parametrize("shape", [(6, 9), (2, 3, 5)])
@pytest.mark.parametrize("variant", ["paper", "cross-entropy", "numel"])
def test_equals_the_reference(shape, temperature, policy, variant):
    student, teacher, sparse = batch(shape, policy=policy)
    rows = zip(student.flatten(0, -2).tolist(), teacher.flatten(0, -2).tolist(), strict=True)
    has_entropy = variant != "cross-entropy"
    values = [reference(*row, 3, temperature, policy, with_entropy=has_entropy) for row in rows]
    expected = math.fsum(values) / len(values) / (shape[-1] if variant == "numel" else 1)
    loss = KDLoss(temperature=temperature, variant=variant)
    assert loss(student, sparse).item() == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("temperature", [1.0, 4.0, 7.0])
def test_all_classes_are_the_dense_loss_and_its_gradient(policy, dtype, temperature):
    student, teacher, sparse = batch(dtype=dtype, k=9, policy=policy)
    loss, values, gradients = KDLoss(temperature=temperature), [], []
    for theirs in (teacher, sparse):
        leaf = student.clone().requires_grad_()
        value = loss(leaf, theirs)
        value.backward()
        values.append(value.detach())
        gradients.append(leaf.grad)
    rounding = 2e-7 * temperature**2  # of sums of order 1, before they are multiplied
    torch.testing.assert_close(values[1], values[0], rtol=1e-6, atol=rounding)
    torch.testing.assert_close(gradients[1], gradients[0], rtol=1e-6, atol=1e-6)


def test_the_tail_is_a_lower_bound_that_rises_with_k():
    student, teacher, _ = batch((50, 9))
    dense = KDLoss(temperature=4.0)(student, teacher).item()
    values = []
    for k in range(1, 9):
        sparse = SparseLogits.from_logits(teacher, k=k, temperatures=(4.0,))
        values.append(KDLoss(temperature=4.0)(student, sparse).item())
    assert values == sorted(values)
    # With 8 of 9 the rest is the ninth class itself.
    assert values[-1] == pytest.approx(dense, rel=1e-9)
    assert values[0] < 0.9 * dense


def test_the_missing_part_is_the_divergence_within_the_others():
    student, teacher, sparse = batch(k=4, temperatures=(2.0,))
    others = teacher.topk(5, largest=False).indices
    p, q = ((z / 2).softmax(-1).gather(-1, others) for z in (teacher, student))
    inner = (p * ((p / p.sum(-1, True)) / (q / q.sum(-1, True))).log()).sum(-1)
    found = kept_divergence(student, sparse, temperature=2.0)
    dense = (KDLoss(temperature=2.0)(student, teacher) - 4 * inner.mean()).item()
    assert found.mean().item() == pytest.approx(dense, rel=1e-10)


def test_ignoring_the_others_has_its_least_value_where_they_get_nothing():
    teacher = torch.tensor([[0.5, 0.25, 0.125, 0.125]], dtype=torch.float64).log()
    sparse = SparseLogits.from_logits(teacher, k=2, policy="ignore")
    student = torch.tensor([[2 / 3, 1 / 3, 0, 0]], dtype=torch.float64).log()
    value = KDLoss(temperature=1.0)(student, sparse).item()
    assert value == pytest.approx(0.75 * math.log(0.75))
    assert value < KDLoss(temperature=1.0)(teacher, sparse).item() == pytest.approx(0.0)


@pytest.mark.parametrize("policy", POLICIES)
def test_gradients_are_those_of_the_value(policy):
    student, _, sparse = batch((3, 6), policy=policy, temperatures=(2.0,))
    assert torch.autograd.gradcheck(
        lambda z: kept_divergence(z, sparse, temperature=2.0), student.requires_grad_()
    )


def test_a_student_who_is_sure_keeps_the_gradient_of_its_tail():
    # Its mass outside is 2e-11: of 1 - Q nothing would be left in float32.
    student = torch.tensor([[25.0, 0.0, 0.0]], requires_grad=True)
    sparse = SparseLogits.from_logits(torch.tensor([[2.0, 0.0, 0.0]]), k=1)
    KDLoss(temperature=1.0)(student, sparse).backward()
    p = torch.tensor([2.0, 0.0, 0.0]).softmax(-1)
    torch.testing.assert_close(student.grad, student.detach().softmax(-1) - p)
    outside = log_outside(student.detach(), sparse.ids) - student.detach().logsumexp(-1, True)
    assert outside.item() == pytest.approx(math.log(2) - 25, rel=1e-6)


@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
def test_it_stays_finite_in_every_precision(policy, dtype):
    student = torch.tensor([[1e4, 1e4, -1e4, -1e4], [0, 1, 2, 3]], dtype=dtype, requires_grad=True)
    teacher = torch.tensor([[1.0, 1.0, 0.5, 0.0], [9e3, 0, 0, 0]])
    sparse = SparseLogits.from_logits(teacher, k=2, temperatures=(4.0,), policy=policy)
    value = KDLoss()(student, sparse)
    value.backward()
    assert value.isfinite()
    assert value.dtype == torch.float32
    assert student.grad.isfinite().all()


@pytest.mark.parametrize("policy", POLICIES)
def test_classes_ruled_out_by_both_cost_nothing_and_keep_gradients_finite(policy):
    teacher = torch.tensor([[1.0, 0.0, -torch.inf, -torch.inf]])
    student = torch.tensor([[0.5, 0.25, -torch.inf, -torch.inf]], requires_grad=True)
    for k in (2, 3):
        sparse = SparseLogits.from_logits(teacher, k=k, policy=policy)
        rest = torch.full((1,), -torch.inf)
        value = KDLoss(temperature=1.0)(student, replace(sparse, rest=rest))
        student.grad = None
        value.backward()
        dense = KDLoss(temperature=1.0)(student.detach()[:, :2], teacher[:, :2])
        torch.testing.assert_close(value.detach(), dense)
        assert student.grad.isfinite().all()


def test_a_class_that_only_the_student_rules_out_is_infinitely_wrong():
    student = torch.tensor([[0.0, 0.0, -torch.inf]])
    sparse = SparseLogits.from_logits(torch.zeros(1, 3), k=2)
    others = replace(sparse, ids=torch.tensor([[0, 1]]))
    assert KDLoss(temperature=1.0)(student, others).item() == math.inf


@pytest.mark.parametrize("policy", POLICIES)
def test_dropped_positions_count_nothing(policy):
    student, _, sparse = batch((4, 9), policy=policy)
    student[1] = torch.nan
    log_probs = sparse.log_probs.clone()
    log_probs[1] = torch.nan
    sparse = replace(sparse, log_probs=log_probs)
    student.requires_grad_()
    kept = torch.tensor([0, 2, 3])
    value = KDLoss()(student, sparse, torch.tensor([3, -100, 2, 1]))
    value.backward()
    torch.testing.assert_close(value, KDLoss()(student[kept], sparse.rows(kept)))
    assert student.grad[kept].ne(0).any(-1).all()
    assert student.grad[1].eq(0).all()


def test_stored_in_half_precision_it_differs_by_its_rounding():
    student, teacher, sparse = batch((200, 30), k=10, temperatures=(4.0,))
    halved = sparse.map(lambda t: t.half() if t.ndim > 1 and t.is_floating_point() else t)
    for temperature in (1.0, 4.0):
        loss = KDLoss(temperature=temperature)
        error = (loss(student, halved) - loss(student, sparse)).abs().item()
        # Log-probabilities below 8 are known to 2**-9, and their errors cancel in the mean.
        assert 0 < error < 1e-3 * temperature**2
        assert loss(student, halved) < loss(student, teacher)


def test_totals_that_are_not_known_are_refused_by_name():
    student, _, sparse = batch()
    with pytest.raises(InputError, match=r"temperature 2, found totals at 1, 0.5, 4 only; .*--tem"):
        KDLoss(temperature=2.0)(student, sparse)
    renormalised = replace(sparse, policy="renormalise")
    assert KDLoss(temperature=2.0)(student, renormalised).isfinite()


def test_a_schedule_may_pass_through_known_temperatures():
    student, _, sparse = batch()
    loss = KDLoss(temperature=lambda step: 4.0 if step < 3 else 1.0)
    for step, temperature in ((0, 4.0), (3, 1.0)):
        loss.set_step(step)
        assert loss(student, sparse) == KDLoss(temperature=temperature)(student, sparse)


def test_the_teachers_decision_is_the_likeliest_of_those_kept():
    student, teacher, sparse = batch()
    torch.testing.assert_close(HardLabelLoss()(student, sparse), HardLabelLoss()(student, teacher))
    turned = sparse.map(lambda t: t.flip(-1) if t.ndim > 1 else t)
    assert HardLabelLoss()(student, turned) == HardLabelLoss()(student, sparse)


def test_kd_and_top_k_are_one_at_what_both_can():
    student, _, sparse = batch()
    for policy, outside in (("tail", "tail"), ("renormalise", "renormalise")):
        kd = KDLoss(temperature=4.0)(student, replace(sparse, policy=policy))
        torch.testing.assert_close(kd, TopKLoss(temperature=4.0, outside=outside)(student, sparse))


def test_rows_of_others_are_refused():
    student, _, sparse = batch()
    with pytest.raises(ShapeError, match=r"student \[4, 9\] vs teacher's ids \[6, 3\]"):
        KDLoss()(student[:4], sparse)
    with pytest.raises(ShapeError, match=r"of 9 classes; both must come from the same samples"):
        HardLabelLoss()(student[:, :8], sparse)


def test_it_is_copied_moved_and_pickled_whole():
    _, _, sparse = batch()
    again = pickle.loads(pickle.dumps(sparse.to("cpu").detach()))
    assert again.shape == (6, 9)
    assert (again.k, again.is_whole, again.policy) == (3, False, "tail")
    assert torch.equal(again.softened(4.0)[0], sparse.softened(4.0)[0])
    meta = sparse.to("meta")
    assert {meta.ids.device.type, *(t.device.type for t in meta.log_totals.values())} == {"meta"}
    assert "3 of 9 classes" in repr(sparse)


class Kept:
    """A teacher of the likeliest classes, as a cache is one."""

    def __init__(self, k=3, temperatures=(4.0,)):
        torch.manual_seed(1)
        self.net, self.k, self.temperatures = nn.Linear(5, 9), k, temperatures

    @property
    def sparse_example(self):
        return self(torch.zeros(1, 5)).logits

    def __call__(self, inputs, ids=None):
        with torch.no_grad():
            logits = self.net(inputs)
        return tl.Signals(
            SparseLogits.from_logits(logits, k=self.k, temperatures=self.temperatures)
        )

    def provide(self, names): ...

    def apply_to_tensors(self, function): ...

    def named_tensors(self):
        yield from ()

    def close(self): ...


def test_a_distiller_learns_from_kept_classes_and_counts_them():
    x = torch.randn(4, 5)
    terms = [tl.Term(KDLoss(), 1.0), tl.Term(HardLabelLoss(), 0.5)]
    step = tl.Distiller(nn.Linear(5, 9), Kept(), terms)(x)
    step.loss.backward()
    assert step.loss.isfinite()
    with pytest.raises(ShapeError, match=r"equal class counts, found student \[4, 8\].*with 9"):
        tl.Distiller(nn.Linear(5, 8), Kept(), [tl.Term(KDLoss())])(x)
    shuffled = tl.ShuffledTeacher(Kept(), seed=0)
    assert tl.Distiller(nn.Linear(5, 9), shuffled, terms)(x).loss.isfinite()


TAKERS = {"kd", "hard_label", "topk", "logistic_ranking", "hinge_ranking", "tokens"}


def test_the_losses_that_take_kept_classes_are_these():
    assert {name for name, kind in index().items() if kind.takes_sparse} == TAKERS - {"tokens"}
    assert TokenLoss(KDLoss(), shift=1).takes_sparse
    assert not TokenLoss(tl.ReverseKLLoss(), shift=1).takes_sparse


@pytest.mark.parametrize(
    ("term", "message"),
    [
        (tl.Term(tl.DKDLoss(), name="x"), r"term 'x': DKDLoss: needs every class.*3 of 9.*--top-k"),
        (tl.Term(lambda s, t: s.sum(), name="x"), r"term 'x': a loss of your own needs every clas"),
        (tl.Term(KDLoss(temperature=2.0), name="x"), r"term 'x': .* found totals at 1, 4 only"),
        (tl.Term(KDLoss(), normalize="layer_norm", name="x"), r"term 'x': normalize= needs every"),
        (tl.Term(tl.ReverseKLLoss(), at=("0", None), name="x"), r"term 'x': ReverseKLLoss: needs"),
    ],
)
def test_what_needs_every_class_is_refused_when_the_distiller_is_built(term, message):
    for teacher in (Kept(), tl.ShuffledTeacher(Kept(), seed=0)):
        with pytest.raises(InputError, match=message):
            tl.Distiller(nn.Sequential(nn.Linear(5, 9)), teacher, [term])
    with pytest.raises(TeacherError, match=r"all classes from member 'a', found the top 3 of 9"):
        tl.EnsembleTeacher({"a": Kept()})
