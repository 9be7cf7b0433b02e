"""What a spec says is refused early or planned: every stage after what it needs, its command."""

from __future__ import annotations

import os
from io import StringIO
from itertools import product

import pytest
from machine import SPEC, spec_in
from rich.console import Console

from semaim_mm.errors import InputError
from semaim_mm.runtime.launch import load_config
from semaim_mm.runtime.places import without_place
from semaim_mm.suite.checkpoint_spec import spec_of_checkpoint
from semaim_mm.suite.execute import input_of
from semaim_mm.suite.spec import Task, read_spec
from semaim_mm.suite.stages import command_of, plan, with_their_inputs
from semaim_mm.suite.view import commands, results_table


def test_the_plan_has_every_stage_after_what_it_needs(tmp_path):
    stages = plan(spec_in(tmp_path))
    names = [stage.name for stage in stages]
    dense = ("ade20k/train", "ade20k/test")
    assert names == [
        *("semantic/seed0/pretrain", "semantic/seed0/knn/test", "random/seed0/knn/test"),
        "pixels/seed0/knn/test",
        *(f"{method}/seed0/{stage}" for method in ("semantic", "random") for stage in dense),
        *("semantic/seed1/pretrain", "semantic/seed1/knn/test", "random/seed1/knn/test"),
        *(f"{method}/seed1/{stage}" for method in ("semantic", "random") for stage in dense),
    ]
    for stage in stages:
        assert stage.needs is None or names.index(stage.needs) < names.index(stage.name)
        assert stage.options["randomness.seed"] == stage.seed


def test_what_draws_nothing_is_asked_once_of_the_same_weights(tmp_path):
    (tmp_path / "a.pth").write_text("weights")
    mine = f"mine=dict(checkpoint={str(tmp_path / 'a.pth')!r}),"
    text = SPEC.replace("random=", f"{mine} random=").replace(", seeds=[0])", ")")
    asked = {}
    for stage in plan(spec_in(tmp_path, text)):
        asked.setdefault((stage.method, stage.task, stage.kind), []).append(stage.seed)
    once = {("mine", "knn", "test"), ("pixels", "knn", "test")}
    assert {key for key, seeds in asked.items() if seeds == [0]} == once
    assert all(seeds == [0, 1] for key, seeds in asked.items() if key not in once)


def test_a_method_can_be_left_out_of_a_task(tmp_path):
    stages = plan(spec_in(tmp_path, SPEC.replace('t="random"', 't="random", without=["ade20k"]')))
    assert {s.task for s in stages if s.method == "random"} == {"knn"}
    assert {s.task for s in stages if s.method == "semantic"} == {"pretrain", "knn", "ade20k"}


def test_a_method_s_own_leaf_takes_the_suite_s_options_and_its_own_over_them(tmp_path):
    leaf = 'knn="configs/cls/knn_tiny.py", '
    given = "knn=dict(config='configs/cls/knn_tiny.py', options={'total_batch': 1, 'base_lr': 1}), "
    own = "'configs/cls/probe-last_tiny.py', options={'base_lr': 2, 'num_classes': 2}"
    text = SPEC.replace(leaf, given).replace(
        't="random"', f't="random", tasks=dict(knn=dict(config={own}))'
    )
    stages = {stage.name: stage for stage in plan(spec_in(tmp_path, text))}
    found = stages["random/seed0/knn/test"]
    assert found.config == "configs/cls/probe-last_tiny.py"
    given = {key: value for key, value in found.options.items() if key != "randomness.seed"}
    assert given == dict(total_batch=1, base_lr=2, num_classes=2)
    assert stages["semantic/seed0/knn/test"].options["base_lr"] == 1


