"""What reading a teacher's features saves: a training step with a CachedTarget and without.

``tools/cache_teacher.py CONFIG --measure ROUNDS`` after the cache is written.
"""

from typing import NamedTuple

from mmengine.config import Config
from mmengine.optim import build_optim_wrapper
from mmengine.registry import init_default_scope
from mmpretrain.registry import MODELS
from mmpretrain.structures import DataSample

from semaim_mm.bench.timing import Spread, interleave
from semaim_mm.pretrain.write_cache import Images, cached_target
from semaim_mm.runtime.precision import resolve_precision, wrapper_options
from semaim_mm.runtime.spread import spread_keys


class Saving(NamedTuple):
    """Seconds of a step, by the live teacher and by the cache, over ``batch`` images."""

    live: Spread
    cached: Spread
    batch: int

    def __str__(self) -> str:
        return (
            f"a step of {self.batch} images: {self.live.median:.3f} s with the teacher "
            f"({self.live.lowest:.3f} to {self.live.highest:.3f}), {self.cached.median:.3f} s with "
            f"cached features ({self.cached.lowest:.3f} to {self.cached.highest:.3f}), "
            f"{self.live.median / self.cached.median:.2f} times as fast"
        )


def measure(cfg: Config, rounds: int) -> Saving:
    """A leaf with a CachedTarget whose cache is written -> seconds of its training step, each way.

    Both arms make the same whole update (forward, backward, optimiser) on the same images, which
    lie on the device, in turn; the first update of each is not counted.
    """
    init_default_scope(cfg.default_scope)
    spread_keys(cfg)
    model = MODELS.build(cfg.model)
    model.init_weights()
    images = Images(cfg, model.data_preprocessor)
    model.to(images.device)
    batch = min(cfg.train_dataloader.batch_size, len(images))
    imgs = images.batch(range(batch))
    samples = [DataSample(metainfo=dict(sample_key=(0, 0, n))) for n in range(batch)]
    settings = {**cfg.optim_wrapper, **wrapper_options(resolve_precision("auto", imgs.device.type))}
    settings["optimizer"] = {**settings["optimizer"], "lr": 1e-4}
    wrapper, cached = build_optim_wrapper(model, settings), cached_target(model)
    ways = dict(live=lambda imgs, ids: cached.teacher(imgs), cached=cached.forward)

    def step(way: str) -> None:
        cached.forward = ways[way]
        with wrapper.optim_context(model):
            loss = model.loss(imgs, samples)["loss"]
        wrapper.update_params(loss)

    arms = {way: lambda way=way: step(way) for way in ways}
    taken = interleave(arms, rounds)
    return Saving(Spread.of(taken["live"]), Spread.of(taken["cached"]), batch)
