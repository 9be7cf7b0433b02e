"""A recipe takes another checkpoint: what travels with the weights goes into the config, told."""

from __future__ import annotations

from collections.abc import Mapping

import pytest
import torch
from huggingface_models import HUGGING_FACE
from mmengine.config import Config
from mmpretrain.registry import MODELS
from openmmlab_models import OPENMMLAB
from test_families import assert_same_tokens, save
from timm_models import TIMM, timm_model

from semaim_mm.errors import InputError
from semaim_mm.interop.backbone_file import depth_of, read_backbone
from semaim_mm.interop.carry import carry_into

CASES = TIMM | HUGGING_FACE | OPENMMLAB
IMAGENET = dict(mean=[123.675, 116.28, 103.53], std=[58.395, 57.12, 57.375])


def recipe(file_arch: dict, path: str, size: int, told: Mapping, **backbone) -> Config:
    """A config as configs/ have it: a plain ViT, ImageNet's mean and std, one checkpoint."""
    return Config(
        dict(
            model=dict(
                type="ImageClassifier",
                backbone=dict(
                    type="SemAIMViT",
                    arch=file_arch,
                    img_size=size,
                    out_type="raw",
                    init_cfg=dict(type="BackboneCheckpoint", checkpoint=path, new_keys=[], **told),
                )
                | backbone,
                data_preprocessor=dict(type="ClsDataPreprocessor", **IMAGENET),
            )
        )
    )


def arch_of(path: str, told: Mapping) -> dict:
    file = read_backbone(path, **told)
    return dict(
        embed_dims=file.state["patch_embed.projection.weight"].shape[0],
        num_layers=depth_of(file.state),
        num_heads=file.origin.num_heads,
        feedforward_channels=file.state["layers.0.ffn.layers.0.0.weight"].shape[0],
    )


@pytest.mark.parametrize("name", CASES)
def test_a_recipes_backbone_gives_the_librarys_tokens_with_every_family(name, tmp_path):
    case = CASES[name]()
    path = save(case.content, tmp_path / "a.pth")
    cfg = recipe(arch_of(path, case.told), path, case.sizes[0][0], case.told)
    lines = carry_into(cfg)
    backbone = MODELS.build(cfg.model.backbone)
    backbone.init_weights()
    assert_same_tokens(backbone, case)
    processor, origin = cfg.model.data_preprocessor, backbone.coverage.origin
    assert (tuple(processor["mean"]), tuple(processor["std"])) == (origin.mean, origin.std)
    assert carry_into(cfg) == [], "a second time there is nothing left to change"
    plain = dict(arch_of(path, case.told))
    fits = recipe(plain, path, case.sizes[0][0], case.told).to_dict() == cfg.to_dict()
    assert fits == (lines == [])


def test_every_change_is_told(tmp_path):
    case = CASES["timm CLIP"]()
    path = save(case.content, tmp_path / "a.pth")
    lines = carry_into(recipe(arch_of(path, {}), path, 64, {}))
    assert "model.backbone.pre_norm: unset -> True, as the checkpoint was trained" in lines
    assert sum("data_preprocessor.mean: [123.675" in line for line in lines) == 1
    assert len(lines) == 5  # also norm_cfg, layer_cfgs, std; no patch bias follows from pre_norm


def finetune_recipe(path: str, told: Mapping, **erasing) -> Config:
    """The finetuning leaf itself, its pipeline as it stands there but for ``erasing``."""
    cfg = Config.fromfile("configs/cls/finetune_vitb.py")
    cfg.model.backbone.init_cfg.update(checkpoint=path, **told)
    pipeline_of(cfg)["RandomErasing"].update(erasing)
    return cfg


def pipeline_of(cfg: Config) -> dict:
    return {step.type: step for step in cfg.train_dataloader.dataset.dataset.pipeline}


def test_colours_that_stand_for_the_mean_follow_it(tmp_path):
    path = save(CASES["timm CLIP"]().content, tmp_path / "a.pth")
    cfg = finetune_recipe(path, {})
    lines = carry_into(cfg)
    steps, processor = pipeline_of(cfg), cfg.model.data_preprocessor
    # erased pixels are noise of mean 0 and deviation 1 once the preprocessor has normalised them
    assert processor.to_rgb, "so the pipeline's own order is BGR"
    assert processor.mean == [122.7709383, 116.7460125, 104.09373615]
    assert steps["RandomErasing"].fill_color[::-1] == processor.mean
    assert steps["RandomErasing"].fill_std[::-1] == processor.std
    assert steps["RandAugment"].hparams.pad_val == [104, 117, 123]
    assert sum("the checkpoint's" in line for line in lines) == 3
    assert carry_into(cfg) == [], "a second time there is nothing left to change"


def test_colours_stay_with_a_mean_that_stays_and_where_they_are_no_mean(tmp_path):
    before = pipeline_of(finetune_recipe("", {}))
    path = save(CASES["MAE"]().content, tmp_path / "mae.pth")
    cfg = finetune_recipe(path, {})
    carry_into(cfg)
    assert pipeline_of(cfg) == before
    path = save(CASES["timm CLIP"]().content, tmp_path / "clip.pth")
    cfg = finetune_recipe(path, {}, fill_color=[0, 0, 0], fill_std=None)
    carry_into(cfg)
    erasing = pipeline_of(cfg)["RandomErasing"]
    assert (erasing.fill_color, erasing.fill_std) == ([0, 0, 0], None)
    cfg = finetune_recipe(path, {})
    cfg.model.data_preprocessor.to_rgb = False
    carry_into(cfg)
    assert pipeline_of(cfg)["RandomErasing"].fill_color == [103.53, 116.28, 123.675], "not its BGR"


