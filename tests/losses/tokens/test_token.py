"""Token losses, against loops over tokens."""

import copy
import math

import pytest
import torch

from tutelage.errors import InputError, ShapeError
from tutelage.losses import ATLoss, CELoss, HardLabelLoss, KDLoss, LogitMSELoss, TokenLoss
from tutelage.losses.tokens.token import over_count
from tutelage.signals import Signals


def cross_entropy(logits, token):
    total = sum(math.exp(z) for z in logits)
    return -math.log(math.exp(logits[token]) / total)


def reference(logits, target, shift, count):
    """CE of each token that has a target, by the stated count."""
    sequences = []
    for row, tokens in zip(logits.tolist(), target.tolist(), strict=True):
        said = [
            cross_entropy(row[place - shift], token)
            for place, token in enumerate(tokens)
            if place >= shift and token != -100
        ]
        sequences.append(said)
    every = [value for sequence in sequences for value in sequence]
    if count == "tokens":
        return sum(every) / max(len(every), 1)
    if count == "sequences":
        means = [sum(sequence) / len(sequence) for sequence in sequences if sequence]
        return sum(means) / max(len(means), 1)
    return sum(every) / count


def batch(dropped=True):
    torch.manual_seed(0)
    student, teacher = torch.randn(2, 3, 6, 5, dtype=torch.float64)
    target = torch.randint(5, (3, 6))
    if dropped:
        target[0, 2:] = target[1, 0] = -100
        target[2] = -100
    return student, teacher, target


@pytest.mark.parametrize("dropped", [False, True])
@pytest.mark.parametrize("count", ["tokens", "sequences", 7])
@pytest.mark.parametrize("shift", [0, 1])
def test_equals_the_reference(shift, count, dropped):
    student, _, target = batch(dropped)
    value = TokenLoss(CELoss(), shift=shift, count=count)(student, None, target)
    assert value.item() == pytest.approx(reference(student, target, shift, count), rel=1e-12)


def test_a_known_number():
    # Uniform over 2 tokens costs log 2 each: 3 tokens with a target, of which the first is shifted
    # away, so 2 log 2 over a count of 8 is log(2) / 4.
    loss = TokenLoss(CELoss(), shift=1, count=8)
    value = loss(torch.zeros(1, 4, 2), None, torch.tensor([[0, 1, 1, -100]]))
    torch.testing.assert_close(value, torch.tensor(math.log(2) / 4))


@pytest.mark.parametrize("inner", [KDLoss(temperature=2), LogitMSELoss(), HardLabelLoss()])
def test_over_all_tokens_it_is_the_loss_itself(inner):
    student, teacher, target = batch()
    value = TokenLoss(inner, shift=0)(student, teacher, target)
    torch.testing.assert_close(value, inner(student, teacher, target))
    moved = TokenLoss(inner, shift=1)(student, teacher, target)
    torch.testing.assert_close(moved, inner(student[:, :-1], teacher[:, :-1], target[:, 1:]))


def test_a_shifted_loss_never_reads_the_last_logits():
    student, teacher, target = batch(dropped=False)
    student[:, -1] = torch.nan
    student.requires_grad_()
    TokenLoss(KDLoss(), shift=1)(student, teacher, target).backward()
    assert student.grad[:, :-1].ne(0).all()
    assert student.grad[:, -1].eq(0).all()


def test_micro_batches_with_the_count_of_all_sum_to_the_whole_batch():
    student, teacher, target = batch()
    student.requires_grad_()
    whole = TokenLoss(KDLoss(), shift=1)(student, teacher, target)
    (expected,) = torch.autograd.grad(whole, student)
    tokens = int((target[:, 1:] != -100).sum())
    loss = TokenLoss(KDLoss(), shift=1, count=tokens)
    parts = [loss(student[b : b + 1], teacher[b : b + 1], target[b : b + 1]) for b in range(3)]
    torch.testing.assert_close(torch.stack(parts).sum(), whole)
    torch.testing.assert_close(torch.autograd.grad(sum(parts), student)[0], expected)


def test_the_mean_over_processes_is_the_whole_batch():
    student, teacher, target = batch()
    whole = TokenLoss(KDLoss(), shift=0)(student, teacher, target)
    loss = TokenLoss(KDLoss(), shift=0, count=1)
    loss.set_count(int((target != -100).sum()), processes=3)
    parts = [loss(student[b : b + 1], teacher[b : b + 1], target[b : b + 1]) for b in range(3)]
    torch.testing.assert_close(torch.stack(parts).mean(), whole)


def test_a_count_is_no_state_and_no_cast_rounds_it():
    loss = TokenLoss(CELoss(), shift=0, count=1).half()
    loss.set_count(100_003)
    student, _, target = batch(dropped=False)
    value = copy.deepcopy(loss)(student, None, target)
    assert value.item() == pytest.approx(reference(student, target, 0, 100_003), rel=1e-12)
    assert not loss.state_dict()


def test_the_next_count_may_come_before_the_backward():
    student, _, target = batch()
    loss = TokenLoss(CELoss(), shift=0, count=2)
    value = loss(student.requires_grad_(), None, target)
    loss.set_count(9)
    value.backward()
    (expected,) = torch.autograd.grad(
        TokenLoss(CELoss(), shift=0, count=2)(student, None, target), student
    )
    torch.testing.assert_close(student.grad, expected)


