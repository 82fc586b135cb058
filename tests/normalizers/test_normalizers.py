"""Normalisers against their equations, and what all of them obey."""

import copy

import pytest
import torch

from tutelage import normalizers
from tutelage.errors import InputError
from tutelage.normalizers import BatchNormalizer, LayerNormalizer, PHISNormalizer
from tutelage.normalizers.phi_s import rotation_of

SHAPES = [(40, 6), (8, 5, 6), (4, 6, 3, 5)]


def features(shape, seed=0):
    torch.manual_seed(seed)
    scale = torch.arange(1.0, 7.0, dtype=torch.float64)
    rows = torch.randn(*shape[:-1] if len(shape) < 4 else (shape[0], *shape[2:]), 6).double()
    mixed = (rows * scale) @ torch.linalg.qr(torch.randn(6, 6).double())[0] + 3
    return mixed.movedim(-1, 1) if len(shape) == 4 else mixed


def rows_of(tensor):
    return (tensor.movedim(1, -1) if tensor.ndim == 4 else tensor).reshape(-1, 6)


@pytest.mark.parametrize("name", sorted(normalizers.index()))
@pytest.mark.parametrize("shape", SHAPES)
def test_shape_and_dtype_stay(name, shape):
    normalise = normalizers.index()[name]()
    found = normalise(features(shape).float())
    assert found.shape == torch.Size(shape)
    assert found.dtype == torch.float32
    assert not list(normalise.parameters())


@pytest.mark.parametrize("name", sorted(normalizers.index()))
def test_statistics_rest_in_eval_mode_and_travel_in_the_state(name):
    normalise = normalizers.index()[name]()
    normalise(features((40, 6)))
    normalise.eval()
    before = copy.deepcopy(normalise.state_dict())
    first = normalise(features((40, 6), seed=1))
    torch.testing.assert_close(dict(normalise.state_dict()), dict(before))
    again = normalizers.index()[name]()
    again.load_state_dict(before)
    torch.testing.assert_close(again.eval()(features((40, 6), seed=1)), first)


@pytest.mark.parametrize("name", sorted(normalizers.index()))
def test_features_without_variance_stay_finite(name):
    for shape in SHAPES:
        assert normalizers.index()[name]()(torch.full(shape, 2.0)).isfinite().all()


@pytest.mark.parametrize("shape", SHAPES)
def test_each_vector_has_mean_0_and_variance_1(shape):
    rows = rows_of(LayerNormalizer(eps=1e-12)(features(shape)))
    torch.testing.assert_close(rows.mean(1), torch.zeros(len(rows)).double())
    torch.testing.assert_close(rows.var(1, correction=0), torch.ones(len(rows)).double())


@pytest.mark.parametrize("shape", SHAPES)
def test_each_feature_has_mean_0_and_variance_1(shape):
    rows = rows_of(BatchNormalizer(momentum=1.0, eps=1e-12)(features(shape)))
    torch.testing.assert_close(rows.mean(0), torch.zeros(6).double())
    torch.testing.assert_close(rows.var(0, correction=0), torch.ones(6).double())


def test_batch_statistics_move_by_the_momentum():
    normalise = BatchNormalizer(momentum=0.25, eps=1e-12)
    batches = [features((40, 6), seed) for seed in range(3)]
    for batch in batches:
        found = normalise(batch)
    mean, variance = batches[0].mean(0), batches[0].var(0, correction=0)
    for batch in batches[1:]:
        mean = 0.75 * mean + 0.25 * batch.mean(0)
        variance = 0.75 * variance + 0.25 * batch.var(0, correction=0)
    torch.testing.assert_close(found, (batches[2] - mean) / variance.sqrt())


@pytest.mark.parametrize("width", [1, 2, 3, 5, 6, 7, 8, 12, 33])
def test_the_rotation_gives_all_features_variance_1_and_keeps_proportions(width):
    torch.manual_seed(width)
    root = torch.randn(width, 2 * width, dtype=torch.float64)
    covariance = root @ root.T / width
    rotation = rotation_of(covariance)
    torch.testing.assert_close(
        (rotation @ covariance @ rotation.T).diagonal(), torch.ones(width).double()
    )
    # Isotropic: the rotation times one number, that is all directions scaled alike.
    phi = covariance.trace() / width
    torch.testing.assert_close(rotation @ rotation.T, torch.eye(width, dtype=torch.float64) / phi)


def test_a_known_rotation():
    # Variances 1 and 7: their mean is 4, and the Hadamard matrix of two adds and subtracts.
    rotation = rotation_of(torch.diag(torch.tensor([1.0, 7.0], dtype=torch.float64)))
    torch.testing.assert_close(rotation.abs(), torch.full((2, 2), 0.5 / 2**0.5).double())


@pytest.mark.parametrize("shape", SHAPES)
def test_fitted_features_are_centred_with_variance_1(shape):
    normalise = PHISNormalizer()
    normalise.fit(features(shape))
    rows = rows_of(normalise(features(shape)))
    torch.testing.assert_close(rows.mean(0), torch.zeros(6).double())
    torch.testing.assert_close(rows.var(0, correction=0), torch.ones(6).double())


def test_gathered_batches_give_the_rotation_of_all_of_them_and_then_rest():
    gathered, fitted = PHISNormalizer(batches=3), PHISNormalizer()
    batches = [features((40, 6), seed) for seed in range(3)]
    for batch in batches:
        gathered(batch)
    fitted.fit(torch.cat(batches))
    other = features((40, 6), seed=9)
    torch.testing.assert_close(gathered(other), fitted(other))
    assert gathered.seen == 3


def test_bad_settings_are_refused():
    with pytest.raises(InputError, match=r"BatchNormalizer.momentum: expected a number from 0"):
        BatchNormalizer(momentum=2)
    with pytest.raises(InputError, match=r"BatchNormalizer.momentum: expected a finite number abo"):
        BatchNormalizer(momentum=0)
    with pytest.raises(InputError, match=r"PHISNormalizer.batches: expected a whole number"):
        PHISNormalizer(batches=0)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_statistics_do_not_follow_a_cast(dtype):
    normalise = PHISNormalizer(batches=4).to(dtype)
    for _ in range(4):
        normalise(torch.randn(301, 3, 15, 15))
    assert normalise.count == 4 * 301 * 225
    batch = BatchNormalizer()
    batch(torch.randn(8, 4))
    assert batch.to(dtype).mean.dtype == torch.float64
    batch(torch.randn(8, 4))


@pytest.mark.parametrize("width", [6, 8])
def test_rounding_does_not_choose_the_signs_of_phi_s(width):
    torch.manual_seed(0)
    rows = torch.randn(500, width, dtype=torch.float64) * torch.arange(1.0, width + 1)
    covariance = rows.T @ rows / 500
    noise = 1e-14 * torch.randn(width, width, dtype=torch.float64)
    for _ in range(5):
        other = rotation_of(covariance + noise + noise.T)
        torch.testing.assert_close(other, rotation_of(covariance), atol=1e-9, rtol=0)
        noise = noise.roll(1, 0)
