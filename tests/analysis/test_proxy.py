"""Proxy validity: rho as scipy says, seeds drawn together, too few methods refused.

Losses of different targets are never in one correlation.
"""

import json

import numpy as np
import pytest
from result_files import write
from scipy.stats import spearmanr

from semaim_mm.analysis.loss_target import UNKNOWN, short, targets_of
from semaim_mm.analysis.proxy import proxy_validity, spearman, validity, write_validity
from semaim_mm.errors import InputError
from semaim_mm.leaderboard.table import leaderboard
from semaim_mm.leaderboard.write.curves import Curve


def write_results(root, methods=5, seeds=3, noise=0.0):
    random = np.random.default_rng(0)
    for number in range(methods):
        for seed in range(seeds):
            luck = noise * random.normal()
            where = f"m{number}/seed{seed}"
            write(root, f"m{number}", seed, 10.0 * number + luck, folder=f"{where}/knn")
            write(
                root, f"m{number}", seed, folder=f"{where}/coco", task="coco",
                metrics=dict(bbox_mAP=5.0 * number + luck),
                protocol=dict(task="coco", evaluator=dict(type="SampleCoco"), training=None),
            )  # fmt: skip


def test_rho_is_scipys_also_with_ties():
    random = np.random.default_rng(0)
    for _ in range(20):
        a, b = random.integers(0, 4, (2, 7)).astype(float)
        assert spearman(a, b) == pytest.approx(spearmanr(a, b).statistic)


def test_the_interval_is_that_of_a_bootstrap_over_shared_seeds():
    random = np.random.default_rng(1)
    cheap, dense = (
        {f"m{m}": {s: m + 2 * random.normal() for s in range(3)} for m in range(5)}
        for _ in range(2)
    )
    found = validity(cheap, dense, "k-NN and coco", resamples=4000)
    table = [
        np.array([[x[f"m{m}"][s] for s in range(3)] for m in range(5)]) for x in (cheap, dense)
    ]
    draws = np.stack(np.meshgrid(*[range(3)] * 3), -1).reshape(-1, 3)  # every resample there is
    rhos = [spearmanr(*(x[:, d].mean(axis=1) for x in table)).statistic for d in draws]
    assert found.value == pytest.approx(spearmanr(*(x.mean(axis=1) for x in table)).statistic)
    low, high = np.quantile(rhos, [0.025, 0.975])
    assert found.low == pytest.approx(low, abs=0.11) and found.high == pytest.approx(high, abs=0.11)
    assert found.sd == pytest.approx(np.std(rhos), abs=0.02)


def test_a_leaderboard_gives_rho_and_says_what_is_missing(tmp_path):
    write_results(tmp_path)
    found = proxy_validity(leaderboard(tmp_path, resamples=0))
    assert found["knn -> coco"].value == pytest.approx(1)
    assert found["knn -> coco"].n == 3
    assert "0 methods have both" in found["pretraining loss -> coco"]


def test_three_methods_are_too_few(tmp_path):
    write_results(tmp_path, methods=3)
    with pytest.raises(InputError, match="3 methods have both scores .*needs 4"):
        proxy_validity(leaderboard(tmp_path, resamples=0))


def test_a_folder_without_dense_results_is_told(tmp_path):
    write(tmp_path)
    with pytest.raises(InputError, match="No result of detection or segmentation"):
        proxy_validity(leaderboard(tmp_path, resamples=0))


PIXELS = dict(
    type="SemAIM", target_generator=dict(type="PixelTarget", blur_kernel=9),
    head=dict(type="SemAIMHead", loss="l2"), order="semantic",
)  # fmt: skip
CLIP = dict(
    PIXELS, target_generator=dict(type="CLIPTeacher", weights="w.pt"),
    head=dict(type="SemAIMHead", loss="unit_l2"),
)  # fmt: skip
EMA = dict(PIXELS, target_generator=dict(type="MultiTarget", generators=[dict(type="EMATarget")]))


