"""Hugging Face's vision towers, by their own classes and image processors."""

from __future__ import annotations

from collections.abc import Callable

import torch
import transformers
from library_models import IMAGENET, OTHER, Case, prefixed, randomise, scaled, state_of
from torch import Tensor

_HF = dict(
    hidden_size=128,
    num_hidden_layers=2,
    num_attention_heads=2,
    intermediate_size=256,
    image_size=64,
    patch_size=16,
)


def hf_case(config, model, family, processor, prefix="", post=None, sizes=OTHER, **told) -> Case:
    randomise(model)

    def call(x: Tensor) -> Tensor:
        own = tuple(x.shape[2:]) == sizes[0]
        keys = {} if own or isinstance(config, _RESIZES) else dict(interpolate_pos_encoding=True)
        tokens = model(x, **keys).last_hidden_state
        return tokens if post is None else post(model)(tokens)

    tokens = scaled(processor.image_mean, processor.image_std, call)
    return Case(prefixed(state_of(model), prefix), tokens, family, sizes, told)


_RESIZES = (
    transformers.Dinov2Config,
    transformers.Dinov2WithRegistersConfig,
    transformers.BeitConfig,
)


def hf_vit() -> Case:
    config = transformers.ViTConfig(**_HF)
    model = transformers.ViTModel(config)
    case = hf_case(config, model, "Hugging Face ViT", transformers.ViTImageProcessor())
    classifier = {"classifier.weight": torch.randn(3, 128), "classifier.bias": torch.randn(3)}
    return case._replace(content=prefixed(case.content, "vit.") | classifier)


def hf_deit() -> Case:
    config = transformers.DeiTConfig(**_HF)
    model = transformers.DeiTModel(config)
    # the files' own preprocessor_config.json says so; the class alone would say 0.5
    processor = transformers.DeiTImageProcessor(image_mean=IMAGENET[0], image_std=IMAGENET[1])
    return hf_case(config, model, "Hugging Face DeiT", processor, "deit.")


def hf_mae() -> Case:
    """The whole pretraining model is the file; its encoder, without masking, is compared."""
    config = transformers.ViTMAEConfig(**_HF, mask_ratio=0.0, decoder_hidden_size=32)
    whole = randomise(transformers.ViTMAEForPreTraining(config))

    def call(x: Tensor) -> Tensor:
        noise = torch.arange(len(x[0, 0]) // 16 * (x.shape[3] // 16)).float().repeat(len(x), 1)
        return whole.vit(x, noise=noise, interpolate_pos_encoding=True).last_hidden_state

    return Case(state_of(whole), scaled(*IMAGENET, call), "Hugging Face ViTMAE", sizes=OTHER)


def hf_dinov2() -> Case:
    config = transformers.Dinov2Config(**_HF | dict(patch_size=14, image_size=56), mlp_ratio=2)
    model = transformers.Dinov2Model(config)
    processor = transformers.BitImageProcessor(image_mean=IMAGENET[0], image_std=IMAGENET[1])
    sizes = ((56, 56), (70, 98))
    return hf_case(config, model, "Hugging Face DINOv2", processor, "dinov2.", sizes=sizes)


def hf_dinov2_registers() -> Case:
    config = transformers.Dinov2WithRegistersConfig(
        **_HF | dict(patch_size=14, image_size=56), mlp_ratio=2, num_register_tokens=4
    )
    model = transformers.Dinov2WithRegistersModel(config)
    processor = transformers.BitImageProcessor(image_mean=IMAGENET[0], image_std=IMAGENET[1])
    # at other sizes this class interpolates with antialias, another rule than ours
    return hf_case(config, model, "Hugging Face DINOv2", processor, sizes=((56, 56),))


def hf_beit(shared: bool = False) -> Callable[[], Case]:
    def build() -> Case:
        config = transformers.BeitConfig(
            **_HF,
            use_relative_position_bias=not shared,
            use_shared_relative_position_bias=shared,
            use_absolute_position_embeddings=shared,
            use_mean_pooling=not shared,
            use_mask_token=True,
        )
        model = transformers.BeitModel(config)
        processor = transformers.BeitImageProcessor()
        sizes = ((64, 64),) if shared else OTHER
        return hf_case(config, model, "Hugging Face BEiT", processor, "beit.", sizes=sizes)

    return build


def hf_clip() -> Case:
    config = transformers.CLIPVisionConfig(**_HF)
    model = transformers.CLIPVisionModel(config)
    case = hf_case(
        config,
        model,
        "Hugging Face CLIP",
        transformers.CLIPImageProcessor(),
        post=lambda m: m.vision_model.post_layernorm,
    )
    text = {"text_model.final_layer_norm.weight": torch.ones(4), "logit_scale": torch.ones(())}
    return case._replace(content=case.content | text)


def hf_siglip() -> Case:
    config = transformers.SiglipVisionConfig(**_HF)
    model = transformers.SiglipVisionModel(config)
    return hf_case(config, model, "Hugging Face SigLIP", transformers.SiglipImageProcessor())


HUGGING_FACE = {
    "Hugging Face ViT": hf_vit,
    "Hugging Face DeiT": hf_deit,
    "Hugging Face ViTMAE": hf_mae,
    "Hugging Face DINOv2": hf_dinov2,
    "Hugging Face DINOv2 with registers": hf_dinov2_registers,
    "Hugging Face BEiT": hf_beit(),
    "Hugging Face BEiT with a shared table": hf_beit(shared=True),
    "Hugging Face CLIP": hf_clip,
    "Hugging Face SigLIP": hf_siglip,
}
