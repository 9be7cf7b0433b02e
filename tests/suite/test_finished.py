"""What a finished stage is: its inputs by content, its output, the seconds that it took."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest
from machine import SPEC, Machine, spec_in
from rich.console import Console
from rich.text import Text

from semaim_mm.suite.execute import Progress, SuiteRun
from semaim_mm.suite.stages import output_of, plan
from semaim_mm.suite.state import key_of, read_state, without_manifest, write_state
from semaim_mm.suite.view import plan_table, states_of

SRUN = "srun --ntasks={} --ntasks-per-node=8"


@pytest.fixture
def machine():
    return Machine()


def test_the_seconds_of_a_training_are_those_of_all_its_sittings(tmp_path, machine):
    spec = spec_in(tmp_path)
    first, *_ = plan(spec)
    heir = next(stage for stage in plan(spec) if stage.needs == first.name)
    write_state(first, status="interrupted", key=key_of(first), seconds=100.0, log="log.txt")
    machine.go(spec)
    assert 100 <= read_state(first)["seconds"] < 110
    assert read_state(heir)["seconds"] < 10
    assert machine.go(spec)[first.name] == "finished before"
    assert 100 <= read_state(first)["seconds"] < 110
    # another config is another training
    write_state(first, status="interrupted", key="other", seconds=100.0, log="log.txt")
    machine.go(spec)
    assert read_state(first)["seconds"] < 10


@pytest.mark.parametrize(
    ("gpus", "starter"), [(1, ""), (8, f"{SRUN.format(8)} "), (16, f"{SRUN.format(16)} ")]
)
def test_the_line_of_a_slurm_stage_says_how_many_tasks_share_it(tmp_path, machine, gpus, starter):
    machine.launcher = "slurm"
    first = plan(spec_in(tmp_path)._replace(gpus=gpus))[0]
    SuiteRun([first], machine, Progress(lambda line: None)).run()
    line = read_state(first)["command"]
    assert line.startswith(f"{starter}python tools/train.py configs/pretrain/semaim_tiny.py")
    assert ("--launcher slurm" in line) == (gpus > 1)
    # Slurm's own tasks run the command as it is
    assert machine.commands[first.name][1].endswith("tools/train.py")


def test_weights_that_a_config_names_itself_count_by_their_content(tmp_path):
    stage = plan(spec_in(tmp_path))[0]
    teacher = tmp_path / "teacher.pth"
    taught = stage._replace(
        config="configs/pretrain/semaim_tiny_clip.py",
        options={"model.target_generator.weights": str(teacher)},
    )
    keys = [key_of(taught)]
    for content in ("one", "another"):
        teacher.write_text(content)
        keys.append(key_of(taught))
    assert len(set(keys)) == 3


def test_the_same_data_elsewhere_is_the_same_data(tmp_path, monkeypatch):
    """Where $SEMAIM_DATA points to says nothing of what lies there; a manifest does."""
    (tmp_path / "configs").symlink_to(Path("configs").resolve())
    for place, content in (("data", "a"), ("disk", "a"), ("changed", "b"), ("unknown", None)):
        (tmp_path / place / "sample").mkdir(parents=True)
        if content is not None:
            (tmp_path / place / "sample" / "manifest.json").write_text(f'{{"x": "{content}"}}')
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("SEMAIM_DATA", raising=False)
    stage = plan(spec_in(tmp_path))[0]
    usual = key_of(stage)
    keys = {}
    for place in ("disk", "changed", "unknown"):
        monkeypatch.setenv("SEMAIM_DATA", str(tmp_path / place))
        keys[place] = key_of(stage)
    assert keys["disk"] == usual
    assert len({usual, keys["changed"], keys["unknown"]}) == 3
    monkeypatch.setenv("SEMAIM_DATA", f"{tmp_path}/disk/")
    assert key_of(stage) == usual
    # what no manifest covers is known by its path alone
    (tmp_path / "other" / "sample").mkdir(parents=True)
    monkeypatch.setenv("SEMAIM_DATA", str(tmp_path / "other"))
    assert key_of(stage) != keys["unknown"]
    # a path that the config itself names is the user's
    named = stage._replace(
        options={**stage.options, "data_root": str(tmp_path / "disk" / "sample")}
    )
    monkeypatch.delenv("SEMAIM_DATA")
    assert key_of(named) != usual


def test_weights_below_the_data_count_by_their_content_alone(tmp_path, monkeypatch):
    (tmp_path / "configs").symlink_to(Path("configs").resolve())
    monkeypatch.chdir(tmp_path)
    stage, keys = plan(spec_in(tmp_path))[0], []
    for place, content in (("one", "a"), ("two", "a"), ("three", "b")):
        (tmp_path / place / "sample").mkdir(parents=True)
        (tmp_path / place / "sample" / "manifest.json").write_text("{}")
        weights = tmp_path / place / "teacher.pth"
        weights.write_text(content)
        options = {**stage.options, "model.target_generator.weights": str(weights)}
        monkeypatch.setenv("SEMAIM_DATA", str(tmp_path / place))
        keys.append(key_of(stage._replace(options=options)))
    assert keys[0] == keys[1] != keys[2]


def test_a_plan_names_the_data_whose_changes_would_go_unseen(tmp_path, monkeypatch):
    monkeypatch.setenv("SEMAIM_DATA", str(tmp_path / "data"))
    sample = tmp_path / "data" / "sample"
    stages = plan(spec_in(tmp_path))
    assert without_manifest(stages) == [], "a folder that is not there stops the run itself"
    sample.mkdir(parents=True)
    (told,) = without_manifest(stages)
    assert told == str(sample)
    assert f"no manifest in {told}: if images change there" in plan_table(stages).caption
    (sample / "manifest.json").write_text("{}")
    assert without_manifest(stages) == []
    assert "manifest" not in plan_table(stages).caption


def test_a_stage_that_its_config_stops_hides_no_other_stages_plan(tmp_path, monkeypatch):
    monkeypatch.setenv("SEMAIM_DATA", str(tmp_path / "data"))
    (tmp_path / "data" / "sample").mkdir(parents=True)
    own = "config='configs/seg/upernet_tiny.py', options={'model.backbone.arch.embed_dims': 48}"
    text = SPEC.replace('t="random"', f't="random", tasks=dict(ade20k=dict({own}))')
    stages = plan(spec_in(tmp_path, text))
    view = plan_table(stages)
    assert list(view.columns[0].cells) == [Text(stage.name) for stage in stages]
    assert "no manifest in" in str(view.caption), "of the other stages' data"
    assert states_of(stages)["random/seed0/ade20k/train"] == "to run"


def test_data_without_a_root_counts_by_its_annotations_and_by_the_manifest_of_its_folder(tmp_path):
    images, annotations = tmp_path / "mine" / "images", tmp_path / "mine" / "instances.json"
    images.mkdir(parents=True)
    annotations.write_text("{}")
    own = dict(data_root=None, ann_file=str(annotations), data_prefix=dict(img=f"{images}/"))
    test = {f"test_dataloader.dataset.{key}": value for key, value in own.items()}
    stage = plan(spec_in(tmp_path))[0]._replace(
        kind="test", config="configs/det/mask-rcnn_tiny_vitdet.py", options=test
    )
    keys = [key_of(stage)]
    assert f"{images}/" in without_manifest([stage])
    annotations.write_text('{"images": []}')
    keys.append(key_of(stage))
    (tmp_path / "mine" / "manifest.json").write_text("{}")
    keys.append(key_of(stage))
    assert len(set(keys)) == 3
    assert f"{images}/" not in without_manifest([stage])
    # below a root the manifest alone stands for them, as it always did
    rooted = stage._replace(options={**test, "test_dataloader.dataset.data_root": str(tmp_path)})
    former = key_of(rooted)
    annotations.write_text('{"images": [], "annotations": []}')
    assert key_of(rooted) == former


@pytest.mark.parametrize("name", ["d[/x]", "d [old]"])
def test_folders_with_brackets_are_told_as_they_are_called(tmp_path, monkeypatch, name):
    sample = tmp_path / name / "sample"
    sample.mkdir(parents=True)
    monkeypatch.setenv("SEMAIM_DATA", str(tmp_path / name))
    stages = plan(spec_in(tmp_path))
    leaf = tmp_path / name / "leaf.py"
    leaf.write_text(f'_base_ = "{Path("configs/pretrain/semaim_tiny.py").resolve()}"')
    stages.append(stages[0]._replace(name="own", config=str(leaf)))
    console = Console(width=1000, file=io.StringIO())
    console.print(plan_table(stages))
    told = console.file.getvalue()
    assert f"no manifest in {sample}: if images" in told and f" {leaf} " in told


def test_a_checkpoint_may_be_deleted_once_all_that_start_from_it_are_finished(tmp_path, machine):
    spec = spec_in(tmp_path)
    machine.go(spec)
    stages = plan(spec)
    pretrain = next(stage for stage in stages if stage.name == "semantic/seed0/pretrain")
    for stage in stages:
        if stage.kind != "test":
            output_of(stage).unlink()
    assert set(states_of(stages).values()) == {"finished"}
    assert set(machine.go(spec).values()) == {"finished before"} and machine.ran == []
    # one of them is asked for anew, so the checkpoint is made again; here its bytes are the same,
    # and the others count on
    heir = next(stage for stage in stages if stage.name == "semantic/seed0/knn/test")
    output_of(heir).unlink()
    assert states_of(stages)[pretrain.name] == "to run"
    machine.go(spec)
    assert machine.ran == [pretrain.name, heir.name]


def test_new_data_runs_again(tmp_path, machine, monkeypatch):
    monkeypatch.setenv("SEMAIM_DATA", str(tmp_path / "data"))
    (tmp_path / "data" / "sample").mkdir(parents=True)
    manifest = tmp_path / "data" / "sample" / "manifest.json"
    manifest.write_text(json.dumps(dict(images=1)))
    spec = spec_in(tmp_path)
    machine.go(spec)
    machine.go(spec)
    assert machine.ran == []
    manifest.write_text(json.dumps(dict(images=2)))
    machine.go(spec)
    assert len(machine.ran) == 15
