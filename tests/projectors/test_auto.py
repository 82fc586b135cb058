import copy
import io
import pickle

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.nn.parameter import is_lazy

from tutelage.errors import ShapeError
from tutelage.projectors import AutoProjector

MAP, BIG_MAP = (64, 14, 14), (256, 7, 7)
WAYS = {
    "identity": ((16, 4, 4), (16, 4, 4)),
    "vectors": ((16,), (24,)),
    "tokens": ((10, 16), (10, 24)),
    "maps": ((16, 4, 4), (24, 4, 4)),
    "shrink": ((16, 8, 8), (24, 4, 4)),
    "grow": ((16, 4, 4), (24, 8, 8)),
    "both": ((16, 4, 8), (24, 8, 4)),
    "tokens to map": ((17, 16), (24, 4, 4)),
    "tokens to a smaller map": ((65, 16), (24, 4, 4)),
    "tokens to an oblong map": ((16, 6), (24, 3, 5)),
    "map to tokens": ((16, 4, 4), (17, 24)),
    "map to more tokens": ((16, 4, 4), (68, 24)),
}


def tensors(way, batch=2):
    return tuple(torch.randn(batch, *shape) for shape in WAYS[way])


def sized(way):
    student, teacher = tensors(way)
    projector = AutoProjector()
    projector.size_for(student, teacher)
    return projector, student, teacher


@pytest.mark.parametrize("way", WAYS)
def test_the_result_has_the_teachers_shape_and_every_parameter_gets_a_gradient(way):
    projector, student, teacher = sized(way)
    out = projector(student)
    assert out.shape == teacher.shape
    out.square().sum().backward() if list(projector.parameters()) else None
    assert all(parameter.grad.abs().sum() > 0 for parameter in projector.parameters())


def test_the_same_shape_means_identity_without_parameters():
    projector, student, _ = sized("identity")
    assert projector(student) is student
    assert list(projector.parameters()) == []


def test_vectors_and_tokens_are_mapped_linearly():
    for way in ("vectors", "tokens"):
        projector, student, _ = sized(way)
        expected = torch.einsum("...i,oi->...o", student, projector.weight) + projector.bias
        torch.testing.assert_close(projector(student), expected)


def test_maps_are_projected_at_each_pixel_and_then_averaged():
    projector, student, _ = sized("shrink")
    full = torch.einsum("bihw,oi->bohw", student, projector.weight) + projector.bias[:, None, None]
    expected = full.reshape(2, 24, 4, 2, 4, 2).mean((3, 5))
    torch.testing.assert_close(projector(student), expected)


def test_growing_is_bilinear():
    projector, student, _ = sized("grow")
    full = torch.einsum("bihw,oi->bohw", student, projector.weight) + projector.bias[:, None, None]
    expected = F.interpolate(full, scale_factor=2, mode="bilinear")
    torch.testing.assert_close(projector(student), expected)


def test_the_class_token_is_dropped_and_patches_are_laid_out_row_by_row():
    projector, student, _ = sized("tokens to map")
    out = projector(student)
    for token in range(16):
        expected = student[:, 1 + token] @ projector.weight.T + projector.bias
        torch.testing.assert_close(out[:, :, token // 4, token % 4], expected)


def test_a_maps_mean_meets_the_teachers_class_token():
    projector, student, _ = sized("map to tokens")
    out = projector(student)
    torch.testing.assert_close(out[:, 0], out[:, 1:].mean(1))
    expected = student[:, :, 1, 2] @ projector.weight.T + projector.bias
    torch.testing.assert_close(out[:, 1 + 1 * 4 + 2], expected)


def test_repr_shows_what_it_became():
    projector = AutoProjector()
    assert repr(projector) == "AutoProjector(not sized yet)"
    projector.size_for(torch.zeros(1, *MAP), torch.zeros(1, *BIG_MAP))
    assert repr(projector) == "AutoProjector([64,14,14] -> [256,7,7]: conv 1x1, resize)"


def test_one_seed_gives_one_weight():
    weights = []
    for seed in (0, 0, 1):
        torch.manual_seed(seed)
        weights.append(sized("maps")[0].weight)
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2])


