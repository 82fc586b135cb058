import pytest
import torch

from tutelage.errors import ShapeError
from tutelage.projectors.review_fusion import ReviewFusion


def normed(maps):
    mean, variance = maps.mean((0, 2, 3)), maps.var((0, 2, 3), unbiased=False)
    return (maps - mean[:, None, None]) / (variance[:, None, None] + 1e-5).sqrt()


def by_hand(fusion, student, scales):
    """The fused maps, where the map of stage i is scales[i] times as large as that of i + 1."""
    found, deeper = [], None
    for i in reversed(range(len(student))):
        stage = fusion.stages[i]
        a = normed(torch.einsum("bihw,oi->bohw", student[i], stage.conv1.weight[:, :, 0, 0]))
        if deeper is not None:
            u = deeper.repeat_interleave(scales[i], 2).repeat_interleave(scales[i], 3)
            both, weight = torch.cat([a, u], 1), stage.gates.weight[:, :, 0, 0]
            g = torch.einsum("bihw,oi->bohw", both, weight) + stage.gates.bias[:, None, None]
            g = 1 / (1 + (-g).exp())
            a = g[:, 0:1] * a + g[:, 1:2] * u
        found.insert(0, normed(torch.nn.functional.conv2d(a, stage.conv2.weight, padding=1)))
        deeper = a
    return found


def test_each_stage_is_mixed_with_the_deeper_ones():
    torch.manual_seed(0)
    student = [torch.randn(3, 4, 8, 8), torch.randn(3, 5, 4, 4), torch.randn(3, 6, 2, 2)]
    fusion = ReviewFusion([4, 5, 6], [7, 8, 9], hidden_channels=3)
    expected = by_hand(fusion, student, [2, 2, None])
    torch.testing.assert_close(fusion(student), expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("deepest", [(2, 9, 4, 4), (2, 9, 1, 1), (2, 9, 6, 2)])
def test_it_reads_its_widths_and_sizes_off_the_maps(deepest):
    student = [torch.randn(2, 4, 8, 6), torch.randn(2, 600, 4, 4)]
    teacher = [torch.zeros(2, 7, 8, 6), torch.zeros(deepest)]
    fusion = ReviewFusion.between(student, teacher)
    assert [maps.shape for maps in fusion(student)] == [maps.shape for maps in teacher]
    assert fusion.stages[0].conv1.out_channels == 512
    assert fusion.stages[0].size is None


def test_what_a_stage_gives_depends_on_the_deeper_ones_only():
    torch.manual_seed(0)
    fusion = ReviewFusion([4, 5], [7, 8]).eval()
    student = [torch.randn(2, 4, 4, 4), torch.randn(2, 5, 2, 2)]
    first = fusion(student)
    other = fusion([student[0] + 1, student[1]])
    assert (first[1] == other[1]).all()
    assert (first[0] != fusion([student[0], student[1] + 1])[0]).any()


def test_its_state_goes_round():
    first, second = (ReviewFusion([4, 5], [7, 8]) for _ in range(2))
    student = [torch.randn(2, 4, 4, 4), torch.randn(2, 5, 2, 2)]
    first(student)
    second.load_state_dict(first.state_dict())
    torch.testing.assert_close(second.eval()(student), first.eval()(student))


def test_what_does_not_fit_is_refused():
    maps = torch.zeros(2, 4, 4, 4)
    with pytest.raises(ShapeError, match=r"ReviewFusion: expected as many stages of both"):
        ReviewFusion([4, 5], [7])
    with pytest.raises(ShapeError, match=r"as many layers of both, found student 1 vs teacher 2"):
        ReviewFusion.between([maps], [maps, maps])
    with pytest.raises(ShapeError, match=r"ReviewFusion: expected 1 maps, found 2"):
        ReviewFusion([4], [7])([maps, maps])
    with pytest.raises(ShapeError, match=r"ReviewFusion: expected \[B, 5, H, W\], found \[2, 4"):
        ReviewFusion([5], [7])([maps])
