"""Images that can't be decoded: training stops, or skips and counts; evaluation always stops."""

from types import SimpleNamespace

import pytest
import torch
from conftest import write_images
from mmengine.logging import MMLogger

from semaim_mm.data import ImageFolder, KeyedDataset, SampleKey
from semaim_mm.errors import InputError, UnreadableImageError
from semaim_mm.runtime.launch import build_runner, load_config
from semaim_mm.runtime.reliable import SkippedImagesHook, skipped

PIPELINE = [dict(type="LoadImage"), dict(type="PackInputs")]


@pytest.fixture
def folder(tmp_path):
    """Eight images of 64 px, of which number 3 is cut short."""
    paths = write_images(tmp_path / "data" / "pretrain", 8, size=64)
    write_images(tmp_path / "data" / "pretrain_val", 2, size=64)
    paths[3].write_bytes(paths[3].read_bytes()[:200])
    return tmp_path / "data"


def run(folder, tmp_path, **options):
    overrides = {
        "log_level": "ERROR",
        "data_root": str(folder),
        "total_batch": 4,
        "train_dataloader.batch_size": 4,
        "train_dataloader.num_workers": 0,
        "train_dataloader.persistent_workers": False,
        "train_cfg.max_epochs": 1,
        "val_cfg": None,
        "val_dataloader": None,
        "val_evaluator": None,
    }
    cfg = load_config("configs/pretrain/semaim_tiny.py", overrides | options, str(tmp_path / "run"))
    runner = build_runner(cfg)
    runner.train()
    return torch.load(tmp_path / "run" / "epoch_1.pth", weights_only=False)["meta"]


def test_training_stops_and_names_the_file(folder, tmp_path):
    with pytest.raises(InputError, match=r"003\.png can't be read"):
        run(folder, tmp_path)


def test_with_a_budget_training_skips_counts_and_remembers(folder, tmp_path):
    meta = run(folder, tmp_path, unreadable_budget=1)
    assert [path.split("/")[-1] for path in meta["skipped_images"]] == ["003.png"]


def test_past_the_budget_training_stops(folder, tmp_path):
    other = folder / "pretrain" / "005.png"
    other.write_bytes(b"no image")
    with pytest.raises(InputError, match="2 training images can't be read, more than the budget"):
        run(folder, tmp_path, unreadable_budget=1)


class Late:
    """A number of all ranks that is read a step later, as on a GPU."""

    late = True

    def __init__(self, number: int):
        self.number = number

    def read(self) -> int:
        return self.number


@pytest.fixture
def ranks(monkeypatch):
    """A hook on one of two ranks, whose other skips two images at its step 3; -> runner, steps."""
    gathers, steps = [], []

    def gather(mine: list[str]) -> list[list[str]]:
        gathers.append(mine)
        return [mine, ["b.png", "c.png"]]

    monkeypatch.setattr(skipped, "all_gather_object", gather)
    others = {3: 2}
    monkeypatch.setattr(
        skipped, "largest_later", lambda mine: Late(max(mine, others.get(len(steps), 0)))
    )
    runner = SimpleNamespace(world_size=2, logger=MMLogger.get_instance("skipped"))

    def step(hook: SkippedImagesHook, *unreadable: str) -> int:
        steps.append(unreadable)
        sample = dict(unreadable=unreadable)
        hook.after_train_iter(runner, 0, dict(data_samples=[sample]))
        return len(gathers)

    return runner, step


def test_ranks_exchange_paths_only_after_a_step_that_skipped_some(ranks):
    runner, step = ranks
    hook = SkippedImagesHook(budget=9)
    assert [step(hook), step(hook, "a.png"), step(hook)] == [0, 0, 1]
    assert step(hook) == 2 and sorted(hook.paths) == ["a.png", "b.png", "c.png"]
    step(hook, "d.png")
    hook.read(runner)  # as before a checkpoint
    assert "d.png" in hook.paths


def test_what_another_rank_skipped_counts_against_the_budget(ranks):
    _, step = ranks
    hook = SkippedImagesHook(budget=1)
    for _ in range(3):
        step(hook)
    with pytest.raises(InputError, match="2 training images can't be read, more than the budget"):
        step(hook)


def test_a_skipped_sample_keeps_its_own_key_and_says_what_it_replaced(folder):
    inner = ImageFolder(str(folder), "pretrain", pipeline=PIPELINE)
    dataset = KeyedDataset(inner, skip_unreadable=True)
    item = dataset[SampleKey(0, 0, 3)]
    assert item["data_samples"].sample_key == (0, 0, 3)
    assert item["data_samples"].unreadable[0].endswith("003.png")
    assert torch.equal(item["inputs"], dataset[4]["inputs"])
    assert dataset[SampleKey(0, 0, 2)]["data_samples"].unreadable == ()


def test_evaluation_always_stops(folder):
    with pytest.raises(UnreadableImageError, match=r"003\.png"):
        ImageFolder(str(folder), "pretrain", pipeline=PIPELINE)[3]


def test_a_set_without_a_single_readable_image_is_an_error(folder):
    for path in (folder / "pretrain").iterdir():
        path.write_bytes(b"")
    inner = ImageFolder(str(folder), "pretrain", pipeline=PIPELINE)
    with pytest.raises(InputError, match="None of the training set's 8 images"):
        KeyedDataset(inner, skip_unreadable=True)[SampleKey(0, 0, 1)]
