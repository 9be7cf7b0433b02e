"""What an order figure shows, computed from a checkpoint and a picture: arrays come out.

Legend: rows x columns patches of a picture of H x W pixels; all on the CPU in float32.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import mmcv
import numpy as np
import torch
from mmengine.config import Config
from mmpretrain.registry import MODELS
from torch import Tensor

from semaim_mm.data import LoadImage
from semaim_mm.errors import InputError
from semaim_mm.interop import read_state_dict
from semaim_mm.interop.authors import authors_name, is_authors_state, rename_state
from semaim_mm.interop.backbone_checkpoint import describe
from semaim_mm.pretrain import ORDERS, PixelTarget, SemAIM, build_order
from semaim_mm.pretrain.draws import Draws
from semaim_mm.pretrain.order import Order, SimilarityBased
from semaim_mm.pretrain.similarity import token_similarity
from semaim_mm.pretrain.targets import Target, patchify, unpatchify
from semaim_mm.pretrain.targets.base import gives_rgb
from semaim_mm.pretrain.targets.inside import absent, giver
from semaim_mm.runtime.launch import load_config


@dataclass(frozen=True)
class OrderPicture:
    """One picture and what a model makes of it.

    Attributes:
        image: (H, W, 3) uint8 RGB; so are ``target`` and ``prediction``, which are None where the
            model predicts features.
        similarity: (rows, columns), as the order reads it.
        source: where the map comes from, in words.
        ranks: (rows, columns) int64 by order, the model's own first; 0 is generated first.
        centers: (row, column) of the peaks that an order grows from, by order.
        loss: its mean over the picture's patches, None where the teacher is not at hand.
        target_kind: what is predicted, in words.
        is_normalized: the prediction is of normalised patches, and is drawn with the mean and
            deviation of the target's.
    """

    name: str
    checkpoint: str
    image: np.ndarray
    similarity: np.ndarray
    source: str
    ranks: dict[str, np.ndarray]
    centers: dict[str, list[tuple[int, int]]]
    target: np.ndarray | None
    prediction: np.ndarray | None
    loss: float | None
    target_kind: str
    is_normalized: bool
    seed: int

    @property
    def own(self) -> str:
        """The name of the model's own order."""
        return next(iter(self.ranks))

    @property
    def aspect(self) -> float:
        """Height over width."""
        return self.image.shape[0] / self.image.shape[1]


def find_config(checkpoint: str | Path) -> Path:
    """-> the config that the runner dumped beside a checkpoint. InputError where none is clear."""
    folder = Path(checkpoint).parent
    found = sorted(folder.glob("*.py"))
    named = [path for path in found if path.stem == folder.resolve().name]
    if len(found) == 1 or named:
        return (named or found)[0]
    raise InputError(
        f"Beside {checkpoint} lie {len(found)} configs (*.py), but one is needed to build its "
        "model: name it with --config, e.g. --config configs/pretrain/semaim_vitb.py."
    )


def load_model(checkpoint: str | Path, config: str | Path | None = None) -> SemAIM:
    """A pretraining's checkpoint, ours or the authors' -> its SemAIM in eval mode, on the CPU.

    Args:
        config: a config file; None takes the one beside the checkpoint. Nothing inside the
            checkpoint is executed.

    Raises:
        InputError: no config, one that pretrains no SemAIM, or weights that do not fit it.
    """
    state = read_state_dict(checkpoint)
    path = str(config or find_config(checkpoint))
    cfg = load_config(path)
    if cfg.get("model", {}).get("type") != "SemAIM":
        raise InputError(
            f"{path} does not describe a SemAIM pretraining (its model is "
            f"{cfg.get('model', {}).get('type')}); give the config that pretrained {checkpoint}."
        )
    model = MODELS.build(_without_init(cfg))
    own = set(model.state_dict())
    if is_authors_state(state):
        state, _ = rename_state(state, "ours")
        # their averaged copy lies elsewhere in their file, and only what reads it would need it
        if "ema" in (model.similarity_from, getattr(model.target_generator, "reads", None)):
            raise InputError(
                f"{checkpoint} has the authors' names and no averaged copy of the backbone, which "
                f"{path} reads (its target or its map): the copy would be random. Give a "
                "checkpoint that semaim_mm wrote, or a config with another target_generator and "
                "similarity_from."
            )
        own = {key for key in own if authors_name(key) is not None}
    missing, left_over = own - set(state), set(state) - set(model.state_dict())
    if missing or left_over:
        said = [("it lacks", missing), ("the model has no", left_over)]
        raise InputError(
            f"{checkpoint} is not a checkpoint of {path}: "
            + "; ".join(f"{word} {describe(sorted(keys))}" for word, keys in said if keys)
            + ". Name its own config with --config."
        )
    try:
        model.load_state_dict(state, strict=False)
    except RuntimeError as error:
        raise InputError(
            f"{checkpoint} does not fit {path}: {str(error).splitlines()[1].strip()} Name its own "
            "config with --config."
        ) from error
    return model.eval()


def _without_init(cfg: Config) -> dict:
    """The model's config without init_cfg: the checkpoint fills it all, another may be gone."""
    model = cfg.model.to_dict()
    for part in (model, model["backbone"]):
        part.pop("init_cfg", None)
    return model


def read_picture(path: str | Path, size: tuple[int, int]) -> np.ndarray:
    """An image file -> (H, W, 3) uint8 BGR: resized until it just covers ``size``, centre crop."""
    height, width = size
    results = LoadImage()(dict(img_path=str(path)))
    image = results["img"]
    rows, columns = image.shape[:2]
    scale = max(height / rows, width / columns)
    rows, columns = max(height, round(rows * scale)), max(width, round(columns * scale))
    image = mmcv.imresize(image, (columns, rows), interpolation="bicubic", backend="pillow")
    top, left = (rows - height) // 2, (columns - width) // 2
    return np.ascontiguousarray(image[top : top + height, left : left + width])


