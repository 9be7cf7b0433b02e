"""Targets inside SemAIM: the model's own tokens, teachers, several at once, maps, checkpoints."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
from conftest import TINY
from mmengine.optim import OptimWrapper
from teachers import BGR, SMALL, random_teacher, rescaled, save
from torch.testing import assert_close

from semaim_mm.errors import InputError
from semaim_mm.pretrain import EMAUpdateHook, SemAIM
from semaim_mm.pretrain.draws import Draws
from semaim_mm.pretrain.order import ORDERS
from semaim_mm.pretrain.similarity import token_similarity
from semaim_mm.pretrain.targets import PixelTarget

EMA = dict(target_generator=dict(type="EMATarget"), ema=dict())
ONLINE = dict(target_generator=dict(type="OnlineTarget"))
FEATURES = dict(head=dict(loss="unit_l2"), similarity_from="target")
GRID = (3, 5)


@pytest.fixture
def imgs() -> torch.Tensor:
    return torch.randn(2, 3, 12, 20, generator=torch.Generator().manual_seed(5))


@pytest.fixture
def teacher(tmp_path) -> dict:
    """A config of a tiny DINO with random weights in a file; ``generator`` of a tiny SemAIM."""
    library = random_teacher("vit_base_patch16_224.dino", img_size=64, num_classes=0)
    path = save(library.state_dict(), tmp_path / "dino.pth")
    model_args = dict(SMALL, img_size=64)
    return dict(
        type="TimmTeacher", model="vit_base_patch16_224.dino", weights=path, model_args=model_args
    )


def moved(model: SemAIM) -> SemAIM:
    """The online backbone away from its averaged copy."""
    with torch.no_grad():
        for parameter in model.backbone.parameters():
            parameter.add_(torch.randn_like(parameter), alpha=0.1)
    return model


def counted(monkeypatch, module: torch.nn.Module, method: str) -> list:
    calls, original = [], getattr(module, method)

    def call(*args, **kwargs):
        calls.append(method)
        return original(*args, **kwargs)

    monkeypatch.setattr(module, method, call)
    return calls


def test_the_copys_tokens_are_the_target_and_give_the_map(tiny_model, imgs):
    model = moved(tiny_model(**EMA, **FEATURES))
    copy = tiny_model()
    copy.backbone.load_state_dict(model.ema.module.state_dict())
    found = model.target(imgs)
    assert torch.equal(found.tokens, copy.encode(imgs))
    assert torch.equal(found.values, found.tokens[:, 1:])
    assert not torch.allclose(found.tokens, model.encode(imgs), rtol=0.01)
    draws = Draws(torch.tensor([[1], [2]]))
    ranks = model.generation_ranks(imgs, found, draws)
    map_of_copy = model.similarity(imgs, "cls", averaged=True)
    assert torch.equal(ranks, model.order.ranks(GRID, Draws(torch.tensor([[1], [2]])), map_of_copy))


def test_the_online_models_own_tokens_are_the_target(tiny_model, imgs):
    model = tiny_model(**ONLINE, **FEATURES, backbone=dict(drop_path_rate=0.5)).train()
    found = model.target(imgs)
    assert torch.equal(found.tokens, model.encode(imgs))
    assert model.backbone.training, "the mode was not put back"


@pytest.mark.parametrize("source", ["target", "online"])
@pytest.mark.parametrize("kind", [EMA, ONLINE], ids=["ema", "online"])
@pytest.mark.parametrize("order", sorted(set(ORDERS.module_dict) - {"Order"}))
def test_own_targets_train_with_every_order(order, kind, source, tiny_model, imgs):
    model = tiny_model(**kind, head=dict(loss="unit_l2"), order=order, similarity_from=source)
    model(imgs, None, mode="loss")["loss"].backward()
    for name, parameter in model.named_parameters():
        assert (parameter.grad is not None) == parameter.requires_grad, name
    if model.ema is not None:
        assert all(parameter.grad is None for parameter in model.ema.parameters())


@pytest.mark.parametrize("order", sorted(set(ORDERS.module_dict) - {"Order"}))
def test_a_teachers_target_trains_with_the_map_of_the_averaged_copy(
    order, tiny_model, teacher, imgs, monkeypatch
):
    """Where the authors' code breaks."""
    ema = dict(ema=dict(), similarity_from="ema")
    model = tiny_model(target_generator=teacher, head=dict(loss="unit_l2"), order=order, **ema)
    moved(model).train()
    needs_map = model.order.similarity is not None
    copy = counted(monkeypatch, model.ema.module, "encode")
    online = counted(monkeypatch, model.backbone, "encode")
    found = model(imgs, None, mode="loss")["loss"]
    assert (len(copy), len(online)) == (int(needs_map), 0)
    found.backward()
    assert torch.isfinite(found)
    for name, parameter in model.named_parameters():
        assert (parameter.grad is not None) == parameter.requires_grad, name
    assert all(parameter.grad is None for parameter in model.ema.parameters())
    target = model.target(imgs)
    assert torch.equal(target.values, model.target_generator(imgs).values)
    draws, again = (Draws(torch.tensor([[1], [2]])) for _ in range(2))
    by_copy = model.similarity(imgs, model.order.similarity, averaged=True) if needs_map else None
    ranks = model.generation_ranks(imgs, target, draws)
    assert torch.equal(ranks, model.order.ranks(GRID, again, by_copy))


