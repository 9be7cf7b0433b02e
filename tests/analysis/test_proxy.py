"""Proxy validity: rho as scipy says, seeds drawn together, too few methods refused.

Losses of different targets are never in one correlation.
"""

import json

import numpy as np
import pytest
from boards import write_knn_and_coco
from result_files import write
from scipy.stats import spearmanr

from semaim_mm.analysis.figures import proxy_figure
from semaim_mm.analysis.loss_target import UNKNOWN, short, targets_of
from semaim_mm.analysis.proxy import pairs, proxy_validity, spearman, validity, write_validity
from semaim_mm.errors import InputError
from semaim_mm.leaderboard.asked import read_asked
from semaim_mm.leaderboard.table import leaderboard
from semaim_mm.leaderboard.write.curves import Curve, learning_curves
from semaim_mm.leaderboard.write.order_maps import analysis_figures


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
    write_knn_and_coco(tmp_path)
    found = proxy_validity(list(pairs(leaderboard(tmp_path, resamples=0))))
    assert found["knn -> coco"].value == pytest.approx(1)
    assert found["knn -> coco"].n == 3
    assert "0 methods have both" in found["pretraining loss -> coco"]


def test_three_methods_are_too_few(tmp_path):
    write_knn_and_coco(tmp_path, methods=3)
    with pytest.raises(InputError, match="3 methods have both scores .*needs 4"):
        proxy_validity(list(pairs(leaderboard(tmp_path, resamples=0))))


def test_a_folder_without_dense_results_is_told(tmp_path):
    write(tmp_path)
    with pytest.raises(InputError, match="No result of detection or segmentation"):
        proxy_validity(list(pairs(leaderboard(tmp_path, resamples=0))))


PIXELS = dict(
    type="SemAIM", target_generator=dict(type="PixelTarget", blur_kernel=9),
    head=dict(type="SemAIMHead", loss="l2"), order="semantic",
)  # fmt: skip
CLIP = dict(
    PIXELS, target_generator=dict(type="CLIPTeacher", weights="w.pt"),
    head=dict(type="SemAIMHead", loss="unit_l2"),
)  # fmt: skip
EMA = dict(PIXELS, target_generator=dict(type="MultiTarget", generators=[dict(type="EMATarget")]))


def write_run(root, method, model, loss=1.0, seed=0, held_out=None):
    """A pretraining's folder as mmengine leaves it; -> its stage in suite.json."""
    name = f"{method}/seed{seed}/pretrain"
    folder = root / name / "20260101_000000" / "vis_data"
    folder.mkdir(parents=True)
    if model is not None:
        (folder / "config.py").write_text(f"x = 1\nmodel = {model!r}\n")
    lines = [dict(step=1, loss=loss)]
    if held_out is not None:
        lines.append(dict(step=1, loss=held_out, mean_predictor_loss=1.0))
    (folder / "scalars.json").write_text("\n".join(map(json.dumps, lines)) + "\n")
    return dict(
        stage=name, method=method, task="pretrain", seed=seed, kind="pretrain", status="complete",
        log=None,
    )  # fmt: skip


def write_suite(root, models, losses, held_out=()):
    """Results of k-NN and detection, and pretrainings of these models, as a suite has them."""
    write_knn_and_coco(root, methods=len(models), seeds=1)
    names = [f"m{number}" for number in range(len(models))]
    held_out = held_out or [None] * len(models)
    rows = zip(names, models, losses, held_out, strict=True)
    stages = [write_run(root, *row[:3], held_out=row[3]) for row in rows]
    asked = dict(suite="s", methods=names, tasks=["knn", "coco"], comparisons=[], stages=stages)
    (root / "suite.json").write_text(json.dumps(asked))


def test_losses_of_another_target_are_left_out_by_name(tmp_path):
    # with its loss of features, the best method by detection would have the worst loss
    write_suite(tmp_path, [PIXELS] * 4 + [CLIP], [4.0, 3.0, 2.0, 1.0, 90.0])
    found = json.loads(write_validity(tmp_path)[0].read_text())["pretraining loss -> coco"]
    assert found["value"] == pytest.approx(1)
    assert "left out, for their losses are of other targets: m4 (CLIPTeacher" in found["note"]
    assert "Losses of PixelTarget (blur_kernel=9, loss=l2) alone" in found["note"]


