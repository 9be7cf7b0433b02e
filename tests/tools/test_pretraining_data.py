"""A protocol may name what weights come from: then it parts fingerprints, others are refused."""

from __future__ import annotations

import pytest
import torch
from conftest import OF_TINY_LEAVES, build_tiny, write_images
from mmengine.config import Config

from semaim_mm.errors import InputError
from semaim_mm.leaderboard.scores import pretrained_on
from semaim_mm.runtime.evaluate import evaluate
from semaim_mm.runtime.launch import build_runner, load_config
from semaim_mm.runtime.pretraining_data import check_pretraining

KNN, FINETUNE = "configs/cls/knn_tiny.py", "configs/cls/finetune_tiny.py"
STATED = "model.backbone.init_cfg.pretrained_on"
ALONE = {"test_dataloader.num_workers": 0, "test_cfg.bank_dataloader.num_workers": 0}
ALONE |= {"test_evaluator.ks": [1, 5], "test_evaluator.headline_k": 5}
TRAINED = {"total_batch": 4, "train_dataloader.batch_size": 4, "train_cfg.max_epochs": 3}
for _loader in ("train_dataloader", "val_dataloader", "test_dataloader"):
    TRAINED |= {f"{_loader}.num_workers": 0, f"{_loader}.persistent_workers": False}


@pytest.fixture(scope="module")
def options(tmp_path_factory):
    """Two classes, 4 training and 2 validation images of 64 px each."""
    root = tmp_path_factory.mktemp("classes")
    for index, name in enumerate(("ant", "bee")):
        write_images(root / "train" / name, 4, size=64, seed=index)
        write_images(root / "val" / name, 2, size=64, seed=index + 10)
    return {"log_level": "ERROR", "data_root": str(root)}


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    """A pretraining's checkpoint on the data set 'scenes', and one that records nothing."""
    folder, state = tmp_path_factory.mktemp("semaim"), build_tiny(**OF_TINY_LEAVES).state_dict()
    meta = dict(data=dict(name="scenes", folder="", manifest_sha256=None), training={})
    torch.save(dict(state_dict=state, meta=meta), folder / "known.pth")
    torch.save(dict(state_dict=state, meta={}), folder / "unknown.pth")
    return folder


def record(name: str | None = "scenes", **more) -> dict:
    origin = {} if name is None else {"data": dict(name=name)}
    teachers = more.pop("teachers", None)
    origin |= {"training": dict(teachers=teachers)} if teachers else {}
    origin |= {"loaded": more.pop("loaded")} if "loaded" in more else {}
    return dict(file="epoch_1.pth", origin=origin or None, coverage=None, **more)


def test_weights_of_the_named_data_pass_and_part_the_fingerprint(options, weights, tmp_path):
    options = options | ALONE
    path = str(weights / "known.pth")
    free = evaluate(KNN, path, str(tmp_path / "free"), options)
    bound = evaluate(KNN, path, str(tmp_path / "bound"), {**options, "pretraining_data": "scenes"})
    assert bound["protocol"] == {**free["protocol"], "pretraining_data": "scenes"}
    assert bound["run"]["decided_by"]["pretraining_data"] == "scenes"
    assert "pretraining_data" not in free["run"]["decided_by"]
    assert bound["fingerprint"] != free["fingerprint"] and bound["metrics"] == free["metrics"]
    # what has seen nothing is judged by any protocol
    none = evaluate(KNN, "random", str(tmp_path / "none"), {**options, "pretraining_data": "x"})
    assert none["protocol"]["pretraining_data"] == "x"


def test_other_weights_are_refused_before_anything_is_computed(options, weights, tmp_path):
    options = options | ALONE | {"pretraining_data": "imagenet"}
    for name, why in (("known", "was pretrained on scenes"), ("unknown", "does not record what")):
        with pytest.raises(InputError, match=why):
            evaluate(KNN, str(weights / f"{name}.pth"), str(tmp_path), options)
    assert not list(tmp_path.rglob("result.json"))