def test_no_gradient_flows_through_the_target(tiny_model, imgs):
    model = tiny_model(**ONLINE, head=dict(loss="unit_l2"))
    keys = torch.rand(2, 15, generator=torch.Generator().manual_seed(0))
    model.pretrain_loss(imgs, keys)[0].backward()
    found = {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}
    given = tiny_model(
        target_generator=dict(type="GivenTokens", out_dims=24), head=dict(loss="unit_l2")
    )
    given.load_state_dict(model.state_dict())
    given.pretrain_loss(imgs, keys, model.encode(imgs))[0].backward()
    for name, parameter in given.named_parameters():
        if parameter.grad is not None:
            assert_close(found[name], parameter.grad, msg=name)


def test_one_pass_gives_target_and_map(tiny_model, imgs, monkeypatch):
    model = tiny_model(**EMA, **FEATURES)
    calls = counted(monkeypatch, model.ema.module, "encode")
    online = counted(monkeypatch, model.backbone, "encode")
    model(imgs, None, mode="loss")
    assert (len(calls), len(online)) == (1, 0)


def test_the_target_moves_with_the_copy(tiny_model, imgs):
    model = moved(tiny_model(target_generator=dict(type="EMATarget"), ema=dict(start=0.5, end=0.5)))
    wrapper = OptimWrapper(torch.optim.SGD(model.backbone.parameters(), lr=0.0))
    wrapper.initialize_count_status(model, 0, 1)
    before = model.target(imgs).values
    runner = SimpleNamespace(model=model, optim_wrapper=wrapper, epoch=0)
    EMAUpdateHook().after_train_iter(runner, 0)
    after = model.target(imgs).values
    gap = (after - model.encode(imgs)[:, 1:]).norm()
    assert gap < (before - model.encode(imgs)[:, 1:]).norm()


