"""SemAIM (arXiv 2312.10457): predict image patches one after another, the most semantic first.

    image -> patches -> similarity map -> order -> content stream and query stream -> loss

Legend: B images, L patches in raster order unless said otherwise, D embed_dims, P target width.
Inside, tokens are gathered into generation order once; then both streams are plainly causal.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from mmpretrain.models.selfsup.base import BaseSelfSupervisor
from mmpretrain.registry import MODELS
from mmpretrain.structures import DataSample
from torch import Tensor

from semaim_mm.errors import InputError
from semaim_mm.layers import gather_tokens
from semaim_mm.pretrain.check_parts import check_parts, target_widths
from semaim_mm.pretrain.compiled import compile_hot
from semaim_mm.pretrain.draws import Draws
from semaim_mm.pretrain.ema import BackboneEMA
from semaim_mm.pretrain.frozen import frozen_eval
from semaim_mm.pretrain.multi_head import MultiHead
from semaim_mm.pretrain.order import Order, build_order
from semaim_mm.pretrain.similarity import similarity_map, token_similarity
from semaim_mm.pretrain.targets import (
    GivenTokens,
    PixelScale,
    Student,
    Target,
    build_target,
    make_target,
)


@MODELS.register_module()
class SemAIM(BaseSelfSupervisor):
    """The algorithm: backbone (content stream), neck (query stream), head, target and order.

    Widths, depth and patch size are the backbone's wherever the other parts don't state them.

    Args:
        backbone: SemAIMViT.
        neck: SemAIMDecoder.
        head: SemAIMHead.
        target_generator: PixelTarget, or one of features (pretrain/targets).
        order: a name such as 'semantic', or dict(type='SemanticOrder', similarity='cls').
        similarity_from: whose tokens give the similarity map: the 'online' model's, the 'ema'
            copy's, or the 'target' generator's teacher.
        similarity_fp32: compute the online or averaged model's similarity pass in float32, as the
            authors do, where the rest of the step runs in half precision; else only its final norm
            and cosine are. So is the pass of own tokens (EMATarget, OnlineTarget) where the map is
            theirs; another teacher has a precision of its own.
        ema: None, or a dict of BackboneEMA's arguments: keep an averaged copy of the backbone.
        cls_last: CLS stands after all patches in the causal order and the registers, of which the
            backbone must have one at least, before them. Nothing reads CLS then and no gradient
            reaches it, but its content output depends on the image, which with CLS first it never
            does. With CLS first, registers follow it.
        compiled: None, or torch.compile's backend or a dict of its arguments, for the similarity
            pass, the streams and the loss.
        data_preprocessor, init_cfg: as in mmpretrain.

    Raises:
        InputError: parts whose widths or depths do not fit each other.
    """

    def __init__(
        self,
        backbone: dict,
        neck: dict,
        head: dict,
        target_generator: dict,
        order: str | dict | Order = "semantic",
        similarity_from: str = "online",
        similarity_fp32: bool = False,
        ema: dict | None = None,
        cls_last: bool = False,
        compiled: str | dict | None = None,
        data_preprocessor: dict | None = None,
        init_cfg: dict | None = None,
    ):
        backbone = MODELS.build(backbone)
        scale = PixelScale.of(data_preprocessor)
        student = Student(backbone.patch_size, backbone.embed_dims, scale)
        target_generator = build_target(target_generator, student)
        super().__init__(
            backbone=backbone,
            neck=dict(backbone.stream_shape()) | neck,
            head=dict(embed_dims=backbone.embed_dims)
            | target_widths(target_generator, head)
            | head,
            target_generator=target_generator,
            data_preprocessor=data_preprocessor,
            init_cfg=init_cfg,
        )
        self.order = build_order(order)
        self.similarity_from, self.similarity_fp32 = similarity_from, similarity_fp32
        self.cls_last = cls_last
        check_parts(self, ema)
        if cls_last:
            self.backbone.cls_token.requires_grad_(False)  # or DDP waits for its gradient
        self.ema = None if ema is None else BackboneEMA(self.backbone, **ema)
        self.similarity_map = similarity_map
        if compiled is not None:
            compile_hot(self, **(dict(backend=compiled) if isinstance(compiled, str) else compiled))

    def init_weights(self) -> None:
        super().init_weights()
        if self.ema is not None:
            self.ema.copy_from(self.backbone)

    # --- one training step ------------------------------------------------------------------

    def loss(
        self, inputs: Tensor, data_samples: Sequence[DataSample] | None = None
    ) -> dict[str, Tensor]:
        """(B, 3, H, W) normalised images -> dict(loss=()), the mean over all patches.

        Several targets are logged apart, unweighed, under names that the runner doesn't add up.
        """
        target = self.target(inputs, *self._ids(data_samples))
        ranks = self.generation_ranks(inputs, target, Draws.of_samples(inputs, data_samples))
        order = ranks.argsort(dim=1, stable=True)
        compared = self.predict_in_order(inputs, order), gather_tokens(target.values, order)
        if not isinstance(self.head, MultiHead):
            return dict(loss=self.head.loss(*compared).mean())
        loss, parts = self.head.weighed(*compared)
        logged = {name: part.detach().mean() for name, part in parts.items()}
        return dict(loss=loss.mean(), **logged)

    def _ids(self, samples: Sequence[DataSample] | None) -> tuple[list[int], ...]:
        """What a target that is read by sample id gets beside the images; others get nothing."""
        if not getattr(self.target_generator, "keyed", False):
            return ()
        keys = [sample.get("sample_key") for sample in samples or ()]
        if not keys or None in keys:
            raise InputError(
                f"{type(self.target_generator).__name__} reads features by sample id, and these "
                "images have none; wrap the training set in KeyedDataset with KeyedSampler."
            )
        return ([key[2] for key in keys],)

    def target(self, imgs: Tensor, *given: Tensor) -> Target:
        """(B, 3, H, W) -> what to predict, without gradient; a teacher runs once."""
        return make_target(self.target_generator, imgs, self, *given)

    def generation_ranks(self, imgs: Tensor, target: Target, draws: Draws) -> Tensor:
        """(B, 3, H, W) -> (B, L) int64 ranks; no similarity pass where the order needs none."""
        size = self.backbone.patch_size
        grid = (imgs.shape[2] // size, imgs.shape[3] // size)
        source = self.order.similarity
        similarity = None if source is None else self.similarity_for_order(imgs, target, source)
        return self.order.ranks(grid, draws, similarity)

    def similarity_for_order(self, imgs: Tensor, target: Target, source: str) -> Tensor:
        """(B, 3, H, W) -> (B, L) map from whose tokens ``similarity_from`` says."""
        if self.similarity_from == "target":
            return token_similarity(target.tokens, source)
        return self.similarity(imgs, source, averaged=self.similarity_from == "ema")

    def loss_in_order(self, imgs: Tensor, keys: Tensor, target: Target) -> tuple[Tensor, Tensor]:
        """-> (B, L) loss and (B, L) patch index, both in generation order."""
        order = keys.argsort(dim=1, stable=True)
        prediction = self.predict_in_order(imgs, order)
        return self.head.loss(prediction, gather_tokens(target.values, order)), order

    def predict_in_order(self, imgs: Tensor, order: Tensor) -> Tensor:
        """(B, 3, H, W), (B, L) patch indices -> (B, L, P) predictions in that order."""
        content, positions = self._content(imgs, order)
        # no query sees the last patch; without it both streams have the same causal triangle, for
        # which a row that predicts nothing stands under every token before the patches but one
        idle = self.front_length - 1
        content = content[:, : idle + order.shape[1]]
        queries = gather_tokens(positions.expand(len(imgs), -1, -1), order)
        if idle:
            queries = F.pad(queries, (0, 0, idle, 0))
        states = self.backbone.causal_states(content, self.neck.stride)
        queries = self.neck(queries, states, self.backbone.layers)[:, idle:]
        # the backbone's final norm closes the query stream; the authors share it
        return self.head(self.backbone.ln1(queries))

    @property
    def front_length(self) -> int:
        """How many tokens stand before the patches in the causal order."""
        return self.backbone.num_extra_tokens - int(self.cls_last)

    def front_tokens(self, batch: int, positions: Tensor) -> Tensor:
        """Number of images, (1, E + L, D) positions -> (B, E, D): what stands before the patches.

        CLS and the registers, or with ``cls_last`` the registers alone (E less one).
        """
        tokens = [] if self.cls_last else [self.backbone.class_token(batch, positions)]
        registers = self.backbone.register_tokens
        if registers is not None:
            registers = registers + positions[:, 1 : self.backbone.num_extra_tokens]
            tokens.append(registers.expand(batch, -1, -1))
        return torch.cat(tokens, dim=1)

    def _content(self, imgs: Tensor, order: Tensor) -> tuple[Tensor, Tensor]:
        """-> (B, E + L, D) content tokens in causal order, (1, L, D) positions of the patches."""
        patches, positions, _ = self.backbone.embed(imgs)
        tokens = [self.front_tokens(len(imgs), positions), gather_tokens(patches, order)]
        if self.cls_last:
            tokens.append(self.backbone.class_token(len(imgs), positions))
        content = self.backbone.drop_after_pos(torch.cat(tokens, dim=1))
        return content, positions[:, self.backbone.num_extra_tokens :]

    def content_class(self, imgs: Tensor, order: Tensor) -> Tensor:
        """(B, 3, H, W), (B, L) patch indices -> (B, D): CLS as the content stream puts it out.

        After the final norm, causal as in training; for analyses.
        """
        content, _ = self._content(imgs, order)
        *_, last = self.backbone.causal_states(content, 1)
        return self.backbone.ln1(last[:, -1 if self.cls_last else 0])

    # --- in raster order, for tools and equality tests ----------------------------------------

    def encode(self, imgs: Tensor) -> Tensor:
        """(B, 3, H, W) -> (B, 1 + L, D) tokens, CLS first, unmasked, in eval mode."""
        with frozen_eval(self.backbone):
            return self.backbone.without_registers(self.backbone.encode(imgs))

    def similarity(self, imgs: Tensor, source: str = "cls", averaged: bool = False) -> Tensor:
        """(B, 3, H, W) -> (B, L) similarity map; ``averaged`` asks the EMA copy."""
        backbone = self.ema.module if averaged else self.backbone
        half = torch.is_autocast_enabled(imgs.device.type) and not self.similarity_fp32
        with frozen_eval(backbone), torch.autocast(imgs.device.type, enabled=half):
            return self.similarity_map(backbone, imgs, source)

    def predict(self, imgs: Tensor, keys: Tensor) -> Tensor:
        """(B, 3, H, W), (B, L) keys, smaller first -> (B, L, P) predictions."""
        order = keys.argsort(dim=1, stable=True)
        return gather_tokens(self.predict_in_order(imgs, order), order.argsort(dim=1))

    def pretrain_loss(
        self, imgs: Tensor, keys: Tensor, teacher_tokens: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """-> loss (), loss of every patch (B, L).

        ``teacher_tokens`` (B, 1 + L, P) are the features to predict where the target generator is
        GivenTokens; other generators make their own target and don't read them.
        """
        given = (teacher_tokens,) if isinstance(self.target_generator, GivenTokens) else ()
        loss, order = self.loss_in_order(imgs, keys, self.target(imgs, *given))
        return loss.mean(), loss.gather(1, order.argsort(dim=1))
