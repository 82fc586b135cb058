"""Where terms look: the forms of ``at`` and what is made of them."""

import pytest
import torch
from torch import nn

import tutelage as tl
from tutelage.errors import InputError, ShapeError, TapError, TeacherError
from tutelage.losses import Loss
from tutelage.objective import places_of
from tutelage.projectors import ConvProjector, ReviewFusion


class Net(nn.Module):
    def __init__(self, width: int, classes: int = 5) -> None:
        super().__init__()
        self.stem = nn.Conv2d(1, width, 3, padding=1)
        self.deep = nn.Conv2d(width, 2 * width, 3, padding=1)
        self.fc = nn.Linear(2 * width, classes)
        self.exit = nn.Linear(width, classes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        low = self.stem(x).relu()
        self.exit(low.mean((2, 3)))
        return self.fc(self.deep(low).relu().mean((2, 3)))


class SumLoss(Loss):
    """Half the summed squared distance over all layers. See :func:`forward`."""

    name = "sum"
    paper = "none"
    compares = "features"
    takes_layers = True

    def forward(self, student, teacher, target=None):
        self.seen = [(s.shape, t.shape) for s, t in zip(student, teacher, strict=True)]
        return sum((s - t).square().mean() for s, t in zip(student, teacher, strict=True))


class LentLoss(SumLoss):
    """Copies a weight of the teacher. See :func:`forward`."""

    takes_layers = False
    borrows = "the teacher's classifier"

    def forward(self, student, teacher, target=None):
        return (self.weight * student.mean()).sum() * 0 + (student - teacher).square().mean()

    @property
    def has_borrowed(self) -> bool:
        return hasattr(self, "weight")

    def borrow(self, module: nn.Module) -> None:
        self.register_buffer("weight", module.weight.detach().clone(), persistent=False)


class IdsLoss(SumLoss):
    """Remembers who was seen. See :func:`forward`."""

    takes_layers = False
    compares = "logits"
    needs_ids = True

    def forward(self, student, teacher, target=None, ids=None):
        self.ids = ids
        return (student - teacher).square().mean()


X, Y = torch.randn(4, 1, 6, 6), torch.tensor([0, 1, 2, 3])


@pytest.mark.parametrize(
    ("at", "places"),
    [
        (None, ()),
        ("a", (("a", "a"),)),
        (("a", "b"), (("a", "b"),)),
        (["a", None], (("a", None),)),
        ([("a", "b"), ["c", None]], (("a", "b"), ("c", None))),
    ],
)
def test_places_are_pairs(at, places) -> None:
    assert places_of(at, "x") == places


@pytest.mark.parametrize("at", [("a", "b", "c"), [], 3, [("a", "b"), "c"], ("a", 1)])
def test_what_is_no_place_is_refused(at) -> None:
    with pytest.raises(TapError, match=r"expected at=\(student_layer, teacher_layer\), or a list"):
        places_of(at, "x")


def test_several_layers_reach_the_loss_as_lists_through_their_projectors() -> None:
    loss = SumLoss()
    at = [("stem", "stem"), ("deep", "deep")]
    with tl.Distiller(
        Net(2), tl.FrozenTeacher(Net(3)), [tl.Term(loss, at=at, via="auto")], example=X
    ) as distiller:
        distiller(X, Y).loss.backward()
        assert loss.seen == [((4, 3, 6, 6), (4, 3, 6, 6)), ((4, 6, 6, 6), (4, 6, 6, 6))]
        via = distiller.objective.terms[0].via
        assert len(via) == 2
        assert all(parameter.grad is not None for parameter in via.parameters())


def test_a_projector_for_each_layer_can_be_given() -> None:
    via = [ConvProjector(2, 3), "auto"]
    term = tl.Term(SumLoss(), at=[("stem", "stem"), ("deep", "deep")], via=via)
    with tl.Distiller(Net(2), tl.FrozenTeacher(Net(3)), [term], example=X) as distiller:
        assert distiller(X).loss.isfinite()
    with pytest.raises(InputError, match="expected via= to hold 2, found 1"):
        tl.Term(SumLoss(), at=[("stem", "stem"), ("deep", "deep")], via=["auto"])
    with pytest.raises(InputError, match="expected a projector for each of 2 layers, found one"):
        tl.Term(SumLoss(), at=[("stem", "stem"), ("deep", "deep")], via=ConvProjector(2, 3))


def test_a_loss_of_one_layer_refuses_two() -> None:
    with pytest.raises(InputError, match=r"HintLoss takes one pair of layers, found 2; give each"):
        tl.Term(tl.HintLoss(), at=[("stem", "stem"), ("deep", "deep")])


def test_an_early_exit_is_compared_with_the_teachers_logits() -> None:
    teacher, student = Net(3), Net(2)
    terms = [tl.Term(tl.CELoss()), tl.Term(tl.KDLoss(), at=("exit", None), name="exit")]
    with tl.Distiller(student, tl.FrozenTeacher(teacher), terms) as distiller:
        step = distiller(X, Y)
        expected = tl.KDLoss()(student.exit(student.stem(X).relu().mean((2, 3))), teacher(X))
        torch.testing.assert_close(step.parts["exit"], expected)
        step.loss.backward()
        assert student.exit.weight.grad is not None


def test_a_loss_without_teacher_can_look_at_an_exit() -> None:
    student = Net(2)
    terms = [tl.Term(tl.CELoss()), tl.Term(tl.CELoss(), at="exit", name="exit")]
    with tl.Distiller(student, None, terms, example=X) as distiller:
        expected = tl.CELoss()(student.exit(student.stem(X).relu().mean((2, 3))), None, Y)
        torch.testing.assert_close(distiller(X, Y).parts["exit"], expected)


def test_the_teachers_tensor_is_normalised() -> None:
    student, teacher = Net(3), Net(3)
    term = tl.Term(tl.HintLoss(), at="deep", normalize="layer_norm")
    with tl.Distiller(student, tl.FrozenTeacher(teacher), [term], example=X) as distiller:
        found = distiller(X, Y).parts["hint"]
    target = teacher.deep(teacher.stem(X).relu()).movedim(1, -1)
    target = torch.nn.functional.layer_norm(target, (6,)).movedim(-1, 1)
    mine = student.deep(student.stem(X).relu())
    torch.testing.assert_close(found, (mine - target).square().mean())
    with pytest.raises(InputError, match=r"unknown normalize='layernorm' \(did you mean 'layer_n"):
        tl.Term(tl.HintLoss(), at="deep", normalize="layernorm")


def test_a_loss_borrows_from_the_teachers_layer() -> None:
    loss, teacher = LentLoss(), Net(3)
    with pytest.raises(InputError, match="needs the teacher's classifier; name that layer"):
        tl.Term(LentLoss(), at="deep")
    term = tl.Term(loss, at="deep", borrow="fc", via="auto")
    with tl.Distiller(Net(2), tl.FrozenTeacher(teacher), [term], example=X) as distiller:
        torch.testing.assert_close(loss.weight, teacher.fc.weight.detach())
        assert not any("weight" in key and "loss" in key for key in distiller.state_dict())
    with pytest.raises(TapError, match="no layer 'head'"):
        tl.Distiller(
            Net(2), tl.FrozenTeacher(teacher), [tl.Term(LentLoss(), at="deep", borrow="head")]
        )
    with pytest.raises(InputError, match="HintLoss borrows nothing from the teacher"):
        tl.Distiller(
            Net(3), tl.FrozenTeacher(teacher), [tl.Term(tl.HintLoss(), at="deep", borrow="fc")]
        )
    asked = tl.CallableTeacher(lambda x: torch.zeros(len(x), 5))
    term = tl.Term(LentLoss(), at=("fc", None), borrow="fc")
    with pytest.raises(TeacherError, match="needs a teacher whose layers can be reached"):
        tl.Distiller(Net(3), asked, [term])


def test_ids_reach_the_loss_that_asks_for_them() -> None:
    loss = IdsLoss()
    with tl.Distiller(Net(3), tl.FrozenTeacher(Net(3)), [loss], example=X) as distiller:
        distiller(X, Y, torch.arange(7, 11))
        assert loss.ids.tolist() == [7, 8, 9, 10]
        with pytest.raises(InputError, match=r"expected the samples' ids \[B\], found None; call"):
            distiller(X, Y)


def test_the_papers_projector_needs_an_example() -> None:
    class ConvLoss(tl.HintLoss):
        """A hint with a projector of its own. See :func:`forward`."""

        projector = "conv"
        projector_options = {"norm": True}  # noqa: RUF012

    term = tl.Term(ConvLoss(), at="deep", via="paper")
    student = Net(2)
    with pytest.raises(InputError, match=r"\['hint'\] have a projector, or another part, that is"):
        tl.Distiller(student, tl.FrozenTeacher(Net(3)), [term])
    with tl.Distiller(student, tl.FrozenTeacher(Net(3)), [term], example=X) as distiller:
        norm = distiller.objective.terms[0].via.projector.norm
        assert norm.training
        assert norm.num_batches_tracked == 0
        distiller(X, Y).loss.backward()
        assert norm.num_batches_tracked == 1
        names = [name for name, _ in distiller.named_parameters()]
        assert "objective.terms.0.via.projector.conv.weight" in names
    with pytest.raises(InputError, match="the paper of HintLoss has no projector"):
        tl.Term(tl.HintLoss(), at="deep", via="paper")


def test_a_mismatch_names_all_layers() -> None:
    term = tl.Term(tl.HintLoss(), at=("stem", "deep"))
    with pytest.raises(ShapeError, match="term 'hint' at stem -> deep: HintLoss"):
        tl.Distiller(Net(2), tl.FrozenTeacher(Net(3)), [term], example=X)


def test_a_mismatch_in_one_of_several_layers_names_them_all_its_number_and_both_shapes() -> None:
    term = tl.Term(tl.LayersLoss(), at=[("fc", "fc"), ("stem", "deep")])
    message = (
        r"term 'layers' at fc -> fc, stem -> deep: LayersLoss, layer 1: .* "
        r"student \[\d+, .*\] vs teacher \[\d+, .*\]; add via"
    )
    with pytest.raises(ShapeError, match=message):
        tl.Distiller(Net(2), tl.FrozenTeacher(Net(3)), [term], example=X)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"normalize": "layer_norm"}, "which CELoss does not read"),
        ({"borrow": "fc"}, "borrows nothing"),
    ],
)
def test_what_a_loss_has_no_use_for_is_refused(options, message):
    with pytest.raises(InputError, match=f"term 'ce': .*{message}"):
        tl.Term(tl.CELoss(), **options)