def test_commands_carry_weights_seed_and_method(tmp_path):
    stages = plan(spec_in(tmp_path))
    lines = {s.name: command_of(s, input_of(s, stages)) for s in stages}
    trained = lines["semantic/seed1/ade20k/train"]
    weights = tmp_path / "runs/toy/semantic/seed1/pretrain/epoch_1.pth"
    assert f"model.backbone.init_cfg.checkpoint={weights}" in trained
    assert "randomness.seed=1" in trained
    assert "model.backbone.init_cfg.checkpoint=random" in lines["random/seed0/ade20k/train"]
    test = lines["semantic/seed1/ade20k/test"]
    assert str(tmp_path / "runs/toy/semantic/seed1/ade20k/train/iter_300.pth") in test
    assert test[test.index("--method") + 1] == "semantic"
    assert lines["random/seed0/knn/test"][2:4] == ["configs/cls/knn_tiny.py", "random"]
    assert "random" not in lines["pixels/seed0/knn/test"]


def test_a_command_that_is_written_down_names_no_folder_of_this_machine(tmp_path):
    stages = plan(spec_in(tmp_path))
    lines = commands(stages, ["toy.py"])
    for stage, runs, line in zip(stages, lines[::2], lines[1::2], strict=True):
        assert runs.startswith(f"# {stage.name}: python tools/t"), runs
        assert line == f"python tools/transfer.py toy.py --only {stage.name}"
        assert os.getcwd() not in runs


