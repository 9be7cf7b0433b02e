"""Real small runs of the classification protocols: train, test, the result file; and bad input."""

import numpy as np
import pytest
import torch
from conftest import OF_TINY_LEAVES, build_tiny, write_images

from semaim_mm.errors import InputError
from semaim_mm.report.result import read_result
from semaim_mm.runtime.evaluate import evaluate
from semaim_mm.runtime.launch import build_runner, load_config

CLASSES = ("ant", "bee", "cat")
QUIET = {"log_level": "ERROR"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Three classes, 8 training and 4 validation images of 64 px each."""
    root = tmp_path_factory.mktemp("classes")
    for index, name in enumerate(CLASSES):
        write_images(root / "train" / name, 8, size=64, seed=index)
        write_images(root / "val" / name, 4, size=64, seed=index + 10)
    return root


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    """A tiny SemAIM as a training run saves it."""
    path = tmp_path_factory.mktemp("semaim") / "epoch_1.pth"
    torch.save(dict(state_dict=build_tiny(**OF_TINY_LEAVES).state_dict(), meta=dict(epoch=1)), path)
    return path


def options(folder, **more) -> dict:
    found = {**QUIET, "data_root": str(folder)}
    for loader in ("train_dataloader", "val_dataloader", "test_dataloader"):
        found |= {f"{loader}.num_workers": 0, f"{loader}.persistent_workers": False}
    return found | {"total_batch": 8, "train_dataloader.batch_size": 4, "num_classes": 3} | more


def features_options(folder, **more) -> dict:
    found = {**QUIET, "data_root": str(folder), "test_dataloader.num_workers": 0}
    return found | {"test_cfg.bank_dataloader.num_workers": 0} | more


def train(config, tmp_path, overrides):
    cfg = load_config(config, overrides, str(tmp_path))
    runner = build_runner(cfg)
    return runner, runner.train()


def test_finetuning_then_testing_gives_the_validations_number_and_a_result(
    folder, checkpoint, tmp_path
):
    overrides = options(
        folder,
        **{
            "model.backbone.init_cfg.checkpoint": str(checkpoint),
            "train_cfg.max_epochs": 2,
            "train_cfg.val_interval": 2,
        },
    )
    runner, _ = train("configs/cls/finetune_tiny.py", tmp_path / "train", overrides)
    assert runner.optim_wrapper._accumulative_counts == 2
    validated = runner.message_hub.get_scalar("val/top1").current()
    saved = tmp_path / "train" / "epoch_2.pth"
    result = evaluate(
        "configs/cls/finetune_tiny.py", str(saved), str(tmp_path / "test"), options(folder)
    )
    assert result["metrics"]["top1"]["value"] == pytest.approx(validated)
    assert result == read_result(tmp_path / "test" / "result.json")
    correct = np.load(tmp_path / "test" / "outcomes.npz")["correct"]
    assert correct.shape == (12,)
    assert 100 * correct.mean() == pytest.approx(validated)
    assert result["checkpoint"]["origin"]["epoch"] == 2
    # what trained it, not what the leaf that tests it says
    training = result["protocol"]["training"]
    assert (training["total_batch"], training["train_cfg"]["max_epochs"]) == (8, 2)
    assert result["run"]["decided_by"]["batch"] == 8
    words = result["run"]["decided_by"]
    assert (words["pooling"], words["layer"], words["resolution"]) == ("patches", 3, [64, 64])


@pytest.mark.slow
def test_another_epoch_of_a_run_is_another_protocol_and_says_so(folder, checkpoint, tmp_path):
    overrides = options(
        folder,
        **{
            "model.backbone.init_cfg.checkpoint": str(checkpoint),
            "train_cfg.max_epochs": 2,
            "train_cfg.val_interval": 1,
            "default_hooks.checkpoint.save_best": "top1",
        },
    )
    train("configs/cls/finetune_tiny.py", tmp_path / "train", overrides)
    first, last = (
        evaluate(
            "configs/cls/finetune_tiny.py",
            str(tmp_path / "train" / f"epoch_{epoch}.pth"),
            str(tmp_path / f"test{epoch}"),
            options(folder),
        )
        for epoch in (1, 2)
    )
    assert last["selection"] == "last epoch"
    assert first["selection"] == "epoch 1 of 2, where the run kept its best top1 on validation"
    assert first["fingerprint"] != last["fingerprint"]


def test_a_linear_probe_moves_nothing_but_its_head(folder, checkpoint, tmp_path):
    overrides = options(
        folder,
        **{"model.backbone.init_cfg.checkpoint": str(checkpoint), "train_cfg.max_epochs": 1},
    )
    runner, model = train("configs/cls/linear_tiny.py", tmp_path, overrides)
    state = torch.load(checkpoint, weights_only=True)["state_dict"]
    for name, value in model.backbone.state_dict().items():
        torch.testing.assert_close(value, state[f"backbone.{name}"], rtol=0, atol=0)
    model.train()
    assert not any(layer.training for layer in model.backbone.layers)
    recorded = torch.load(tmp_path / "epoch_1.pth", weights_only=False)["meta"]["training"]
    assert recorded["batch_norm_batch"] == 4 and recorded["lr"] == pytest.approx(0.1 * 8 / 256)
    assert model.neck.bn.training and not model.neck.bn.affine
    trained = {p for group in runner.optim_wrapper.param_groups for p in group["params"]}
    assert {p for p in trained if p.requires_grad} == set(model.head.parameters())


def test_frozen_feature_protocols_write_what_decided_the_score(folder, checkpoint, tmp_path):
    result = evaluate(
        "configs/cls/knn_tiny.py",
        str(checkpoint),
        str(tmp_path / "knn"),
        features_options(folder, **{"test_evaluator.ks": [1, 5], "test_evaluator.headline_k": 5}),
    )
    assert result["checkpoint"]["coverage"]["matched"] == 54
    assert result["protocol"]["model"]["poolings"] == ["patches"]
    assert result["n_evaluated"] == 12
    assert result["method"] == f"{checkpoint.parent.name}-epoch_1", "no training of ours wrote it"
    probe = evaluate(
        "configs/cls/probe_tiny.py",
        str(checkpoint),
        str(tmp_path / "probe"),
        features_options(folder, **{"test_evaluator.epochs": 2}),
    )
    assert probe["run"]["chosen"]["chosen_on"] == "held-out train"
    assert probe["fingerprint"] != result["fingerprint"]


def test_the_same_protocol_has_the_same_fingerprint_for_pixels_and_weights(
    folder, checkpoint, tmp_path
):
    small = features_options(
        folder, **{"test_evaluator.ks": [1, 5], "test_evaluator.headline_k": 5}
    )
    ours = evaluate("configs/cls/knn_tiny.py", str(checkpoint), str(tmp_path / "a"), small)
    random = evaluate("configs/cls/knn_tiny.py", "random", str(tmp_path / "b"), small)
    pixels = evaluate("configs/cls/knn_tiny_pixels.py", None, str(tmp_path / "c"), small)
    assert ours["fingerprint"] == random["fingerprint"] == pixels["fingerprint"]
    assert random["checkpoint"] is None and random["method"] == "random"


def test_weights_of_unknown_making_are_said_to_be_so(folder, tmp_path):
    torch.save(build_tiny(**OF_TINY_LEAVES).backbone.state_dict(), tmp_path / "a.pth")
    small = features_options(
        folder, **{"test_evaluator.ks": [1, 5], "test_evaluator.headline_k": 5}
    )
    result = evaluate("configs/cls/knn_tiny.py", str(tmp_path / "a.pth"), str(tmp_path), small)
    assert result["selection"] == "as it came: its training is not recorded"


@pytest.mark.parametrize("leaf", ["lowshot-10pct_finetune_tiny", "finetune-cls_tiny"])
def test_tiny_leaves_of_finetuning_run(leaf, folder, checkpoint, tmp_path):
    start = {"model.backbone.init_cfg.checkpoint": str(checkpoint), "train_cfg.max_epochs": 2}
    small = {"total_batch": 2, "train_dataloader.batch_size": 2}
    runner, _ = train(f"configs/cls/{leaf}.py", tmp_path, options(folder, **start, **small))
    assert len(runner.train_dataloader.dataset) == (3 if "lowshot" in leaf else 24)


def test_the_tiny_leaf_of_low_shot_regression_runs(folder, checkpoint, tmp_path):
    result = evaluate(
        "configs/cls/lowshot-10pct_logreg_tiny.py",
        str(checkpoint),
        str(tmp_path),
        features_options(folder, **{"test_cfg.bank_dataloader.dataset.subset.fraction": 0.5}),
    )
    assert 0 <= result["metrics"]["top1"]["value"] <= 100


def test_an_untrained_model_is_never_tested_by_accident(folder, tmp_path):
    with pytest.raises(InputError, match="needs a CHECKPOINT"):
        evaluate("configs/cls/knn_tiny.py", None, str(tmp_path), features_options(folder))


def test_finetuning_without_a_checkpoint_stops(folder, tmp_path):
    with pytest.raises(InputError, match="names no checkpoint"):
        train("configs/cls/finetune_tiny.py", tmp_path, options(folder))


def test_a_head_of_another_size_stops_before_training(folder, tmp_path):
    wrong = options(folder, **{"model.backbone.init_cfg": None, "num_classes": 5})
    with pytest.raises(InputError, match="3 classes, but the head has num_classes=5"):
        train("configs/cls/finetune_tiny.py", tmp_path, wrong)


def test_class_folders_that_differ_between_the_splits_stop_before_training(folder, tmp_path):
    root = tmp_path / "data"
    for index, name in enumerate(CLASSES):
        write_images(root / "train" / name, 3, size=64, seed=index)
        write_images(root / "val" / name.replace("cat", "dog"), 1, size=64, seed=index)
    scratch = options(root, **{"model.backbone.init_cfg": None})
    with pytest.raises(InputError, match="only in training: cat; only in validation: dog"):
        train("configs/cls/finetune_tiny.py", tmp_path / "run", scratch)
    with pytest.raises(InputError, match=r"only in training \['cat'\]"):
        evaluate("configs/cls/knn_tiny.py", "random", str(tmp_path / "x"), features_options(root))


def test_robustness_sets_score_only_the_classes_they_have(tmp_path):
    """ImageNet-A's layout: some WordNet ids; scores of absent classes must not count."""
    from semaim_mm.data import ImageFolder
    from semaim_mm.transfer.accuracy import SampleAccuracy

    write_images(tmp_path / "n01440764", 1, seed=1)  # class 0
    write_images(tmp_path / "n01443537", 1, seed=2)  # class 1
    dataset = ImageFolder(str(tmp_path), with_label=True, known_classes="imagenet-1k")
    assert len(dataset.metainfo["classes"]) == 1000 and dataset.metainfo["present"] == (0, 1)
    scores = torch.zeros(1000)
    scores[7], scores[1], scores[0] = 3.0, 2.0, 1.0  # an absent class scores highest
    metric = SampleAccuracy(topk=(1,), only_present=True)
    metric.dataset_meta = dataset.metainfo
    samples = [dict(pred_score=scores, gt_label=torch.tensor([label])) for label in (0, 1)]
    metric.process(None, samples)
    assert metric.evaluate(2)["top1"] == 50.0
    assert metric.outcomes["correct"].tolist() == [False, True]


def test_numbered_folders_are_imagenets_class_numbers(tmp_path):
    from semaim_mm.data import ImageFolder

    write_images(tmp_path / "10", 1)
    write_images(tmp_path / "2", 1)
    dataset = ImageFolder(str(tmp_path), with_label=True, known_classes="imagenet-1k")
    assert [dataset.get_data_info(i)["gt_label"] for i in range(2)] == [10, 2]
    write_images(tmp_path / "dog", 1)
    with pytest.raises(InputError, match="no ImageNet class"):
        ImageFolder(str(tmp_path), with_label=True, known_classes="imagenet-1k")


def test_a_finetuned_model_is_tested_as_the_model_it_is(folder, checkpoint, tmp_path):
    """Mean, std and activation that travelled into the finetuning travel into its test."""
    overrides = options(
        folder,
        **{
            "model.backbone.init_cfg.checkpoint": str(checkpoint),
            "model.backbone.init_cfg.mean": [120.0, 121.0, 122.0],
            "train_cfg.max_epochs": 2,
        },
    )
    train("configs/cls/finetune_tiny.py", tmp_path / "train", overrides)
    saved = tmp_path / "train" / "epoch_2.pth"
    result = evaluate(
        "configs/cls/finetune_tiny.py", str(saved), str(tmp_path / "test"), options(folder)
    )
    assert result["run"]["preprocessor"]["mean"] == [120.0, 121.0, 122.0]
    started = result["checkpoint"]["started_from"]
    assert started["file"] == checkpoint.name and started["coverage"]["matched"] > 0
    assert result["run"]["training"]["total_batch"] == 8
    assert "trained_heads" not in result["protocol"]
    assert result["selection"] == "last epoch"
    early = evaluate(
        "configs/cls/finetune_tiny.py",
        str(tmp_path / "train" / "epoch_1.pth"),
        str(tmp_path / "early"),
        options(folder),
    )
    assert early["selection"] == "epoch 1 of 2"


@pytest.mark.slow
def test_testing_needs_no_training_set(folder, checkpoint, tmp_path):
    overrides = options(
        folder,
        **{
            "model.backbone.init_cfg.checkpoint": str(checkpoint),
            "train_cfg.max_epochs": 1,
            "param_scheduler.0.end": 0.5,
        },
    )
    overrides["param_scheduler.1.begin"] = 0.5
    train("configs/cls/finetune_tiny.py", tmp_path / "train", overrides)
    alone = tmp_path / "alone"
    for index, name in enumerate(CLASSES):
        write_images(alone / "val" / name, 2, size=64, seed=index)
    saved = tmp_path / "train" / "epoch_1.pth"
    result = evaluate(
        "configs/cls/finetune_tiny.py", str(saved), str(tmp_path / "test"), options(alone)
    )
    assert result["n_evaluated"] == 6
    wrong = options(alone, num_classes=5)
    with pytest.raises(InputError):
        evaluate("configs/cls/finetune_tiny.py", str(saved), str(tmp_path / "bad"), wrong)