def test_a_held_out_loss_stands_for_the_training_loss_where_all_methods_have_it(tmp_path):
    # by the training loss the methods would rank the other way round
    write_suite(tmp_path / "all", [PIXELS] * 4, [1.0, 2.0, 3.0, 4.0], [4.0, 3.0, 2.0, 1.0])
    write_suite(tmp_path / "some", [PIXELS] * 4, [1.0, 2.0, 3.0, 4.0], [4.0, 3.0, 2.0, None])
    for name, rho, of in (("all", 1, "on held-out images"), ("some", -1, "of training")):
        found = json.loads(write_validity(tmp_path / name)[0].read_text())
        assert found["pretraining loss -> coco"]["value"] == pytest.approx(rho)
        assert f"Losses {of}" in found["pretraining loss -> coco"]["note"]


def test_of_long_runs_the_last_few_losses_are_averaged_as_the_note_says(tmp_path):
    # by the very last loss alone the methods would rank the other way round
    write_suite(tmp_path, [PIXELS] * 4, [0.0] * 4)
    for number, path in enumerate(sorted(tmp_path.rglob("scalars.json"))):
        losses = [9.0] * 598 + [10.0 - 3 * number, 1.0 + number]
        lines = [json.dumps(dict(step=n, loss=loss)) for n, loss in enumerate(losses, start=1)]
        path.write_text("\n".join(lines) + "\n")
    found = json.loads(write_validity(tmp_path)[0].read_text())["pretraining loss -> coco"]
    assert found["value"] == pytest.approx(1)
    assert "more than 300 logged losses, the mean of its last few" in found["note"]


def test_a_masked_methods_loss_is_not_ranked_with_that_of_an_order(tmp_path):
    mae = dict(type="MAE", backbone=dict(mask_ratio=0.75), head=dict(type="MAEPretrainHead"))
    write_suite(tmp_path, [PIXELS] * 4 + [mae], [4.0, 3.0, 2.0, 1.0, 0.1])
    compared = {pair.names: pair for pair in pairs_of(tmp_path)}
    assert list(compared["pretraining loss", "coco"].values) == ["m0", "m1", "m2", "m3"]
    assert "m4 (MAE)" in compared["pretraining loss", "coco"].note


def pairs_of(root):
    curves = learning_curves(root, read_asked(root))
    return pairs(leaderboard(root, resamples=0), curves, targets_of(root, curves))


def test_the_figure_has_a_point_a_method_and_the_page_shows_it(tmp_path):
    write_suite(tmp_path, [PIXELS] * 4, [4.0, 3.0, 2.0, 1.0])
    written = write_validity(tmp_path)
    assert [path.name for path in written] == ["proxy.json", "proxy.png"]
    shown, _ = analysis_figures(tmp_path)
    assert [figure.path for figure in shown] == ["analysis/proxy.png"]
    compared = list(pairs_of(tmp_path))
    found = proxy_validity(compared)
    figure = proxy_figure({p.names: (p.values, found[p.name]) for p in compared})
    for axes, pair in zip(figure.axes, compared, strict=False):
        points = [(float(x.get_xdata()[0]), float(x.get_ydata()[0])) for x in axes.lines]
        assert points == list(pair.values.values()) and len(points) == 4
        assert [text.get_text() for text in axes.texts] == list(pair.values)
        assert axes.get_ylabel() == "coco" and "rho 1.00 (no interval), 4" in axes.get_title()
    with pytest.raises(InputError, match="name another folder with --out"):
        write_validity(tmp_path, written[0])


def test_of_too_few_losses_of_one_target_there_is_a_sentence_and_no_number(tmp_path):
    write_suite(tmp_path, [PIXELS] * 3 + [CLIP, None], [1.0, 2.0, 3.0, 4.0, 5.0])
    found = json.loads(write_validity(tmp_path)[0].read_text())
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