def test_only_takes_what_its_stages_need_along(tmp_path):
    stages = plan(spec_in(tmp_path))
    names = [stage.name for stage in with_their_inputs(stages, "semantic/seed0/ade20k/test")]
    assert names == [f"semantic/seed0/{s}" for s in ("pretrain", "ade20k/train", "ade20k/test")]
    assert with_their_inputs(stages, "semantic/seed1") != with_their_inputs(stages, "semantic")
    with pytest.raises(InputError, match="--only semantic/seed names no stage"):
        with_their_inputs(stages, "semantic/seed")
    with pytest.raises(InputError, match="--only semantics names no stage; the first of 15 is"):
        with_their_inputs(stages, "semantics")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("seeds", "sedes"), r"unknown keys \['sedes'\]"),
        (("upernet_tiny", "upernet_small"), "upernet_small.py, which is not there"),
        (('("semantic", "random")', '("semantic", "mae")'), "compares semantic with mae"),
        (("checkpoint=", "weights="), r"method random has unknown keys \['weights'\]"),
        (("tasks=dict(knn", "tasks=dict(probe"), "its own leaf for probe, which is no task"),
        (('t="random"', 't="random", without=["seg"]'), "random is without seg, which is no task"),
        (("tasks=dict(knn", "tasks=dict(knn=3, x"), "task knn of method pixels must be a leaf"),
        (('tasks=dict(knn="configs/cls/knn_tiny_pixels.py")', "tasks=7"), "pixels: tasks=7"),
        (("tasks = ", "tasks = {} and "), "names no tasks"),
        (('dict(checkpoint="random")', '"random"'), "method random must be a dict with a config"),
        (("[0, 1]", "[0, 0]"), r"seeds=\[0, 0\] must be a list of whole numbers, each once"),
        (("[0, 1]", "3"), "seeds=3 must be a list"),
        (("[0, 1]", '["0"]'), "must be a list of whole numbers"),
        (("random=", "**{'../evil': dict(checkpoint='random')}, random="), "can't be a folder's"),
        (('"random")', '"mae.pth")'), "names the checkpoint mae.pth, which is not there"),
        (('("semantic", "random")', '("semantic", "semantic")'), "two different methods"),
        (
            ('semaim_tiny.py"', "semaim_tiny.py\", options={'base_lr': [{}]}"),
            "survive a command line",
        ),
        (
            ('knn="configs/cls/knn_tiny.py", ', "knn=dict(leaf='x'), "),
            "task knn must be a leaf",
        ),
    ],
)
def test_a_wrong_spec_stops_before_anything_runs(change, message, tmp_path):
    with pytest.raises(InputError, match=message):
        spec_in(tmp_path, SPEC.replace(*change))


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("name = 3", "toy.py: name=3 must be the name of"),
        ("name = '../evil'", "'../evil' can't be a folder's name"),
        ("name = 'a.stale1'", "'a.stale1' can't be a folder's name"),
        ("out = 3", "out=3 must be the path of a folder"),
        ("methods = ['a']", r"methods=\['a'\] must be {name: dict"),
        ("methods = {1: dict(checkpoint='random')}", "must be {name: dict"),
        ("tasks = ['knn']", r"tasks=\['knn'\] must be {name: leaf}"),
        ("base = 3", "base=3 must be the path of a leaf"),
        ("seeds = []", r"seeds=\[\] must be a list of whole numbers"),
        ("seeds = [-1]", "must be a list of whole numbers"),
        ("seeds = [True]", "must be a list of whole numbers"),
        ("comparisons = ('semantic', 'random')", "must be a list of pairs of methods"),
        ("gpus = '2'", "gpus='2' must be a whole number"),
        ("gpus = -1", "gpus=-1 must be a whole number, 0 for one process on the first GPU"),
        ("gpus = 1.5", "gpus=1.5 must be"),
        ("gpus = True", "gpus=True must be"),
        ("holdout = 2.0", "holdout=2.0 must be a share between 0 and 1"),
        ("holdout = 0", "holdout=0 must be"),
        ("notes = 'abc'", "notes='abc' must be {task: sentence}"),
        ("notes = dict(knn=3)", "notes={'knn': 3} must be"),
        ("notes = dict(voc='x')", "has notes on voc, which is no task of the suite"),
        ("slurm = ['timeout_min']", "slurm=.* must be {submitit's name"),
        ("methods['semantic']['options'] = ['a.b']", "method semantic: options=.* must be {config"),
        ("methods['semantic']['config'] = 3", "method semantic: config=3 must be the path"),
        ("methods['random']['checkpoint'] = 3", "method random: checkpoint=3 must be the path"),
        ("methods['random']['options'] = {'base_lr': 1.0}", "method random has options, which are"),
        ("methods['random'] = dict()", "method random has no config, no checkpoint"),
        ("methods['random']['seeds'] = []", r"method random: seeds=\[\] must be a list of whole"),
        ("methods['random']['without'] = 'knn'", "method random: without='knn' must be a list"),
        ("tasks['knn'] = dict(config=3)", "task knn: config=3 must be the path"),
        ("tasks['knn'] = dict(config='x', options=3)", "task knn: options=3 must be {config key"),
    ],
)
def test_a_value_of_another_kind_than_its_keys_is_named(line, message, tmp_path):
    path = tmp_path / "toy.py"
    path.write_text(f"{SPEC}\n{line}\n")
    with pytest.raises(InputError, match=message.replace("{", r"\{").replace("}", r"\}")):
        read_spec(str(path))


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (
            "methods['semantic']['options'] = {'nonsense.key': 1}",
            "method semantic has the option n",
        ),
        ("methods['semantic']['options'] = {'train_cfg.max_iters': 9}", "train_cfg.max_iters, and"),
        (
            "methods['semantic']['options'] = {'base_Ir': 1.0}",
            "method semantic has the option base",
        ),
        (
            "tasks['knn'] = dict(config=tasks['knn'], options={'protocl.k': 3})",
            "task knn has the option protocl.k, and configs/cls/knn_tiny.py has no part",
        ),
        (
            "methods['random']['tasks'] = dict(knn=dict(config=tasks['knn'], options={'no': 3}))",
            "task knn of method random has the option no, and",
        ),
    ],
)
def test_an_option_that_nothing_reads_is_named(line, message, tmp_path):
    path = tmp_path / "toy.py"
    path.write_text(f"{SPEC}\n{line}\n")
    with pytest.raises(InputError, match=message):
        read_spec(str(path))


