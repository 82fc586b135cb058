import pytest
import torch
from torch.nn import functional as F

from tutelage.errors import InputError, ShapeError
from tutelage.models import DistilledViT, create, load_tensors

SMALL = {"num_classes": 5, "in_channels": 1, "size": (14, 14), "patch": 7, "width": 8, "heads": 2}


def small(**options) -> DistilledViT:
    torch.manual_seed(0)
    model = create("distilled_vit", **{**SMALL, "depth": 2, **options})
    with torch.no_grad():  # far from the first weights, which are nearly a linear model
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.3)
    return model


def layer_norm(x, norm):
    mean, variance = x.mean(-1, keepdim=True), x.var(-1, keepdim=True, unbiased=False)
    return (x - mean) / (variance + norm.eps).sqrt() * norm.weight + norm.bias


def by_hand(model: DistilledViT, image: torch.Tensor) -> list[torch.Tensor]:
    """One image through the equations, head by head and token by token."""
    p = model.patch
    rows, columns = model.grid
    patches = [
        image[:, r * p : (r + 1) * p, c * p : (c + 1) * p].flatten()
        for r in range(rows)
        for c in range(columns)
    ]
    embed = model.patch_embed
    x = [embed.weight.flatten(1) @ patch + embed.bias for patch in patches]
    prefix = [t[0, 0] for t in (model.cls_token, model.dist_token) if t is not None]
    x = torch.stack([*prefix, *x]) + model.pos_embed[0]
    for block in model.blocks:
        qkv = layer_norm(x, block.norm1) @ block.attn.qkv.weight.T + block.attn.qkv.bias
        q, k, v = qkv.chunk(3, -1)
        size, mixed = q.shape[-1] // block.attn.heads, []
        for start in range(0, q.shape[-1], size):
            one = slice(start, start + size)
            scores = (q[:, one] @ k[:, one].T / size**0.5).exp()
            mixed.append(scores / scores.sum(-1, keepdim=True) @ v[:, one])
        proj = block.attn.proj
        x = x + torch.cat(mixed, -1) @ proj.weight.T + proj.bias
        first, _, second = block.mlp
        hidden = F.gelu(layer_norm(x, block.norm2) @ first.weight.T + first.bias)
        x = x + hidden @ second.weight.T + second.bias
    x = layer_norm(x, model.norm)
    heads = [head for head in (model.head, model.head_dist) if head is not None]
    return [head.weight @ x[i] + head.bias for i, head in enumerate(heads)]


@pytest.mark.parametrize("distilled", [True, False])
def test_it_is_the_transformer_of_the_paper(distilled):
    model = small(distilled=distilled)
    image = torch.randn(1, 14, 14)
    found = model(image[None])
    for one, expected in zip(found if distilled else [found], by_hand(model, image), strict=True):
        torch.testing.assert_close(one[0], expected)


def test_training_returns_both_heads_and_evaluation_their_average():
    model, images = small(), torch.randn(3, 1, 14, 14)
    cls, dist = model(images)
    assert cls.shape == dist.shape == (3, 5)
    torch.testing.assert_close(model.eval()(images), (cls + dist) / 2)


def test_distilled_training_can_be_switched_off_as_in_timm():
    model, images = small(), torch.randn(3, 1, 14, 14)
    cls, dist = model(images)
    model.set_distilled_training(False)
    torch.testing.assert_close(model(images), (cls + dist) / 2)
    model.set_distilled_training()
    assert len(model(images)) == 2


def test_the_plain_sibling_differs_by_a_token_and_a_head():
    distilled, plain = small(), small(distilled=False)
    names = dict(distilled.named_parameters()).keys() - dict(plain.named_parameters()).keys()
    assert names == {"dist_token", "head_dist.weight", "head_dist.bias"}
    assert distilled.pos_embed.shape[1] - plain.pos_embed.shape[1] == 1
    assert plain(torch.randn(3, 1, 14, 14)).shape == (3, 5)
    with pytest.raises(InputError, match=r"expected a distillation token.*distilled=True"):
        plain.set_distilled_training()


def test_neither_token_nor_position_is_decayed():
    names = small().no_weight_decay()
    assert names == {"pos_embed", "cls_token", "dist_token"}
    assert names <= dict(small().named_parameters()).keys()
    assert small(distilled=False).no_weight_decay() == {"pos_embed", "cls_token"}