@pytest.mark.filterwarnings("ignore")  # the compiler's own
def test_a_moving_count_does_not_recompile():
    torch.compiler.reset()
    student, teacher, target = batch()
    loss = TokenLoss(KDLoss(), shift=1, count=5)
    compiled = torch.compile(loss, fullgraph=True, backend="aot_eager")
    first = compiled(student, teacher, target)
    loss.set_count(15)
    with torch._dynamo.config.patch(error_on_recompile=True):
        torch.testing.assert_close(compiled(student, teacher, target), first / 3)
    torch.compiler.reset()


@pytest.mark.parametrize("count", ["tokens", "sequences", 5])
def test_nothing_kept_is_zero_with_its_graph(count):
    student, teacher, _ = batch()
    target = torch.full((3, 6), -100)
    value = TokenLoss(KDLoss(), shift=1, count=count)(student.requires_grad_(), teacher, target)
    value.backward()
    assert value.item() == 0
    assert student.grad.eq(0).all()


def test_a_single_token_has_nothing_to_say_under_a_shift():
    loss = TokenLoss(CELoss(), shift=1)
    assert loss(torch.randn(2, 1, 5), None, torch.ones(2, 1, dtype=torch.long)).item() == 0


def test_its_schedule_is_that_of_the_loss():
    loss = TokenLoss(KDLoss(temperature=lambda step: 1.0 + step), shift=0)
    student, teacher, target = batch()
    assert loss.is_scheduled
    loss.set_step(3)
    torch.testing.assert_close(
        loss(student, teacher, target), KDLoss(temperature=4.0)(student, teacher, target)
    )
    assert not TokenLoss(KDLoss(), shift=0).is_scheduled


def test_it_stands_in_a_term():
    from tutelage import Objective, Term

    student, teacher, target = batch()
    kd, ce = TokenLoss(KDLoss(), shift=1), TokenLoss(CELoss(), shift=1)
    objective = Objective([Term(kd, 0.5), Term(ce, 2.0)])
    total, parts = objective(Signals(student), Signals(teacher), target)
    assert list(parts) == ["kd", "ce"]
    torch.testing.assert_close(total, 0.5 * parts["kd"] + 2 * parts["ce"])
    assert not Objective([TokenLoss(CELoss(), shift=1)]).needs_teacher


def test_counts_of_equal_sequences_agree():
    values = torch.rand(4, 3)
    torch.testing.assert_close(over_count(values, count="sequences"), over_count(values))
    torch.testing.assert_close(over_count(values, count=12), over_count(values))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"shift": 2}, r"TokenLoss.shift: expected 0 or 1, found 2"),
        ({"shift": 1, "count": 0}, r"TokenLoss.count: expected a whole number above 0, found 0"),
        ({"shift": 1, "count": 2.5}, r"TokenLoss.count: expected a whole number above 0"),
        ({"shift": 1, "count": "all"}, r"TokenLoss.count: expected one of tokens, sequences"),
        ({"shift": 1, "ignore_index": 0}, r"expected that of the loss, -100, found 0; give both"),
    ],
)
def test_options_out_of_range_are_refused(options, message):
    with pytest.raises(InputError, match=message):
        TokenLoss(CELoss(), **options)


def test_the_shift_has_no_default():
    with pytest.raises(TypeError, match="shift"):
        TokenLoss(CELoss())


def test_a_loss_without_a_value_for_each_position_is_refused():
    with pytest.raises(InputError, match=r"expected a loss of logits .* found ATLoss"):
        TokenLoss(ATLoss(), shift=0)


def test_a_loss_that_counts_for_itself_takes_no_count():
    with pytest.raises(InputError, match=r"found 'tokens'; build it with TokenLoss"):
        TokenLoss(CELoss(), shift=0).set_count(3)
    with pytest.raises(InputError, match=r"TokenLoss.processes: expected a whole number above 0"):
        TokenLoss(CELoss(), shift=0, count=3).set_count(3, processes=0)


@pytest.mark.parametrize(
    ("student", "target"),
    [
        (torch.zeros(2, 3, 4), torch.zeros(2, 4, dtype=torch.long)),
        (torch.zeros(2, 4), torch.zeros(2, dtype=torch.long)),
        (torch.zeros(2, 3, 4), torch.zeros(2, 3)),
    ],
)
def test_shapes_that_do_not_fit_are_refused(student, target):
    with pytest.raises(ShapeError, match=r"TokenLoss\(CELoss\): expected logits \[B, N, V\]"):
        TokenLoss(CELoss(), shift=0)(student, None, target)


def test_what_is_missing_is_named():
    student, teacher, target = batch()
    with pytest.raises(InputError, match=r"TokenLoss\(KDLoss\): expected token ids \[B, N\]"):
        TokenLoss(KDLoss(), shift=0)(student, teacher)
    with pytest.raises(InputError, match=r"expected the teacher's logits, found None"):
        TokenLoss(KDLoss(), shift=0)(student, None, target)
    with pytest.raises(ShapeError, match=r"found student \[3, 5, 5\] vs teacher \[3, 4, 5\]"):
        TokenLoss(KDLoss(), shift=1)(student, teacher[:, 1:], target)
