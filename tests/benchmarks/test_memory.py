import pytest
import torch
import torch.nn.functional as F
from memory import allocated

KIB = 1024
ONE = torch.zeros(256)  # a tensor of 1 KiB


def test_a_result_counts_once_however_often_it_is_viewed() -> None:
    assert allocated(lambda: ONE.neg().view(16, 16).T[:4]) == (KIB, KIB)


def test_what_is_freed_is_used_again() -> None:
    # Each result is freed as soon as the next one stands beside it.
    assert allocated(lambda: ONE.neg().abs().neg().abs()) == (2 * KIB, KIB)


def test_what_is_kept_adds_up() -> None:
    assert allocated(lambda: [ONE.neg(), ONE.abs(), torch.cat([ONE, ONE])]) == (4 * KIB, 2 * KIB)


def test_inputs_and_operations_in_place_cost_nothing() -> None:
    tensor = ONE.clone()
    assert allocated(lambda: tensor.neg_()) == (0, 0)


def test_what_a_kernel_holds_while_it_runs_is_seen() -> None:
    rows = torch.zeros(8, 256)
    assert allocated(lambda: rows.logsumexp(1)).peak >= 8 * KIB


@pytest.mark.parametrize("classes", [256, 1000])
def test_the_divergence_of_two_log_softmaxes_holds_five_tensors_of_logits(classes: int) -> None:
    student, teacher = torch.randn(64, classes, requires_grad=True), torch.randn(64, classes)

    def step() -> tuple[torch.Tensor, ...]:
        logs = [F.log_softmax(logits / 4, -1) for logits in (student, teacher)]
        value = F.kl_div(*logs, reduction="batchmean", log_target=True)
        return torch.autograd.grad(value, student)

    one = 64 * classes * 4
    assert allocated(step).peak == pytest.approx(5 * one, rel=0.01)