def test_a_normaliser_is_a_module_and_a_loss_that_learns_is_not_watched():
    with pytest.raises(InputError, match=r"expected normalize= to be a name .* found 3"):
        tl.Term(tl.HintLoss(), at="deep", normalize=3)
    with pytest.raises(InputError, match="what CTKDLoss learns would never train"):
        tl.Term(tl.CTKDLoss(), 0.0)
    with pytest.raises(InputError, match="found ReviewFusion of several"):
        tl.Term(tl.HintLoss(), at="deep", via=ReviewFusion([4], [6]))


def test_errors_while_sizing_name_the_term():
    terms = [tl.Term(tl.MGDLoss(), at="fc", via="paper")]
    with pytest.raises(ShapeError, match="term 'mgd' at fc -> fc: MaskedGeneration: expected two"):
        tl.Distiller(Net(2), tl.FrozenTeacher(Net(3)), terms, example=X)


def test_a_deferred_projector_takes_the_dtype_of_the_student():
    terms = [tl.Term(tl.MGDLoss(), at="deep", via="paper")]
    student, teacher = Net(2).double(), tl.FrozenTeacher(Net(3).double())
    distiller = tl.Distiller(student, teacher, terms, example=X.double())
    assert {p.dtype for p in distiller.parameters()} == {torch.float64}


def test_a_student_that_is_its_own_teacher_at_one_place_is_refused():
    with pytest.raises(TeacherError, match=r"terms \['kd'\] compare the student with itself"):
        tl.Distiller(Net(2), tl.Itself(), [tl.CELoss(), tl.KDLoss()])
