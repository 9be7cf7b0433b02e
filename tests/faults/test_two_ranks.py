"""Two ranks make the updates of one, with one exchange of gradients each."""

from __future__ import annotations

import json
from pathlib import Path

import fault_runs as runs
import pytest
import shipped_leaves as shipped
import torch
from mmengine.hooks import Hook
from torch.distributed.algorithms.ddp_comm_hooks.default_hooks import allreduce_hook

from semaim_mm.runtime.hooks import unwrap

pytestmark = pytest.mark.slow
UPDATES = 4
LEAVES = {
    "pretrain": (shipped.PRETRAIN, shipped.pretraining),
    "finetune": (shipped.FINETUNE, shipped.finetuning),
    "detect": (shipped.DETECT, shipped.detection),
    "segment": (shipped.SEGMENT, shipped.segmentation),
}


class Watch(Hook):
    """Writes a line an update: buckets reduced in it, and the loss over all ranks and steps."""

    priority = "LOW"

    def __init__(self):
        self.reduced, self.losses = [], []

    def before_train(self, runner) -> None:
        if runner.world_size > 1:
            runner.model.register_comm_hook(None, self._reduce)
            told = runner.model._get_ddp_logging_data()
            names = ("static_graph", "gradient_as_bucket_view", "broadcast_buffers")
            lines = {name: bool(getattr(runner.model, name, told.get(name))) for name in names}
            Path(runner.work_dir, "wrapper.json").write_text(json.dumps(lines))

    def _reduce(self, state, bucket):  # torch refuses annotations that are strings
        self.reduced.append(bucket.index())
        return allreduce_hook(state, bucket)

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None) -> None:
        self.losses.append(outputs["loss"].detach().clone())
        if (runner.iter + 1) % runner.batch_plan.accumulation:
            return
        loss = torch.stack(self.losses).mean()
        if runner.world_size > 1:
            torch.distributed.all_reduce(loss)
        with Path(runner.work_dir, f"updates{runner.rank}.jsonl").open("a") as file:
            line = dict(reduced=self.reduced, loss=loss.item() / runner.world_size)
            file.write(json.dumps(line) + "\n")
        self.reduced, self.losses = [], []

    def after_train(self, runner) -> None:
        weights = unwrap(runner.model).state_dict()
        torch.save(weights, Path(runner.work_dir, f"weights{runner.rank}.pt"))


def watched(runner) -> None:
    runner.register_hook(Watch())


def options(name: str, root: Path, steps: int, **more) -> dict:
    """UPDATES updates or so of as many images as two ranks see in ``steps`` steps."""
    images = 1 if name == "detect" else 2
    batch = {"total_batch": 2 * images * steps, "train_dataloader.batch_size": images}
    made = LEAVES[name][1](root) | batch | {"precision": "fp32"} | more
    if name in ("detect", "segment"):
        made |= {"train_cfg.max_iters": UPDATES, "train_cfg.val_interval": UPDATES}
    return made


def ended(name: str, wanted: dict, work_dir: Path, ranks: int) -> list[list[dict]]:
    """Train -> each rank's updates."""
    done = runs.train_ranks(LEAVES[name][0], wanted, work_dir, [watched] * ranks)
    assert [one.code for one in done] == [0] * ranks, done[0].out[-3000:]
    files = [work_dir / f"updates{rank}.jsonl" for rank in range(ranks)]
    return [[json.loads(line) for line in file.read_text().splitlines()] for file in files]


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    return tmp_path_factory.mktemp("ranks")


@pytest.fixture(autouse=True)
def own_cache(place, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(place / "cache"))


def assert_close_weights(work_dir: Path, other_dir: Path) -> None:
    one, other = (torch.load(folder / "weights0.pt") for folder in (work_dir, other_dir))
    for name, value in one.items():
        close = other[name]
        if name.endswith("attn.k.bias"):
            continue  # attention ignores key biases: their gradient is rounding, which Adam scales
        if name.endswith("qkv.bias"):
            value, close = (x.view(3, -1)[[0, 2]] for x in (value, close))
        assert torch.allclose(close, value, rtol=1e-5, atol=1e-5), name


RECOMPUTED = {"model.backbone.with_cp": True, "model.neck.with_cp": True}
COMPILED = {"model.compiled": "aot_eager"}


@pytest.mark.parametrize("steps", [1, 2])
@pytest.mark.parametrize("more", [{}, RECOMPUTED, COMPILED])
def test_two_ranks_give_the_losses_and_weights_of_one(steps, more, place, tmp_path):
    # drop path draws by rank; images, crops and orders by sample
    more = {"model.backbone.drop_path_rate": 0.0, "model.ema": None, **more}
    wanted = options("pretrain", place, steps, **more)
    (one,) = ended("pretrain", wanted | {"train_dataloader.batch_size": 4}, tmp_path / "one", 1)
    two, same = ended("pretrain", wanted, tmp_path / "two", 2)
    assert two == same and len(two) == len(one) >= UPDATES
    assert [x["loss"] for x in two] == pytest.approx([x["loss"] for x in one], rel=1e-5)
    assert_close_weights(tmp_path / "two", tmp_path / "one")
    assert [len(x["reduced"]) for x in two] == [1] * len(two)


@pytest.mark.parametrize(
    ("name", "steps"), [(n, s) for n in LEAVES for s in (1, 2) if (n, s) != ("segment", 2)]
)
def test_an_update_reduces_every_bucket_once(name, steps, place, tmp_path):
    wanted = options(name, place, steps, **{"model_wrapper_cfg.bucket_cap_mb": 0.01})
    updates, _ = ended(name, wanted, tmp_path, 2)
    assert len(updates) >= 3
    for update in updates:
        assert sorted(update["reduced"]) == list(range(len(update["reduced"]))), update
    assert len(updates[-1]["reduced"]) > 1  # torch cuts buckets anew after the first
    assert_wrapper(tmp_path, static_graph=steps == 1)
    assert_equal_ranks(tmp_path)


def assert_wrapper(work_dir: Path, static_graph: bool) -> None:
    wrapper = json.loads((work_dir / "wrapper.json").read_text())
    expected = dict(static_graph=static_graph, gradient_as_bucket_view=True)
    assert wrapper == expected | dict(broadcast_buffers=False)


def assert_equal_ranks(work_dir: Path) -> None:
    """The weights of both; running statistics are each rank's own."""
    one, other = (torch.load(work_dir / f"weights{rank}.pt") for rank in (0, 1))
    assert all(torch.equal(value, other[key]) for key, value in one.items() if "running" not in key)
