"""The runner's own keys on real small runs: accumulation, resume, what a checkpoint remembers."""

import pytest
import torch
from conftest import write_images
from tiny_runs import tiny_config

from semaim_mm.errors import InputError
from semaim_mm.report.provenance import git_state
from semaim_mm.runtime.launch import build_runner, load_config, set_resume
from semaim_mm.runtime.protocol import protocol_of, training_of
from semaim_mm.runtime.record import checkpoint_record, recipe_digest
from semaim_mm.runtime.spread import spread_keys


@pytest.fixture
def folder(tmp_path):
    write_images(tmp_path / "data" / "pretrain", 8, size=64)
    return tmp_path / "data"


def config(folder, tmp_path, **options):
    return tiny_config(folder, tmp_path / "run", **options)


@pytest.mark.parametrize(
    "loop", [dict(type="IterBasedTrainLoop", max_iters=3), dict(by_epoch=False, max_iters=3)]
)
def test_an_iteration_based_run_counts_updates_not_accumulated_steps(loop, folder, tmp_path):
    cfg = config(folder, tmp_path, **{"train_dataloader.batch_size": 2})
    cfg.train_cfg = loop
    cfg.param_scheduler = [dict(type="LinearLR", start_factor=0.5, by_epoch=False, end=2)]
    cfg.default_hooks.checkpoint = dict(type="CheckpointHook", by_epoch=False, interval=1)
    runner = build_runner(cfg)
    steps = []
    original = runner.build_optim_wrapper

    def counted(wrapper):
        built = original(wrapper)
        step = built.optimizer.step
        built.optimizer.step = lambda *args: (steps.append(1), step(*args))
        return built

    runner.build_optim_wrapper = counted
    runner.train()
    assert runner.iter == 6 and len(steps) == 3
    assert runner.param_schedulers[0].end == 4
    saved = sorted(path.name for path in (tmp_path / "run").glob("iter_*.pth"))
    assert saved == ["iter_2.pth", "iter_4.pth", "iter_6.pth"]


def test_a_method_that_can_not_accumulate_refuses_it(folder, tmp_path):
    cfg = config(folder, tmp_path, **{"train_dataloader.batch_size": 2, "accumulate": False})
    with pytest.raises(InputError, match="can.t accumulate gradients .*batch_size to 4"):
        build_runner(cfg).train()


def test_a_checkpoint_remembers_batch_precision_model_and_cost(folder, tmp_path):
    build_runner(config(folder, tmp_path, **{"train_dataloader.batch_size": 2})).train()
    meta = torch.load(tmp_path / "run" / "epoch_1.pth", weights_only=False)["meta"]
    training = meta["training"]
    # SemAIM has no batch norm whose batch could matter
    assert (training["total_batch"], training["batch_norm_batch"]) == (4, None)
    assert (training["accumulation"], training["precision"]) == (2, "fp32")
    assert training["lr"] == pytest.approx(1.5e-3 * 4 / 16)
    assert meta["model"]["backbone"]["patch_size"] == 8
    assert meta["budget"]["images"] == 8
    assert meta["machine"]["device"].startswith("cpu") and meta["machine"]["versions"]["torch"]
    assert meta["source"] == git_state()
    # width 96, 4 content and 2 query blocks over 65 tokens, and the similarity pass: by hand,
    # forward 2 FLOP a multiply-add, backward twice that
    n, d = 64, 96
    block = 2 * n * 12 * d * d + 4 * n * n * d
    content, query = 4 * block, 2 * (block + 0)
    low, high = 3 * (content + query), 3 * (content + query) + 2 * content
    assert low < meta["budget"]["flops"] / 8 < 1.3 * high


def test_resuming_where_there_is_nothing_is_said(folder, tmp_path):
    cfg = config(folder, tmp_path)
    with pytest.raises(InputError, match="no checkpoint in .* to go on from"):
        set_resume(cfg, "newest")
    set_resume(cfg, "auto")
    assert not cfg.resume and cfg.load_from is None


