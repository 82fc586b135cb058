import pytest
import torch
from torch import Tensor, nn

from tutelage.errors import InputError, ShapeError, TapError, TeacherError
from tutelage.losses import CELoss, HintLoss, KDLoss
from tutelage.objective import Objective, Term
from tutelage.projectors import LinearProjector
from tutelage.schedules import Linear
from tutelage.signals import Signals

torch.manual_seed(0)
STUDENT = Signals(torch.randn(6, 4, requires_grad=True), {"a": torch.randn(6, 3)})
TEACHER = Signals(torch.randn(6, 4), {"b": torch.randn(6, 5), "c": torch.randn(6, 3)})
TARGET = torch.tensor([0, 1, 2, 3, 0, 1])


def test_the_total_is_the_weighted_sum_and_parts_are_unweighted() -> None:
    objective = Objective([Term(CELoss(), 0.25), Term(KDLoss(temperature=2.0), 3.0)])
    total, parts = objective(STUDENT, TEACHER, TARGET)
    ce = CELoss()(STUDENT.logits, None, TARGET)
    kd = KDLoss(temperature=2.0)(STUDENT.logits, TEACHER.logits)
    torch.testing.assert_close(total, 0.25 * ce + 3.0 * kd)
    torch.testing.assert_close(parts, {"ce": ce.detach(), "kd": kd.detach()})
    assert total.requires_grad
    assert not any(part.requires_grad for part in parts.values())


def test_any_callable_is_a_loss_and_gets_the_target_only_if_it_names_it() -> None:
    def with_target(student: Tensor, teacher: Tensor, target: Tensor) -> Tensor:
        return (student - teacher).abs().mean() + target.sum()

    objective = Objective([Term(nn.functional.mse_loss), Term(with_target, name="mine")])
    _, parts = objective(STUDENT, TEACHER, TARGET)
    assert set(parts) == {"mse_loss", "mine"}
    assert parts["mine"] > TARGET.sum()


def test_a_term_reads_its_layers_and_projects_the_student() -> None:
    projector = LinearProjector(3, 5)
    term = Term(HintLoss(), at=("a", "b"), via=projector)
    expected = (projector(STUDENT.taps["a"]) - TEACHER.taps["b"]).square().mean()
    torch.testing.assert_close(term(STUDENT, TEACHER, None), expected)


def test_shapes_that_do_not_fit_name_the_term_and_the_layers() -> None:
    term = Term(HintLoss(), at=("a", "b"))
    with pytest.raises(ShapeError, match=r"term 'hint' at a -> b: .*\[6, 3\].*\[6, 5\]"):
        term(STUDENT, TEACHER, None)


def test_a_single_teacher_logit_never_broadcasts() -> None:
    thin = Signals(torch.randn(6, 1))
    with pytest.raises(ShapeError, match=r"\[6, 4\].*\[6, 1\]"):
        Objective([KDLoss()])(STUDENT, thin, TARGET)


def test_a_loss_that_is_no_scalar_is_refused() -> None:
    with pytest.raises(ShapeError, match="scalar"):
        Term(lambda student, teacher: student - teacher, name="map")(STUDENT, TEACHER, None)


def test_weight_zero_watches_without_training() -> None:
    objective = Objective([Term(CELoss(), 1.0), Term(KDLoss(), 0.0)])
    total, parts = objective(STUDENT, TEACHER, TARGET)
    torch.testing.assert_close(total.detach(), parts["ce"])
    assert parts["kd"] > 0


@pytest.mark.parametrize("weight", [-1.0, float("nan"), float("inf"), "1", True])
def test_a_weight_out_of_range_is_refused(weight: float) -> None:
    with pytest.raises(InputError, match="weight of term 'ce'"):
        Term(CELoss(), weight)