def write_run(root, method, model, loss=1.0, seed=0):
    """A pretraining's folder as mmengine leaves it; -> its stage in suite.json."""
    name = f"{method}/seed{seed}/pretrain"
    folder = root / name / "20260101_000000" / "vis_data"
    folder.mkdir(parents=True)
    if model is not None:
        (folder / "config.py").write_text(f"x = 1\nmodel = {model!r}\n")
    (folder / "scalars.json").write_text(json.dumps(dict(step=1, loss=loss)) + "\n")
    return dict(
        stage=name, method=method, task="pretrain", seed=seed, kind="pretrain", status="complete",
        log=None,
    )  # fmt: skip


def write_suite(root, models, losses):
    """Results of k-NN and detection, and pretrainings of these models, as a suite has them."""
    write_results(root, methods=len(models), seeds=1)
    names = [f"m{number}" for number in range(len(models))]
    stages = [write_run(root, *run) for run in zip(names, models, losses, strict=True)]
    asked = dict(suite="s", methods=names, tasks=["knn", "coco"], comparisons=[], stages=stages)
    (root / "suite.json").write_text(json.dumps(asked))


def test_losses_of_another_target_are_left_out_by_name(tmp_path):
    # with its loss of features, the best method by detection would have the worst loss
    write_suite(tmp_path, [PIXELS] * 4 + [CLIP], [4.0, 3.0, 2.0, 1.0, 90.0])
    found = json.loads(write_validity(tmp_path).read_text())["pretraining loss -> coco"]
    assert found["value"] == pytest.approx(1)
    assert "left out, for their losses are of other targets: m4 (CLIPTeacher" in found["note"]
    assert "Losses of PixelTarget (blur_kernel=9, loss=l2) alone" in found["note"]


def test_of_too_few_losses_of_one_target_there_is_a_sentence_and_no_number(tmp_path):
    write_suite(tmp_path, [PIXELS] * 3 + [CLIP, None], [1.0, 2.0, 3.0, 4.0, 5.0])
    found = json.loads(write_validity(tmp_path).read_text())
    said = found["pretraining loss -> coco"]
    assert "3 methods have both scores (m0, m1, m2)" in said and "needs 4" in said
    assert "m3 (CLIPTeacher" in said and "m4 (unknown target)" in said
    assert found["knn -> coco"]["value"] == pytest.approx(1)


def test_what_a_loss_is_of_is_read_from_the_runs_config(tmp_path):
    order = dict(PIXELS, order="raster", head=dict(PIXELS["head"], projection="linear"))
    blurred = dict(PIXELS, target_generator=dict(type="PixelTarget", blur_kernel=3))
    mae = dict(type="MAE", backbone=dict(mask_ratio=0.75), head=dict(type="MAEPretrainHead"))
    models = dict(a=PIXELS, b=order, c=blurred, d=mae, e=EMA, f=EMA, g=None, h="model", i=CLIP)
    runs = [write_run(tmp_path, *item) for item in models.items()]
    runs += [write_run(tmp_path, "i", PIXELS, seed=1)]
    curves = [Curve("pretraining", r["method"], r["seed"], r["stage"], (1,), (1.0,)) for r in runs]
    found = targets_of(tmp_path, curves)
    assert found["a"] == found["b"], "an order and a projection change no target"
    assert len({found[name] for name in "acdef"}) == 5, "own tokens are others in every model"
    assert found["g"] == found["h"] == found["i"] == UNKNOWN
    assert short(found["d"]) == "MAE" and "EMATarget" in short(found["e"])
    assert targets_of(tmp_path, [Curve("coco", "a", 0, "a", (1,), (1.0,))]) == {}


def test_a_run_that_is_no_config_is_never_run(tmp_path):
    run = write_run(tmp_path, "m", PIXELS)
    (config,) = tmp_path.rglob("config.py")
    config.write_text(f"model = open({str(tmp_path / 'ran')!r}, 'w')\n")
    curve = Curve("pretraining", "m", 0, run["stage"], (1,), (1.0,))
    assert targets_of(tmp_path, [curve]) == {"m": UNKNOWN}
    assert not (tmp_path / "ran").exists()