READ = (
    *("total_batch", "base_lr", "holdout", "precision", "load_from", "custom_hooks"),
    *("train_cfg.max_epochs", "train_cfg.val_begin", "train_dataloader.pin_memory"),
    *("train_dataloader.dataset.dataset.pipeline.0.type", "train_dataloader._delete_"),
    *("optim_wrapper.clip_grad", "randomness.deterministic", "model_wrapper_cfg.broadcast_buffers"),
    *("model.backbone.drop_path_rate", "default_hooks.checkpoint.max_keep_ckpts"),
)


def test_a_key_that_a_leaf_or_the_runner_reads_has_a_place():
    cfg = load_config("configs/cls/finetune_tiny.py").to_dict()
    assert without_place(cfg, READ) == []
    wrong = [
        "train_dataloader.dataset.dataset.pipeline.99.type",
        "train_cfg.max_iters",
        "model_cfg.x",
    ]
    assert without_place(cfg, wrong) == wrong


def test_a_checkpoint_with_tasks_is_a_suite(tmp_path):
    import torch

    from semaim_mm.vit import SemAIMViT

    torch.save(SemAIMViT(arch="base").state_dict(), tmp_path / "mine.pth")
    spec = spec_of_checkpoint(str(tmp_path / "mine.pth"), ["knn", "coco"])
    assert spec.tasks["coco"] == Task("configs/det/mask-rcnn_semaim-vitb_vitdet-100ep_coco.py")
    assert [stage.name for stage in plan(spec)] == [
        f"{spec.name}/seed0/knn/test",
        f"{spec.name}/seed0/coco/train",
        f"{spec.name}/seed0/coco/test",
    ]
    both = spec_of_checkpoint(
        str(tmp_path / "mine.pth"), ["coco-benchmarking"], 8, [1, 2], dict(timeout_min=60)
    )
    leaf = "configs/det/mask-rcnn_semaim-vitb_benchmarking-100ep_coco.py"
    assert both.tasks == {"coco-benchmarking": Task(leaf)}
    assert (both.gpus, both.seeds, both.slurm) == (8, (1, 2), dict(timeout_min=60))
    assert {stage.gpus for stage in plan(both)} == {8}
    with pytest.raises(InputError, match="The command: gpus=-1 must be a whole number"):
        spec_of_checkpoint(str(tmp_path / "mine.pth"), ["knn"], -1)
    # another file of the same name is another suite
    torch.save(SemAIMViT(arch="base").state_dict(), tmp_path / "mine.pth")
    assert spec_of_checkpoint(str(tmp_path / "mine.pth"), ["knn"]).name != spec.name
    with pytest.raises(InputError, match="--tasks voc is none of"):
        spec_of_checkpoint(str(tmp_path / "mine.pth"), ["voc"])


def test_a_task_that_a_method_is_not_put_through_is_told_apart_from_one_without_a_figure(tmp_path):
    spec = spec_in(tmp_path, SPEC.replace('t="random"', 't="random", without=["ade20k"]'))
    console = Console(width=200, record=True, file=StringIO())
    console.print(results_table(spec, []))
    rows = {line.split()[1]: line for line in console.export_text().splitlines() if "│" in line}
    assert "not asked" not in rows["semantic"]
    assert rows["random"].count("not asked") == rows["pixels"].count("not asked") == 1


@pytest.mark.parametrize("name", ["demo", "small"])
def test_the_shipped_suites_can_be_planned(name):
    spec = read_spec(f"configs/suites/{name}.py")
    stages = plan(spec)
    assert len({stage.name for stage in stages}) == len(stages)
    assert {stage.task for stage in stages if stage.kind == "test"} == set(spec.tasks)


def test_the_small_suite_puts_every_start_through_every_task():
    spec = read_spec("configs/suites/small.py")
    starts = spec.methods.keys() - {"pixels"}
    tested = {
        (stage.method, stage.task, stage.seed) for stage in plan(spec) if stage.kind == "test"
    }
    assert {one for one in tested if one[0] in starts} == set(
        product(starts, spec.tasks, spec.seeds)
    )