def test_a_schedule_that_leaves_the_range_is_refused_at_once_or_when_it_does() -> None:
    with pytest.raises(InputError, match="at least 0"):
        Term(CELoss(), Linear(1.0, -1.0, steps=2))
    term = Term(CELoss(), lambda step: 1.0 - step)  # nobody can look into this one
    term.set_step(1)
    with pytest.raises(InputError, match="at least 0"):
        term.set_step(2)


def test_all_weights_zero_is_refused() -> None:
    with pytest.raises(InputError, match="only zeros"):
        Objective([Term(CELoss(), 0.0)])
    with pytest.raises(InputError, match="at least one Term"):
        Objective([])


def test_a_projector_that_could_never_train_is_refused() -> None:
    with pytest.raises(InputError, match="never train"):
        Term(HintLoss(), 0.0, at=("a", "b"), via="auto")


def test_equal_names_are_told_apart_by_layer_or_refused() -> None:
    objective = Objective([Term(HintLoss(), at=("a", "c")), Term(HintLoss(), at=("d", "c"))])
    assert [term.name for term in objective.terms] == ["hint[a]", "hint[d]"]
    with pytest.raises(InputError, match="name="):
        Objective([Term(KDLoss(temperature=1.0)), Term(KDLoss(temperature=4.0))])


def test_a_feature_loss_without_a_place_is_refused() -> None:
    with pytest.raises(TapError, match="at="):
        Term(HintLoss())
    with pytest.raises(TapError, match="student_layer, teacher_layer"):
        Term(HintLoss(), at=("a", "b", "c"))  # type: ignore[arg-type]


def test_via_must_be_something_that_trains() -> None:
    with pytest.raises(InputError, match='via="auto"'):
        Term(HintLoss(), at="a", via="linear")
    with pytest.raises(InputError, match="torch module"):
        Term(HintLoss(), at="a", via=lambda x: x)  # type: ignore[arg-type]


def test_missing_logits_of_the_teacher_are_named() -> None:
    with pytest.raises(TeacherError, match="gives no logits"):
        Objective([KDLoss()])(STUDENT, Signals(None), TARGET)


def test_dense_logits_state_their_class_axis() -> None:
    student, teacher = torch.randn(2, 3, 4, 5), torch.randn(2, 3, 4, 5)
    dense = Term(KDLoss(), class_axis=1)(Signals(student), Signals(teacher), None)
    rows = KDLoss()(student.movedim(1, -1).reshape(-1, 3), teacher.movedim(1, -1).reshape(-1, 3))
    torch.testing.assert_close(dense, rows)


def test_weight_and_temperature_follow_their_schedules() -> None:
    objective = Objective(
        [
            Term(CELoss()),
            Term(KDLoss(temperature=Linear(1.0, 4.0, steps=3)), Linear(0.0, 1.0, steps=2)),
        ]
    )
    for step in range(5):
        objective.set_step(step)
        total, parts = objective(STUDENT, TEACHER, TARGET)
        weight, temperature = min(step / 2, 1.0), 1.0 + min(step, 3)
        kd = KDLoss(temperature=temperature)(STUDENT.logits, TEACHER.logits)
        torch.testing.assert_close(parts["kd"], kd.detach())
        torch.testing.assert_close(total.detach(), parts["ce"] + weight * parts["kd"])


@pytest.mark.parametrize("value", [None, 1.0])
def test_a_loss_that_returns_no_tensor_is_refused(value: float | None) -> None:
    with pytest.raises(ShapeError, match="scalar tensor"):
        Term(lambda student, teacher: value, name="mine")(STUDENT, TEACHER, None)


def test_numbers_of_numpy_are_numbers() -> None:
    numpy = pytest.importorskip("numpy")
    assert Term(CELoss(), numpy.float32(0.5)).weight == 0.5


def test_the_weight_of_a_term_is_given_once() -> None:
    term = Term(KDLoss(), 0.0)  # which computes its value without gradient
    with pytest.raises(InputError, match=r"Term.weight: .*found a new one, 7; .* give a schedule"):
        term.weight = 7