def test_data_that_a_file_does_not_record_may_be_stated_and_stands_in_tables(
    options, weights, tmp_path
):
    stated = {**options, **ALONE, "pretraining_data": "imagenet", STATED: "imagenet"}
    result = evaluate(KNN, str(weights / "unknown.pth"), str(tmp_path / "knn"), stated)
    assert pretrained_on(result) == "imagenet, as stated"
    with pytest.raises(InputError, match="was pretrained on scenes"):
        evaluate(KNN, str(weights / "known.pth"), str(tmp_path / "other"), stated)
    plain = evaluate(KNN, str(weights / "unknown.pth"), str(tmp_path / "plain"), options | ALONE)
    assert pretrained_on(plain) is None


def test_a_training_on_the_task_is_refused_before_its_first_step(options, weights, tmp_path):
    start = {"model.backbone.init_cfg.checkpoint": str(weights / "unknown.pth"), "num_classes": 2}
    options = {**options, **TRAINED, **start}
    cfg = load_config(FINETUNE, {**options, "pretraining_data": "imagenet"}, str(tmp_path / "no"))
    with pytest.raises(InputError, match="does not record what it was pretrained on"):
        build_runner(cfg).train()
    assert not list(tmp_path.rglob("*.pth"))
    options |= {"pretraining_data": "imagenet", STATED: "imagenet"}
    build_runner(load_config(FINETUNE, options, str(tmp_path / "yes"))).train()
    # the finetuned model carries what was stated; the leaf that tests it need not repeat it
    tested = {k: v for k, v in options.items() if k not in (STATED, *start)} | {"num_classes": 2}
    tuned = str(tmp_path / "yes" / "epoch_3.pth")
    result = evaluate(FINETUNE, tuned, str(tmp_path / "test"), tested)
    assert result["protocol"]["pretraining_data"] == "imagenet"
    assert pretrained_on(result) == "imagenet, as stated"
    with pytest.raises(InputError, match="was pretrained on imagenet"):
        evaluate(FINETUNE, tuned, str(tmp_path / "b"), tested | {"pretraining_data": "scenes"})
    # nor may the whole model that its training began as have seen other data
    content = torch.load(tuned, weights_only=False)
    content["meta"]["loaded"] = record("photos")
    torch.save(content, tmp_path / "continued.pth")
    with pytest.raises(InputError, match="was pretrained on photos"):
        evaluate(FINETUNE, str(tmp_path / "continued.pth"), str(tmp_path / "c"), tested)


@pytest.mark.parametrize(
    ("weights", "stated", "why"),
    [
        (record(), None, None),
        (None, None, None),
        (record("photos"), None, "was pretrained on photos"),
        (record("photos"), "scenes", "was pretrained on photos"),
        (record(None), None, "does not record"),
        (record(None), "scenes", None),
        (record(None), "photos", "was pretrained on photos"),
        # all that the weights started from counts
        (record(started_from=record("photos")), None, "was pretrained on photos"),
        (record(started_from=record(None)), None, "does not record"),
        (record(started_from=record()), None, None),
        (record(loaded=record("photos")), None, "was pretrained on photos"),
        (record(loaded=record(started_from=record("photos"))), None, "was pretrained on photos"),
        (record(loaded=dict(file="a.pth", sha256="0" * 64)), None, "does not record"),
        (record(loaded=record()), None, None),
        (record(loaded=record(teachers=[dict(type="CLIPTeacher")])), None, "taught by a teacher"),
        # a teacher has seen data of its own
        (record(teachers=[dict(type="CLIPTeacher")]), None, "taught by a teacher"),
        (record(teachers=[dict(type="CLIPTeacher")]), "scenes", None),
    ],
)
def test_what_counts_as_the_named_data(weights, stated, why):
    init = dict(checkpoint="epoch_1.pth", pretrained_on=stated)
    cfg = Config(dict(pretraining_data="scenes", model=dict(backbone=dict(init_cfg=init))))
    if why is None:
        check_pretraining(cfg, weights)
        return
    with pytest.raises(InputError, match=why):
        check_pretraining(cfg, weights)
    cfg.pretraining_data = None
    check_pretraining(cfg, weights)