def test_a_caller_who_knows_better_is_heard(tmp_path):
    case = CASES["timm CLIP"]()
    path = save(case.content, tmp_path / "a.pth")
    told = dict(norm_eps=1e-6, activation="gelu", mean=IMAGENET["mean"], std=IMAGENET["std"])
    cfg = recipe(arch_of(path, {}), path, 64, told)
    assert carry_into(cfg) == [
        "model.backbone.pre_norm: unset -> True, as the checkpoint was trained"
    ]
    MODELS.build(cfg.model.backbone).init_weights()


def test_patches_of_14_stay_for_tokens_and_are_resampled_for_feature_maps(tmp_path):
    case = CASES["DINOv2"]()
    path = save(case.content, tmp_path / "a.pth")
    arch = arch_of(path, {})
    tokens = recipe(arch, path, 56, {})
    assert "model.backbone.patch_size: unset -> 14, as the checkpoint was trained" in (
        carry_into(tokens)
    )
    for size, out_type in ((224, "featmap"), (512, "raw"), (1024, "featmap")):
        cfg = recipe(arch, path, size, {}, out_type=out_type)
        carry_into(cfg)
        assert cfg.model.backbone.init_cfg.resample_patch and "patch_size" not in cfg.model.backbone
        backbone = MODELS.build(cfg.model.backbone)
        backbone.init_weights()
        assert backbone.patch_resolution == (size // 16, size // 16)
        assert "resampled from 14 to 16" in str(backbone.coverage)


def test_a_config_that_starts_from_nothing_is_left_alone():
    for init in (None, dict(type="BackboneCheckpoint", checkpoint=None)):
        cfg = Config(dict(model=dict(backbone=dict(type="SemAIMViT", init_cfg=init))))
        before = cfg.to_dict()
        assert carry_into(cfg) == [] and cfg.to_dict() == before
    assert carry_into(Config(dict(model=dict(backbone=dict(type="RawPixels"))))) == []
    assert carry_into(Config(dict(train_cfg=None))) == []


def test_what_a_recipe_adds_to_a_plain_checkpoint_stays(tmp_path):
    """MAE with LayerScale and relative bias as new weights, as its segmentation figures have."""
    case = CASES["MAE"]()
    path = save(case.content, tmp_path / "a.pth")
    added = dict(layer_scale_init_value=0.1, rel_pos_bias=True)
    cfg = recipe(arch_of(path, {}), path, 64, {}, **added)
    assert carry_into(cfg) == []
    cfg.model.backbone.init_cfg.new_keys = ["*.gamma?.weight", "*.relative_position_bias_table"]
    backbone = MODELS.build(cfg.model.backbone)
    backbone.init_weights()
    assert len(backbone.coverage.new) == 6
    assert (backbone.layers[1].attn.gamma1.weight == 0.1).all()


def test_a_checkpoint_without_cls_is_refused_where_cls_is_read(tmp_path):
    state = timm_model("vit_base_patch16_siglip_224").state_dict()
    path = save(dict(state), tmp_path / "a.pth")
    cfg = recipe(arch_of(path, {}), path, 64, {}, out_type="cls_token")
    with pytest.raises(InputError, match=r"SigLIP\) has no CLS token, which this config reads"):
        carry_into(cfg)


def test_a_checkpoint_without_cls_passes_where_patches_are_pooled(tmp_path):
    """k-NN on the mean of patches reads no CLS, so any ViT can be judged by it."""
    path = save(dict(timm_model("vit_base_patch16_siglip_224").state_dict()), tmp_path / "a.pth")
    cfg = recipe(arch_of(path, {}), path, 64, {}, out_type="cls_token")
    cfg.model.type, cfg.model.poolings = "FeatureModel", ["patches"]
    carry_into(cfg)
    assert (cfg.model.backbone.with_cls_token, cfg.model.backbone.out_type) == (False, "raw")
    cfg = recipe(arch_of(path, {}), path, 64, {}, out_type="cls_token")
    cfg.model.type, cfg.model.poolings = "FeatureModel", ["patches", "cls"]
    with pytest.raises(InputError, match="no CLS token, which this config reads"):
        carry_into(cfg)


def test_positions_of_another_grid_stay_on_it_where_the_forward_pass_fits_them(tmp_path):
    case = CASES["BEiT"]()
    path = save(case.content, tmp_path / "a.pth")
    windows = dict(size=4, rel_pos="decomposed", map_size=16, global_blocks=[])
    cfg = recipe(arch_of(path, {}), path, 256, {}, windows=windows, with_cls_token=False)
    cfg.model.backbone.out_type = "featmap"
    lines = carry_into(cfg)
    assert any("img_size: 256 ->" in line for line in lines)


def test_a_table_that_a_model_lacks_stays_zero_and_fixed(tmp_path):
    case = CASES["BEiT"]()
    path = save(case.content, tmp_path / "a.pth")
    cfg = recipe(arch_of(path, {}), path, 64, {})
    carry_into(cfg)
    backbone = MODELS.build(cfg.model.backbone)
    backbone.init_weights()
    assert not backbone.pos_embed.any() and not backbone.pos_embed.requires_grad
    assert backbone.layers[0].attn.relative_position_bias_table.requires_grad
    backbone.train()(torch.randn(1, 3, 64, 64))[0].sum().backward()
    assert backbone.layers[0].attn.relative_position_bias_table.grad.abs().sum() > 0