def order_names() -> dict[str, type[Order]]:
    """-> every registered order by its shortest name, in the order of registration."""
    names: dict[type[Order], str] = {}
    for name, order in ORDERS.module_dict.items():
        names[order] = min(name, names.get(order, name), key=len)
    return {name: order for order, name in names.items()}


def all_orders(own: Order, source: str) -> dict[str, Order]:
    """-> the model's own order first, then the others: their defaults, on the same map."""
    names = {order: name for name, order in order_names().items()}
    orders = {names.get(type(own), type(own).__name__): own}
    for order, name in names.items():
        if order is not type(own):
            cfg = dict(similarity=source) if issubclass(order, SimilarityBased) else {}
            orders[name] = build_order(dict(type=name, **cfg))
    return orders


@torch.no_grad()
def examine(
    model: SemAIM, path: str | Path, checkpoint: str | Path = "", seed: int = 0
) -> OrderPicture:
    """One image file -> all that its figure shows; ``seed`` is that of the orders' draws."""
    bgr = read_picture(path, model.backbone.img_size)
    pixels = torch.from_numpy(bgr.transpose(2, 0, 1).copy())[None]
    imgs = model.data_preprocessor(dict(inputs=pixels, data_samples=[]), False)["inputs"]
    imgs = imgs[0] if isinstance(imgs, list) else imgs
    grid = model.backbone.patch_resolution
    generator = model.target_generator
    target = model.target(imgs) if absent(generator) is None else None
    similarity, source = _similarity(model, imgs, target)
    ranks, centers = {}, {}
    for name, order in all_orders(model.order, model.order.similarity or "cls").items():
        ranks[name] = order.ranks(grid, picture_draws(seed), similarity)[0].view(grid).numpy()
        peaks = order.centers(grid, similarity)
        if peaks is not None:
            peaks = dict.fromkeys(peaks[0].tolist())  # an order may repeat its first peak
            centers[name] = [divmod(index, grid[1]) for index in peaks]
    keys = torch.from_numpy(next(iter(ranks.values()))).view(1, -1)
    loss = None
    if target is not None:
        loss = model.loss_in_order(imgs, keys, target)[0].mean().item()
    drawn = _pixels(model, imgs, keys) if isinstance(generator, PixelTarget) else (None, None)
    path, checkpoint = Path(path), Path(checkpoint)
    return OrderPicture(
        name=path.stem,
        checkpoint=f"{checkpoint.parent.name}/{checkpoint.name}".strip("/"),
        image=bgr[..., ::-1],
        similarity=similarity[0].view(grid).numpy(),
        source=source,
        ranks=ranks,
        centers=centers,
        target=drawn[0],
        prediction=drawn[1],
        loss=loss,
        target_kind=_target_kind(generator),
        is_normalized=getattr(generator, "normalize", False),
        seed=seed,
    )


def picture_draws(seed: int) -> Draws:
    """-> the draws of one picture: every order and every picture starts from the same ones."""
    return Draws(torch.tensor([[seed]]))


def _similarity(model: SemAIM, imgs: Tensor, target: Target | None) -> tuple[Tensor, str]:
    """-> (1, L) map, and its origin in words."""
    source = model.order.similarity or "cls"
    words = {"cls": "to CLS", "gap": "to the mean patch", "self": "as CLS attention"}[source]
    if model.similarity_from == "target" and target is not None and target.tokens is not None:
        return token_similarity(target.tokens, source), f"{words}, by {_whose(model)}"
    if model.similarity_from == "target":
        words += "; of the model: its teacher is not at hand"
    averaged = model.similarity_from == "ema"
    words += ", by the averaged model" if averaged else ""
    if model.order.similarity is None:
        words += "; the order does not read it"
    return model.similarity(imgs, source, averaged), words


def _whose(model: SemAIM) -> str:
    """Whose tokens the target's map is of, in words."""
    reads = getattr(giver(model.target_generator), "reads", None)
    return {"ema": "the averaged model", "online": "the model itself"}.get(reads, "the teacher")


def _target_kind(generator: torch.nn.Module) -> str:
    if getattr(generator, "reads", None) is not None:
        return f"{generator.out_dims} values a patch, tokens of the model itself among them"
    if not isinstance(generator, PixelTarget):
        return f"{generator.out_dims} teacher features a patch"
    pixels = "blurred pixels" if generator.blur_kernel else "pixels"
    return f"{pixels}, normalised per patch" if generator.normalize else pixels


def _pixels(model: SemAIM, imgs: Tensor, keys: Tensor) -> Iterable[np.ndarray]:
    """(1, 3, H, W) -> target and prediction, (H, W, 3) uint8 RGB each.

    A prediction of normalised patches gets the mean and deviation of the target's patch.
    """
    generator, preprocessor = model.target_generator, model.data_preprocessor
    blurred = generator.blur(imgs)
    patches = patchify(blurred, generator.patch_size)
    prediction = model.predict(imgs, keys)
    if generator.normalize:
        variance, mean = torch.var_mean(patches, dim=-1, keepdim=True)
        prediction = prediction * (variance + 1e-6).sqrt() + mean
    shown = torch.cat([blurred, unpatchify(prediction, model.backbone.patch_resolution)])
    if hasattr(preprocessor, "mean"):
        shown = shown * preprocessor.std + preprocessor.mean
    shown = shown if gives_rgb(preprocessor) else shown.flip(1)
    return shown.round().clamp(0, 255).byte().permute(0, 2, 3, 1).numpy()