def test_weights_start_in_the_range_of_a_linear_layer():
    projector = AutoProjector()
    projector.size_for(torch.zeros(1, 100), torch.zeros(1, 300))
    assert 0.099 < projector.weight.abs().max() <= 0.1


@pytest.mark.parametrize("options", [{}, {"foreach": True}, {"fused": True}])
@pytest.mark.parametrize("optimiser", [torch.optim.SGD, torch.optim.AdamW])
def test_an_optimiser_built_before_sizing_trains_it(optimiser, options):
    projector = AutoProjector()
    steps = optimiser(projector.parameters(), lr=0.1, **options)
    student, teacher = tensors("maps")
    projector.size_for(student, teacher)
    before = projector.weight.detach().clone(), projector.bias.detach().clone()
    F.mse_loss(projector(student), teacher).backward()
    steps.step()
    assert (projector.weight != before[0]).all()
    assert (projector.bias != before[1]).all()


def test_an_optimiser_survives_a_projector_that_became_the_identity():
    student, teacher = tensors("identity")
    head, projector = nn.Conv2d(16, 16, 1), AutoProjector()
    steps = torch.optim.AdamW([*head.parameters(), *projector.parameters()], lr=0.1)
    projector.size_for(student, teacher)
    F.mse_loss(projector(head(student)), teacher).backward()
    steps.step()
    assert steps.state_dict()["param_groups"]


def test_it_may_be_cast_before_sizing():
    projector = AutoProjector().to(torch.float64)
    projector.size_for(torch.zeros(2, 4), torch.zeros(2, 6))
    assert projector.weight.dtype == projector.bias.dtype == torch.float64
    assert projector.shapes.dtype == torch.int64
    assert projector(torch.zeros(2, 4, dtype=torch.float64)).dtype == torch.float64


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a second device")
def test_it_may_be_moved_before_sizing_and_stays_in_the_optimiser():
    projector = AutoProjector()
    steps = torch.optim.AdamW(projector.parameters(), lr=0.1)
    projector.to("cuda")
    student, teacher = (tensor.cuda() for tensor in tensors("maps"))
    projector.size_for(student, teacher)
    before = projector.weight.detach().clone()
    F.mse_loss(projector(student), teacher).backward()
    steps.step()
    assert {tensor.device.type for tensor in projector.state_dict().values()} == {"cuda"}
    assert (projector.weight != before).all()


def unpickle(projector):
    return pickle.loads(pickle.dumps(projector))


@pytest.mark.parametrize("copied", [copy.deepcopy, unpickle])
def test_copies_and_pickles_work_before_and_after_sizing(copied):
    student, teacher = tensors("maps")
    projector = AutoProjector()
    early = copied(projector)
    projector.size_for(student, teacher)
    late = copied(projector)
    assert not early.is_sized
    assert all(is_lazy(parameter) for parameter in early.parameters())
    early.size_for(student, teacher)
    assert early(student).shape == teacher.shape
    assert torch.equal(late(student), projector(student))


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("start", ["unsized", "sized"])
def test_a_state_dict_round_trip_gives_the_same_projector(way, start):
    projector, student, _ = sized(way)
    other = sized(way)[0] if start == "sized" else AutoProjector()
    file = io.BytesIO()
    torch.save(projector.state_dict(), file)
    file.seek(0)
    other.load_state_dict(torch.load(file, weights_only=True))
    assert repr(other) == repr(projector)
    assert torch.equal(other(student), projector(student))


def test_loading_keeps_the_parameters_that_an_optimiser_owns():
    projector, student, teacher = sized("maps")
    other = AutoProjector()
    steps = torch.optim.SGD(other.parameters(), lr=0.1)
    other.load_state_dict(projector.state_dict())
    F.mse_loss(other(student), teacher).backward()
    steps.step()
    assert not torch.equal(other.weight, projector.weight)