def test_resuming_goes_on_from_the_newest_checkpoint(folder, tmp_path):
    build_runner(config(folder, tmp_path)).train()
    cfg = config(folder, tmp_path, **{"train_cfg.max_epochs": 2})
    set_resume(cfg, "newest")
    runner = build_runner(cfg)
    runner.train()
    assert runner.epoch == 2
    resumes = [
        checkpoint_record(tmp_path / "run" / f"epoch_{epoch}.pth")["origin"]["resumes"]
        for epoch in (1, 2)
    ]
    assert resumes == [0, 1]


def test_a_resumed_run_is_of_the_recipe_that_it_was_begun_with(folder, tmp_path):
    def meta(epoch: int) -> dict:
        return checkpoint_record(tmp_path / "run" / f"epoch_{epoch}.pth")["origin"]

    two = {"train_cfg.max_epochs": 2}
    build_runner(config(folder, tmp_path, **two)).train()
    begun = meta(1)["recipe_digest"]
    (tmp_path / "run" / "epoch_2.pth").unlink()
    (tmp_path / "run" / "last_checkpoint").write_text(str(tmp_path / "run" / "epoch_1.pth"))
    # on another machine: elsewhere, with less memory, a step shared out
    folder = folder.rename(tmp_path / "elsewhere")
    cfg = config(folder, tmp_path, **two | {"train_dataloader.batch_size": 2})
    set_resume(cfg, "auto")
    build_runner(cfg).train()
    assert (meta(2)["resumes"], meta(2)["recipe_digest"]) == (1, begun)
    for other in ({"model.order": "raster"}, {"base_lr": 1e-3}, {"model.head.loss": "l1"}):
        cfg = config(folder, tmp_path, **two | other)
        spread_keys(cfg)
        assert recipe_digest(cfg) != begun, other


def test_a_run_from_a_whole_model_says_so_also_when_it_is_resumed(folder, tmp_path):
    build_runner(config(folder, tmp_path)).train()
    start = tmp_path / "start.pth"
    (tmp_path / "run" / "epoch_1.pth").rename(start)
    (tmp_path / "run" / "last_checkpoint").unlink()
    begun = checkpoint_record(start)
    assert begun["origin"]["loaded"] is None
    assert "starts_from" not in begun["origin"]["training"]["recipe"]
    hashes = {begun["origin"]["recipe_digest"]}
    for resume in (False, True):
        cfg = config(folder, tmp_path, load_from=str(start))
        if resume:
            cfg = config(folder, tmp_path, **{"train_cfg.max_epochs": 2})
            set_resume(cfg, "newest")
        build_runner(cfg).train()
        found = checkpoint_record(tmp_path / "run" / f"epoch_{1 + resume}.pth")["origin"]
        assert found["loaded"] == begun
        assert found["training"]["recipe"]["starts_from"] == "a whole model"
        hashes.add(found["recipe_digest"])
    assert len(hashes) == 3


def test_an_unknown_precision_is_refused_for_tests_too(tmp_path):
    cfg = load_config("configs/cls/knn_tiny.py", {"precision": "nonsense"}, str(tmp_path))
    with pytest.raises(InputError, match="precision='nonsense'"):
        build_runner(cfg)


def fingerprint_of(name: str, **options):
    cfg = load_config(f"configs/cls/{name}.py", options)
    spread_keys(cfg)
    return protocol_of(cfg, trained_by=training_of(cfg))


def test_protocols_that_train_on_other_data_are_told_apart():
    full, one, ten = (
        fingerprint_of(name)
        for name in (
            "finetune_vitb",
            "lowshot-1pct_finetune_vitb",
            "lowshot-10pct_finetune_vitb",
        )
    )
    assert full != one != ten != full
    seeds = [
        fingerprint_of(
            "lowshot-1pct_logreg_vitb",
            **{"test_cfg.bank_dataloader.dataset.subset.seed": seed},
        )
        for seed in (0, 7)
    ]
    assert seeds[0] != seeds[1]


def test_what_travels_with_weights_is_no_part_of_the_protocol():
    one = fingerprint_of("knn_vitb")
    clip = {"model.data_preprocessor.mean": [1.0, 2.0, 3.0], "model.backbone.pre_norm": True}
    assert fingerprint_of("knn_vitb", **clip) == one
    assert fingerprint_of("knn_vitb", **{"model.poolings": ["cls"]}) != one
