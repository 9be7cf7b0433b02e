"""Features of a frozen ViT from timm: DINO, DINOv2 and v3, SigLIP, MAE, supervised ones.

The teacher lies outside the module tree: no checkpoint, optimiser, gradient or averaged copy ever
sees it. Legend: B images, L patches of the student, D width of the teacher's tokens.
"""

from pathlib import Path
from typing import Any

import timm
import torch
import torch.nn.functional as F
from mmengine.logging import print_log
from mmengine.model import BaseModule
from mmpretrain.registry import MODELS
from torch import Tensor, nn

from semaim_mm.errors import InputError
from semaim_mm.layers import widen
from semaim_mm.pretrain.targets.base import IMAGENET, SCALE, PixelScale, Student, Target
from semaim_mm.pretrain.targets.teacher_labels import taught_by_labels
from semaim_mm.runtime.precision import resolve_precision

NORMALISATIONS = ("teacher", "imagenet", "student")
FITS = ("image", "tokens")


@MODELS.register_module()
class TimmTeacher(BaseModule):
    """Last-layer tokens of a ViT, after its final norm; CLS first, register tokens dropped.

    Where the teacher has no CLS token, the mean of its patches stands in for it in the map.

    Args:
        model: timm's name, with its tag: 'vit_base_patch16_224.dino'. The tag says how inputs are
            normalised; weights are never downloaded.
        weights: file of the weights, in timm's, the method's own, Hugging Face's or OpenAI's names.
            Hugging Face's and OpenAI's are read for plain ViTs alone: of what SemAIMViT can't be
            (DINOv3, SwiGLU, parallel blocks, BEiT) take timm's file, or one that timm converts.
        patch_size: of the student, in pixels.
        normalize: 'teacher' for the mean and std that the tag names, 'imagenet' for ImageNet's,
            'student' for the student's, or dict(mean=..., std=...) of pixels in 0..255. Whatever
            the student sees, a teacher sees RGB.
        fit: how a teacher with other patches meets the student's grid: 'image' resizes the image
            so that the grids agree, 'tokens' shows it the image and resizes the map of tokens.
        precision: 'auto' (bf16 on accelerators, fp32 on the CPU), 'fp32', 'bf16' or 'fp16'.
        model_args: further arguments of timm's model.
        scale: what images were normalised with; the student's where it is built by SemAIM.
        labels: whether class labels taught the weights, which every table then says; None for what
            timm's tag tells, or the tag that timm takes where ``model`` has none.

    Raises:
        InputError: no weights named, a model that timm lacks or that has no tokens of one width.
    """

    gives_tokens = True

    def __init__(
        self,
        model: str,
        weights: str | Path | None = None,
        patch_size: int = 16,
        normalize: str | dict = "teacher",
        fit: str = "image",
        precision: str = "auto",
        model_args: dict | None = None,
        scale: PixelScale = IMAGENET,
        labels: bool | None = None,
    ):
        super().__init__()
        if weights is None:
            raise InputError(
                f"{type(self).__name__} has no weights for {model}, and a teacher with random ones "
                "teaches nothing: set target_generator.weights to a file of them."
            )
        if fit not in FITS:
            raise InputError(f"fit={fit!r} is none of {', '.join(FITS)}; choose one.")
        self.model_name, self.weights, self.patch_size = model, Path(weights), patch_size
        self.model_args, self.fit = dict(model_args or {}), fit
        self.precision, self.scale = precision, scale
        self._teacher: list[nn.Module] = []  # a list hides it from the module tree
        self.digest: str | None = None  # SHA-256 of the weights' file, once it is known
        with torch.device("meta"):
            shell = self._build()
        self.out_dims = self._width(shell)
        self.teacher_scale = self._wanted_scale(shell, normalize)
        self.labels = taught_by_labels(shell.pretrained_cfg) if labels is None else labels

    @classmethod
    def defaults(cls, student: Student) -> dict[str, Any]:
        return dict(patch_size=student.patch_size, scale=student.scale)

    # --- the teacher -----------------------------------------------------------------------------

    def _head_args(self) -> dict[str, Any]:
        return dict(num_classes=0)

    def _width(self, teacher: nn.Module) -> int:
        return teacher.num_features

    def _build(self) -> nn.Module:
        args = dict(dynamic_img_size=True) | self._head_args() | self.model_args
        try:
            teacher = self._create(args)
            if getattr(teacher, "global_pool", "") == "map":  # attention pooling is not run here
                teacher = self._create(args | dict(global_pool=""))
        except (RuntimeError, TypeError) as error:
            raise InputError(
                f"timm can't build the teacher {self.model_name!r} ({error}); name a ViT of "
                "timm.list_models('vit_*', pretrained=True), and arguments that it takes."
            ) from error
        embed = getattr(teacher, "patch_embed", None)
        on_grid = hasattr(embed, "feat_ratio") and hasattr(embed, "grid_size")  # not XCiT's, MViT's
        if not on_grid or not hasattr(teacher, "num_prefix_tokens"):
            raise InputError(
                f"{self.model_name} is no ViT but a {type(teacher).__name__}, which has no tokens "
                "of one width on a grid of patches that timm tells; name a ViT of timm."
            )
        return teacher

    def _create(self, args: dict[str, Any]) -> nn.Module:
        try:
            return timm.create_model(self.model_name, pretrained=False, **args)
        except TypeError as error:
            if "dynamic_img_size" not in str(error) or "dynamic_img_size" in self.model_args:
                raise
            # BEiT and others with tables of relative positions: images of one size
            fixed = {key: value for key, value in args.items() if key != "dynamic_img_size"}
            return timm.create_model(self.model_name, pretrained=False, **fixed)

    def load(self) -> nn.Module:
        """-> the teacher with its weights; the file is read at the first call."""
        if not self._teacher:
            from semaim_mm.pretrain.targets.teacher_file import fill_teacher

            teacher = self._build().eval().requires_grad_(False)
            digest = fill_teacher(teacher, self.weights, self.model_name)
            if self.digest not in (None, digest):
                raise InputError(
                    f"{self.weights} has the SHA-256 {digest}, and {self.digest} is that of the "
                    f"{self.model_name} whose features are in use: put its file there."
                )
            self.digest = digest
            print_log(
                f"Teacher {self.model_name} from {self.weights} (SHA-256 {self.digest}), inputs "
                f"with mean {self.teacher_scale.mean} and std {self.teacher_scale.std}",
                logger="current",
            )
            self._teacher.append(teacher)
        return self._teacher[0]

    def record(self) -> dict[str, Any]:
        """-> which teacher it is: what checkpoints and results say of it; loads no weights."""
        if self.digest is None and not self._teacher:
            from semaim_mm.pretrain.targets.teacher_file import digest_of

            self.digest = digest_of(self.weights, self.model_name)
        return dict(
            type=type(self).__name__,
            model=self.model_name,
            model_args=self.model_args,
            weights=self.weights.name,
            sha256=self.digest,
            mean=list(self.teacher_scale.mean),
            std=list(self.teacher_scale.std),
            fit=self.fit,
            labels=self.labels,
        )

    def init_weights(self) -> None:
        self.load()
        self._is_init = True

    def _wanted_scale(self, teacher: nn.Module, normalize: str | dict) -> PixelScale:
        if isinstance(normalize, dict):
            return PixelScale(*(tuple(normalize[name]) for name in SCALE))
        if normalize not in NORMALISATIONS:
            raise InputError(
                f"normalize={normalize!r} is none of {', '.join(NORMALISATIONS)} and no "
                "dict(mean=..., std=...); choose one."
            )
        if normalize == "student":
            return self.scale.in_rgb()
        if normalize == "imagenet":
            return IMAGENET
        cfg = teacher.pretrained_cfg
        return PixelScale(*(tuple(round(255 * x, 6) for x in cfg[n]) for n in SCALE))

    # --- its tokens ------------------------------------------------------------------------------

    def forward(self, imgs: Tensor) -> Target:
        """(B, 3, H, W) as the student sees them -> values (B, L, D), float32, no gradient."""
        teacher, kind = self.load(), imgs.device.type
        if next(teacher.parameters()).device != imgs.device:
            teacher.to(imgs.device)
        precision = resolve_precision(self.precision, kind)
        dtype = dict(bf16=torch.bfloat16, fp16=torch.float16).get(precision, torch.float32)
        with torch.inference_mode():
            with torch.autocast(kind, enabled=False):
                x = self.scale.convert(imgs.float(), self.teacher_scale)
                x, grid = self.fitted(x, self._patch_of(teacher), self._only_size(teacher))
            with torch.autocast(kind, dtype=dtype, enabled=precision != "fp32"):
                tokens = self.tokens(teacher, x)
            with torch.autocast(kind, enabled=False):
                tokens = self._on_grid(widen(tokens), self._rows(teacher, x), grid)
        tokens = tokens.clone()  # a tensor of inference mode can't enter a loss
        return Target(tokens[:, 1:], tokens)

    def tokens(self, teacher: nn.Module, imgs: Tensor) -> Tensor:
        """(B, 3, H', W') normalised for the teacher -> (B, 1 + L', D) on its own grid."""
        x = teacher.forward_features(imgs)
        x = getattr(teacher, "fc_norm", nn.Identity())(x)  # holds the final norm where it pools
        has_class = getattr(teacher, "cls_token", None) is not None
        return self._anchored(x, teacher.num_prefix_tokens, has_class)

    @staticmethod
    def _anchored(x: Tensor, before: int, has_class: bool) -> Tensor:
        """(B, before + L', D) -> (B, 1 + L', D): CLS, or the mean of the patches, then they."""
        patches = x[:, before:]
        first = x[:, :1] if has_class else patches.mean(dim=1, keepdim=True)
        return torch.cat([first, patches], dim=1)

    def _patch_of(self, teacher: nn.Module) -> tuple[int, int]:
        return tuple(teacher.patch_embed.feat_ratio(as_scalar=False))

    def _only_size(self, teacher: nn.Module) -> tuple[int, int] | None:
        """-> the one size of images that the teacher takes, None where it takes others too."""
        embed = getattr(teacher, "patch_embed", None)
        return tuple(embed.img_size) if getattr(embed, "strict_img_size", False) else None

    def _rows(self, teacher: nn.Module, imgs: Tensor) -> tuple[int, int]:
        sides = zip(imgs.shape[2:], self._patch_of(teacher), strict=True)
        return tuple(side // patch for side, patch in sides)

    def fitted(
        self, imgs: Tensor, patch: tuple[int, int], only: tuple[int, int] | None = None
    ) -> tuple[Tensor, tuple[int, int]]:
        """(B, 3, H, W) -> images of a size that the teacher takes, and the student's grid."""
        if imgs.shape[2] % self.patch_size or imgs.shape[3] % self.patch_size:
            raise InputError(
                f"Images of {imgs.shape[2]} x {imgs.shape[3]} pixels can't be cut into patches of "
                f"{self.patch_size}; crop or resize them to a multiple in the data set's pipeline."
            )
        grid = (imgs.shape[2] // self.patch_size, imgs.shape[3] // self.patch_size)
        if self.fit == "image":
            size = (grid[0] * patch[0], grid[1] * patch[1])
        else:
            sides = zip(imgs.shape[2:], patch, strict=True)
            size = only or tuple(max(1, round(side / p)) * p for side, p in sides)
        if only not in (None, size):
            raise InputError(
                f"{self.model_name} takes images of {only[0]} x {only[1]} pixels alone, and "
                f"{size[0]} x {size[1]} have the student's {grid[0]} x {grid[1]} patches: set "
                f"target_generator.model_args.img_size=({size[0]}, {size[1]}), to which its "
                "positions are resampled, or fit='tokens'."
            )
        if size != tuple(imgs.shape[2:]):
            imgs = F.interpolate(imgs, size, mode="bicubic", antialias=True)
        return imgs, grid

    @staticmethod
    def _on_grid(tokens: Tensor, own: tuple[int, int], grid: tuple[int, int]) -> Tensor:
        """(B, 1 + L', D) on the teacher's grid -> (B, 1 + L, D) on the student's."""
        if own == grid:
            return tokens
        maps = tokens[:, 1:].transpose(1, 2).unflatten(2, own)
        maps = F.interpolate(maps, grid, mode="bilinear", antialias=True)
        return torch.cat([tokens[:, :1], maps.flatten(2).transpose(1, 2)], dim=1)