@pytest.mark.parametrize(("size", "patch"), [((28, 28), 4), ((28, 28), 7), ((14, 21), 7)])
def test_grey_images_of_several_sizes_fit(size, patch):
    model = create("distilled_vit", num_classes=10, in_channels=1, size=size, patch=patch).eval()
    assert model(torch.zeros(2, 1, *size)).shape == (2, 10)


def test_colour_images_fit():
    model = small(in_channels=3).eval()
    assert model(torch.zeros(2, 3, 14, 14)).shape == (2, 5)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"patch": 4}, r"divides images of 14x14 pixels, found patch=4; choose one of \[1, 2, 7"),
        ({"heads": 3}, "multiple of heads, found width=8 and heads=3"),
        ({"depth": 0}, "expected counts of at least 1"),
        ({"drop_path": 1.0}, "drop_path of at least 0 and below 1, found 1.0"),
    ],
)
def test_numbers_that_do_not_go_together_are_refused(options, message):
    with pytest.raises(InputError, match=message):
        create("distilled_vit", **{**SMALL, **options})


def test_images_of_another_size_are_refused():
    with pytest.raises(ShapeError, match=r"expected images \[B, 1, 14, 14\], found \[2, 1, 28, 28"):
        small()(torch.zeros(2, 1, 28, 28))


def test_stochastic_depth_draws_in_training_only_and_keeps_the_mean():
    model, images = small(drop_path=0.5), torch.randn(2000, 1, 14, 14)[:1].expand(2000, -1, -1, -1)
    block = model.blocks[-1]
    tokens = torch.randn(1, 6, 8).expand(4000, -1, -1)
    with torch.no_grad():
        drawn = block.drop_path(tokens)
        assert set(drawn.flatten(1).abs().sum(1).gt(0).tolist()) == {True, False}
        torch.testing.assert_close(drawn.mean(0), tokens[0], rtol=0.1, atol=0.05)
        assert model(images)[0].std(0).max() > 1e-3
        assert model.eval()(images).std(0).max() < 1e-5


def test_weights_of_another_image_size_are_interpolated():
    coarse, fine = small(), small(size=(28, 28))
    report = load_tensors(fine, coarse.state_dict(), source="14 pixels")
    assert report.random_head == ()
    old, new = coarse.pos_embed, fine.pos_embed
    assert torch.equal(new[:, :2], old[:, :2])  # class and distillation token
    patches = old[0, 2:].T.reshape(1, 8, 2, 2)
    expected = F.interpolate(patches, size=(4, 4), mode="bicubic", antialias=True)
    torch.testing.assert_close(new[0, 2:].T.reshape(1, 8, 4, 4), expected)
    assert torch.equal(fine.blocks[0].attn.qkv.weight, coarse.blocks[0].attn.qkv.weight)


def test_weights_of_the_same_image_size_are_taken_as_they_are():
    one, other = small(), small()
    with torch.no_grad():
        one.pos_embed.normal_()
    load_tensors(other, one.state_dict(), source="same")
    assert torch.equal(one.pos_embed, other.pos_embed)


def test_weights_that_lie_on_no_square_grid_are_refused():
    with pytest.raises(InputError, match=r"2 leading tokens and a square grid.*found 8 tokens"):
        load_tensors(small(), small(size=(14, 21)).state_dict(), source="oblong")


def test_weights_of_the_plain_sibling_are_refused_by_name():
    with pytest.raises(InputError, match="missing, such as dist_token"):
        load_tensors(small(), small(distilled=False).state_dict(), source="plain")


def test_both_heads_stay_fresh_for_other_classes():
    pretrained, fresh = small(), small(num_classes=3)
    report = load_tensors(fresh, pretrained.state_dict(), source="x", allow_random_head=True)
    heads = ("head.weight", "head.bias", "head_dist.weight", "head_dist.bias")
    assert report.random_head == heads
    assert torch.equal(fresh.dist_token, pretrained.dist_token)


def test_it_compiles_without_a_break():
    model, images = small(drop_path=0.1), torch.randn(2, 1, 14, 14)
    compiled = torch.compile(model, fullgraph=True, backend="eager")
    model.eval()
    torch.testing.assert_close(compiled(images), model(images))