def test_a_teacher_runs_once_a_step_and_sees_the_pixels_that_the_student_sees(
    tiny_model, teacher, imgs, monkeypatch
):
    generator = dict(teacher, normalize=dict(mean=(127.5,) * 3, std=(127.5,) * 3))
    scale = dict(data_preprocessor=BGR)
    model = tiny_model(target_generator=generator, **scale, **FEATURES)
    library = model.target_generator.load()
    calls = counted(monkeypatch, library, "forward_features")
    model(imgs, None, mode="loss")["loss"].backward()
    assert len(calls) == 1
    seen = rescaled(imgs, (0.5,) * 3, (0.5,) * 3)
    seen = torch.nn.functional.interpolate(seen, (48, 80), mode="bicubic", antialias=True)
    with torch.no_grad():
        expected = library.forward_features(seen)
    assert_close(model.target(imgs).tokens, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("source", ["target", "online"])
def test_the_map_comes_from_either_side_by_key(source, tiny_model, teacher, imgs):
    model = tiny_model(target_generator=teacher, head=dict(loss="unit_l2"), similarity_from=source)
    target = model.target(imgs)
    by_teacher = token_similarity(target.tokens, "cls")
    expected = by_teacher if source == "target" else model.similarity(imgs, "cls")
    other = model.similarity(imgs, "cls") if source == "target" else by_teacher
    found = model.generation_ranks(imgs, target, Draws(torch.tensor([[1], [2]])))
    assert torch.equal(found, model.order.ranks(GRID, Draws(torch.tensor([[1], [2]])), expected))
    assert not torch.equal(found, model.order.ranks(GRID, Draws(torch.tensor([[1], [2]])), other))


def test_the_checkpoint_and_the_optimiser_hold_no_teacher(tiny_model, teacher, imgs):
    model = tiny_model(target_generator=teacher, **FEATURES)
    bare = tiny_model(
        target_generator=dict(type="GivenTokens", out_dims=32), head=dict(loss="unit_l2")
    )
    model(imgs, None, mode="loss")["loss"].backward()
    assert model.state_dict().keys() == bare.state_dict().keys()
    assert [n for n, _ in model.named_parameters()] == [n for n, _ in bare.named_parameters()]
    assert all(p.grad is None for p in model.target_generator.load().parameters())


def test_a_teachers_weights_are_read_before_training(tiny_model, teacher):
    teacher["weights"].unlink()
    with pytest.raises(InputError, match="never downloaded, nor left random"):
        tiny_model(target_generator=teacher, **FEATURES)


BOTH = dict(
    head=dict(
        type="MultiHead",
        heads=[dict(loss="unit_l2"), dict(loss="l2", projection="linear")],
        weights=[1.0, 0.25],
    ),
    similarity_from="target",
)


def multi(*generators: dict, **changes) -> SemAIM:
    generator = dict(type="MultiTarget", generators=list(generators))
    # not by the fixture, which would merge the keys of the single head into these
    model = SemAIM(**TINY | BOTH | dict(target_generator=generator) | changes)
    model.init_weights()
    return model


def test_pixels_beside_features_are_weighed(teacher, imgs):
    model = multi(teacher, dict(type="PixelTarget"))
    keys = torch.rand(2, 15)
    prediction, target = model.predict(imgs, keys), model.target(imgs)
    features, pixels = model.target_generator.generators
    assert prediction.shape == target.values.shape == (2, 15, 32 + 48)
    assert torch.equal(target.values[..., 32:], PixelTarget(patch_size=4)(imgs).values)
    cosine = torch.nn.functional.cosine_similarity(
        prediction[..., :32], features(imgs).values, dim=-1
    )
    squares = (prediction[..., 32:] - pixels(imgs).values).square().mean(dim=-1)
    loss, per_patch = model.pretrain_loss(imgs, keys)
    assert_close(per_patch, 2 - 2 * cosine + 0.25 * squares)
    assert torch.equal(target.tokens, features(imgs).tokens)
    loss.backward()
    assert all(p.grad is not None for p in model.parameters() if p.requires_grad)


def test_several_losses_are_logged_apart_and_not_added_up(teacher, imgs):
    model = multi(teacher, dict(type="PixelTarget"))
    found = model(imgs, None, mode="loss")
    assert list(found) == ["loss", "target0_unit_l2", "target1_l2"]
    assert_close(found["loss"], found["target0_unit_l2"] + 0.25 * found["target1_l2"])
    total, logged = model.parse_losses(found)
    assert torch.equal(total, found["loss"]) and {"target0_unit_l2", "target1_l2"} < set(logged)


def test_the_models_own_tokens_may_stand_beside_pixels(imgs):
    model = multi(dict(type="EMATarget"), dict(type="PixelTarget"), ema=dict())
    assert torch.equal(model.target(imgs).tokens[:, 1:], model.target(imgs).values[..., :24])
    model(imgs, None, mode="loss")["loss"].backward()


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        (EMA | dict(ema=None), r"EMATarget predicts tokens of an averaged copy.*set ema=dict\(\)"),
        (dict(target_generator=dict(type="Nothing")), "no target generator 'Nothing'"),
    ],
)
def test_what_does_not_fit_is_refused(changes, sentence, tiny_model):
    with pytest.raises(InputError, match=sentence):
        tiny_model(**changes)


@pytest.mark.parametrize(
    ("head", "sentence"),
    [
        (dict(type="SemAIMHead"), "MultiTarget and MultiHead go together"),
        (dict(type="MultiHead", heads=[dict()]), "1 heads and 1 weights for 2 targets"),
        (dict(type="MultiHead", heads=[dict()] * 2, weights=[1]), "2 heads and 1 weights"),
        (dict(type="MultiHead", heads=[dict()] * 2, weights=[0, 0]), "nor all zero"),
    ],
)
def test_heads_and_weights_that_do_not_fit_the_targets_are_refused(head, sentence):
    pixels = dict(type="PixelTarget")
    with pytest.raises(InputError, match=sentence):
        multi(pixels, pixels, head=head, similarity_from="online")


def test_pixels_alone_can_not_give_the_map():
    with pytest.raises(InputError, match="MultiTarget offers no tokens"):
        multi(dict(type="PixelTarget"), dict(type="PixelTarget"))
    with pytest.raises(InputError, match="has no generators"):
        multi()
