import pytest
import torch
from torch import nn

pytest.importorskip("fastai", reason="fastai is not installed")

from tutelage.adapters.fastai import get_model_layers, get_module_by_name, match_feature_layers
from tutelage.errors import TapError


def test_layers_are_listed_with_or_without_their_representation() -> None:
    model = nn.Sequential(nn.Linear(2, 3), nn.Sequential(nn.ReLU()))
    assert get_model_layers(model) == ["0", "1", "1.0"]
    assert get_model_layers(model, get_layer_repr=True)["1.0"] == "ReLU()"


def test_a_module_is_found_by_its_path_and_a_typo_gets_suggestions(net) -> None:
    model = net(4, seed=0)
    assert get_module_by_name(model, "stem") is model.stem
    with pytest.raises(TapError, match="found no 'stam'; did you mean 'stem'"):
        get_module_by_name(model, "stam")


def test_a_name_is_looked_up_in_the_learners_model_and_never_in_the_learner(learner) -> None:
    learn = learner()
    learn.create_opt()
    assert get_module_by_name(learn, "head") is learn.model.head
    with pytest.raises(TapError, match="found no 'opt'"):
        get_module_by_name(learn, "opt")


def test_matching_layers_leaves_modes_statistics_and_random_state_alone(net) -> None:
    student, teacher = net(4, seed=0, norm=True), net(6, seed=1, norm=True)
    teacher.body.eval()
    before = [{k: v.clone() for k, v in model.state_dict().items()} for model in (student, teacher)]
    random = torch.get_rng_state()
    found = match_feature_layers(student, teacher, torch.randn(2, 3, 8, 8, generator=_seeded()))
    assert torch.equal(torch.get_rng_state(), random)
    assert found["student"] == found["teacher"]
    assert "body" in found["student"]
    assert student.training
    assert not teacher.body.training
    for model, state in zip((student, teacher), before, strict=True):
        torch.testing.assert_close(dict(model.state_dict()), state, rtol=0, atol=0)


def test_the_deepest_match_is_a_stage_and_not_the_whole_body() -> None:
    def make(width: int) -> nn.Module:
        stage = lambda i, o: nn.Sequential(nn.Conv2d(i, o, 3, 2, 1), nn.ReLU())  # noqa: E731
        body = nn.Sequential(stage(3, width), stage(width, width))
        return nn.Sequential(body, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(width, 4))

    found = match_feature_layers(make(4), make(8), torch.zeros(1, 3, 16, 16))
    assert found == {"student": ["0.0", "0.1"], "teacher": ["0.0", "0.1"]}


def _seeded() -> torch.Generator:
    return torch.Generator().manual_seed(0)