def test_an_unsized_state_loads_into_an_unsized_projector():
    parent, other = nn.ModuleDict({"a": AutoProjector()}), nn.ModuleDict({"a": AutoProjector()})
    other.load_state_dict(parent.state_dict())
    assert not other["a"].is_sized


@pytest.mark.parametrize("state", [{}, sized("maps")[0].state_dict()])
def test_a_state_for_other_shapes_is_refused_by_name(state):
    parent = nn.ModuleDict({"a": sized("vectors")[0]})
    state = {f"a.{name}": value for name, value in state.items()}
    with pytest.raises(RuntimeError, match=r"a\.AutoProjector: expected the state of \(\[16\]"):
        parent.load_state_dict(state)


def test_sizing_twice_for_one_pair_changes_nothing_and_for_another_is_refused():
    projector, student, teacher = sized("maps")
    before = projector.weight.clone()
    projector.size_for(student, teacher)
    assert torch.equal(projector.weight, before)
    with pytest.raises(ShapeError, match="use a new AutoProjector for each pair"):
        projector.size_for(student, student)


def test_forward_before_sizing_says_what_to_call():
    with pytest.raises(ShapeError, match=r"call size_for\(student, teacher\)"):
        AutoProjector()(torch.zeros(2, 4))


def test_another_resolution_passes_where_nothing_fixes_it():
    projector = sized("maps")[0]
    assert projector(torch.zeros(2, 16, 9, 9)).shape == (2, 24, 9, 9)


@pytest.mark.parametrize(
    ("way", "found"),
    [
        ("maps", (15, 4, 4)),
        ("maps", (16, 4)),
        ("identity", (15, 4, 4)),
        ("tokens", (10, 15)),
        ("tokens to map", (26, 16)),
    ],
)
def test_another_input_is_refused(way, found):
    with pytest.raises(ShapeError, match=r"AutoProjector: expected \[B, .*found \[2, .*; feed"):
        sized(way)[0](torch.zeros(2, *found))


@pytest.mark.parametrize(
    ("student", "teacher", "advice"),
    [
        ((2, 4), (3, 6), "feed both models the same batch"),
        ((2, 10, 4), (2, 11, 6), "the same number of tokens"),
        ((2, 4), (2, 4, 4, 4), "vectors .* tokens .* or maps"),
        ((2, 15, 4), (2, 4, 9, 9), "TokensToMap"),
    ],
)
def test_shapes_without_a_way_are_refused(student, teacher, advice):
    with pytest.raises(ShapeError, match=advice) as caught:
        AutoProjector().size_for(torch.zeros(student), torch.zeros(teacher))
    assert caught.value.exit_code == 2


def test_a_sized_projector_compiles_into_one_graph():
    projector, student, _ = sized("shrink")
    compiled = torch.compile(projector, backend="eager", fullgraph=True)
    torch.testing.assert_close(compiled(student), projector(student))


@pytest.mark.parametrize(
    ("way", "dtype"), [("bfloat16", torch.bfloat16), ("double", torch.float64)]
)
def test_every_way_to_cast_works_before_sizing(way, dtype):
    projector = AutoProjector()
    owned = projector.weight
    getattr(projector, way)()
    nn.Sequential(projector).to_empty(device="cpu")
    projector.size_for(torch.zeros(2, 3, dtype=dtype), torch.zeros(2, 4, dtype=dtype))
    assert projector.weight.dtype == dtype
    assert projector.weight is owned
    assert projector(torch.ones(2, 3, dtype=dtype)).dtype == dtype


def test_it_takes_the_students_dtype_and_not_that_of_autocast():
    projector = AutoProjector()
    projector.size_for(torch.zeros(2, 3).double(), torch.zeros(2, 5).double())
    assert projector(torch.zeros(2, 3).double()).dtype == torch.float64
    kept = AutoProjector()
    parameters = list(kept.parameters())  # as an optimiser that was built before holds them
    with torch.autocast("cpu", torch.bfloat16):
        kept.size_for(torch.zeros(2, 3).bfloat16(), torch.zeros(2, 5).bfloat16())
    assert kept.weight.dtype == torch.float32
    assert kept.weight is parameters[0]
