"""Proxy validity: rho as scipy says, seeds drawn together, too few methods refused."""

import numpy as np
import pytest
from result_files import write
from scipy.stats import spearmanr

from semaim_mm.analysis.proxy import proxy_validity, spearman, validity
from semaim_mm.errors import InputError
from semaim_mm.leaderboard.table import leaderboard


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
