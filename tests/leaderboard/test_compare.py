"""Declared comparisons: paired, corrected, and silent where the seeds can't say."""

from __future__ import annotations

import numpy as np
import pytest
from result_files import finetuned, weights, write, write_right
from scipy import stats

from semaim_mm.errors import InputError
from semaim_mm.leaderboard.collect import collect
from semaim_mm.leaderboard.compare import compare
from semaim_mm.leaderboard.outcome_metrics import Outcomes
from semaim_mm.leaderboard.significance import holm, smallest_difference

OURS, THEIRS = [60.0, 61.5, 60.2, 62.1, 61.0], [58.0, 59.0, 58.4, 60.2, 58.9]


def write_two(root, ours=OURS, theirs=THEIRS):
    for method, scores in (("ours", ours), ("theirs", theirs)):
        for seed, score in enumerate(scores):
            write(root, method, seed, score)


def the_difference(root, *declared, **kwargs):
    found = compare(collect(root).trusted, declared or [("ours", "theirs")], **kwargs)
    assert len(found) == 1
    return found[0]


def test_a_difference_is_paired_over_seeds_and_tested_by_t(tmp_path):
    write_two(tmp_path)
    found = the_difference(tmp_path)
    test = stats.ttest_rel(OURS, THEIRS)
    assert found.p == found.corrected == pytest.approx(test.pvalue)
    interval = test.confidence_interval(0.95)
    assert found.over_pretraining.low == pytest.approx(interval.low)
    assert found.over_pretraining.high == pytest.approx(interval.high)
    assert [(pair.seed, pair.first, pair.second) for pair in found.pairs][1] == (1, 61.5, 59.0)
    assert found.better == "ours" and "ours is better than theirs" in found.verdict


def test_the_order_of_the_names_gives_the_sign_and_not_the_winner(tmp_path):
    write_two(tmp_path)
    found = the_difference(tmp_path, ("theirs", "ours"))
    assert found.over_pretraining.value < 0
    assert found.better == "ours" and "ours is better than theirs" in found.verdict


def test_scores_within_the_noise_are_not_called_better(tmp_path):
    write_two(tmp_path, [60.0, 61.0, 62.0], [61.0, 60.0, 61.5])
    found = the_difference(tmp_path)
    assert found.better is None and found.verdict.startswith("No difference is shown")
    assert f"could have shown {found.detectable:.2f} or more" in found.verdict
    assert found.detectable > abs(found.over_pretraining.value)


def test_only_seeds_that_both_have_are_paired(tmp_path):
    write_two(tmp_path, OURS, THEIRS[:3])
    found = the_difference(tmp_path)
    assert [pair.seed for pair in found.pairs] == [0, 1, 2]
    assert found.p == pytest.approx(stats.ttest_rel(OURS[:3], THEIRS[:3]).pvalue)


def test_finetunings_of_a_pretraining_are_averaged_before_the_test(tmp_path):
    for method, base in (("ours", 70.0), ("theirs", 60.0)):
        for pretraining in range(3):
            for fitting in range(2):
                score = base + pretraining**2 * (1.5 if base > 60 else 1) + fitting
                write(tmp_path, score=score, **finetuned(method, pretraining, fitting))
    found = the_difference(tmp_path)
    assert [(pair.first, pair.second) for pair in found.pairs][2] == (76.5, 64.5)
    assert found.over_pretraining.n == 3


def test_a_verdict_says_whose_spread_is_in_it(tmp_path):
    probe = dict(task="linear", evaluator=dict(type="LinearProbe"), training=None)
    for seed, (ours, theirs) in enumerate(zip(OURS, THEIRS, strict=True)):
        for method, score in (("ours", ours), ("theirs", theirs)):
            write(tmp_path / "tuned", score=score, **finetuned(method, seed, seed))
            write(tmp_path / "probed", method, seed, score, protocol=probe)
    for kind, own in (("tuned", "finetuning"), ("probed", "probe")):
        found = the_difference(tmp_path / kind)
        assert f" over 5 seeds, each with its own {own}. Corrected p" in found.verdict
        assert found.over_pretraining.over == f"over pretraining seeds, each with its own {own}"
    write_two(tmp_path / "knn")
    assert " over 5 seeds. Corrected p" in the_difference(tmp_path / "knn").verdict
    for method in ("ours", "theirs"):
        write(tmp_path / "tuned", score=60.0, **finetuned(method, 0, 7))
    assert " over 5 seeds. Corrected p" in the_difference(tmp_path / "tuned").verdict


def test_one_seed_tests_nothing(tmp_path):
    write_two(tmp_path, OURS[:1], THEIRS[:1])
    found = the_difference(tmp_path)
    assert (found.p, found.corrected, found.detectable, found.better) == (None,) * 4
    assert found.verdict == "ours is +2.00 from theirs with one seed: nothing is tested."


def test_a_difference_that_rounds_to_nothing_has_the_sign_that_its_column_shows(tmp_path):
    write_two(tmp_path / "three", [60.0, 61.0, 62.0], [60.501, 60.501, 62.0])
    write_two(tmp_path / "one", [60.0], [60.001])
    three, one = (the_difference(tmp_path / folder) for folder in ("three", "one"))
    assert three.over_pretraining.value < 0 and " by +0.00 (-" in three.verdict
    assert one.verdict == "ours is +0.00 from theirs with one seed: nothing is tested."


def test_differences_that_do_not_vary_test_nothing(tmp_path):
    write_two(tmp_path, [60.0, 61.0, 62.0], [59.0, 60.0, 61.0])
    found = the_difference(tmp_path)
    assert found.p is None and "3 seeds with one and the same difference" in found.verdict


def test_methods_without_a_common_seed_are_not_tested(tmp_path):
    write(tmp_path, "ours", 0)
    write(tmp_path, "theirs", 1)
    assert "share no pretraining seed" in the_difference(tmp_path).verdict


def test_different_weights_that_claim_one_seed_are_not_tested(tmp_path):
    write_two(tmp_path)
    write(tmp_path, "ours", 0, folder="x", checkpoint=finetuned("other", None, 0)["checkpoint"])
    found = the_difference(tmp_path)
    assert found.p is None and "claim the pretraining seed 0" in found.verdict


def test_results_under_several_protocols_are_never_compared_with_each_other(tmp_path):
    write(tmp_path, "ours")
    write(tmp_path, "theirs", protocol=dict(task="knn", pooling="cls"))
    found = the_difference(tmp_path)
    assert found.pairs == () and "no results yet under one protocol" in found.verdict


def test_results_on_several_data_sets_are_never_compared_with_each_other(tmp_path):
    write(tmp_path, "ours")
    write(tmp_path, "theirs", data=dict(name="toy", manifest_sha256="b" * 64))
    assert "no results yet under one protocol" in the_difference(tmp_path).verdict


def test_a_pair_is_compared_in_every_group_that_has_both_and_corrected_over_all(tmp_path):
    random = np.random.default_rng(0)
    for task in ("knn", "linear", "ade20k"):
        for seed in range(4):
            for method, gain in (("a", 1.0), ("b", 0.0), ("c", 0.2)):
                protocol = dict(task=task, evaluator=dict(type="KNN"), training=None)
                write(
                    tmp_path,
                    method,
                    seed,
                    60 + gain + random.normal(scale=0.4),
                    task=task,
                    protocol=protocol,
                    folder=f"{task}/{method}/{seed}",
                )
    found = compare(collect(tmp_path).trusted, [("a", "b"), ("c", "b")])
    assert [(d.first, d.task) for d in found][:3] == [("a", t) for t in ("ade20k", "knn", "linear")]
    assert [d.corrected for d in found] == pytest.approx(holm([d.p for d in found]))
    alone = [smallest_difference(d.over_pretraining.sd, 4, 0.05 / 6) for d in found]
    assert [d.detectable for d in found] == pytest.approx(alone)


def test_holm_multiplies_by_what_is_left_and_never_falls():
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.6, 0.7]) == [1.0, 1.0]


def test_a_declared_test_that_could_not_be_made_still_counts():
    assert holm([0.01, None, 0.02]) == pytest.approx([0.03, None, 0.04])
    assert holm([0.01, 0.02], tests=3) == pytest.approx([0.03, 0.04])


@pytest.mark.parametrize("n", [3, 5, 10])
def test_the_smallest_difference_is_shown_four_times_in_five(n):
    sd, alpha = 2.0, 0.025
    size = smallest_difference(sd, n, alpha)
    samples = np.random.default_rng(0).normal(size, sd, (40_000, n))
    power = (stats.ttest_1samp(samples, 0, axis=1).pvalue < alpha).mean()
    assert power == pytest.approx(0.8, abs=0.01)


def test_the_smallest_difference_of_ten_pairs_is_the_one_in_the_tables():
    # Cohen's dz for n = 10, two-sided 5 %, power 80 %
    assert smallest_difference(1.0, 10) == pytest.approx(0.9962, abs=1e-3)


def test_one_pair_shows_no_difference_of_any_size():
    with pytest.raises(InputError, match="at least two seeds"):
        smallest_difference(1.0, 1)


def test_images_are_resampled_for_both_at_once_and_all_their_weights(tmp_path):
    random = np.random.default_rng(0)
    right = {(m, s): random.random(500) < p for m, p in (("a", 0.7), ("b", 0.6)) for s in (0, 1)}
    for (method, seed), correct in right.items():
        write_right(tmp_path, correct, method=method, seed=seed)
    found = the_difference(tmp_path, ("a", "b"), outcomes=Outcomes())
    gain = sum(c.astype(float) * (1 if m == "a" else -1) for (m, _), c in right.items()) / 2
    assert found.over_images.value == pytest.approx(100 * gain.mean())
    assert found.over_images.sd == pytest.approx(100 * gain.std() / np.sqrt(500), rel=0.06)
    assert found.over_images.over == "over test images, these weights"


def test_without_a_manifest_nobody_knows_that_images_are_the_same(tmp_path):
    for method in ("a", "b"):
        data = dict(name="toy", manifest_sha256=None)
        write_right(tmp_path, np.array([True, False]), method=method, data=data)
    found = the_difference(tmp_path, ("a", "b"), outcomes=Outcomes())
    assert found.over_images is None and "toy has no manifest" in found.no_images


def test_outcomes_that_one_side_lacks_are_told(tmp_path):
    write_right(tmp_path, np.array([True, False, True, False]), method="a")
    write(tmp_path, "b")
    found = the_difference(tmp_path, ("a", "b"), outcomes=Outcomes())
    assert found.over_images is None and "kept nothing by image" in found.no_images


def test_methods_of_several_sizes_are_compared_size_by_size(tmp_path):
    for method in ("a", "b"):
        for arch in ("ViT-base/16", "ViT-large/16"):
            write(tmp_path, method, arch=arch, folder=f"{method}/{arch}")
    write(tmp_path, "b", arch="ViT-small/16", folder="small")
    found = compare(collect(tmp_path).trusted, [("a", "b")])
    assert [d.arch for d in found] == ["ViT-base/16", "ViT-large/16"]


def test_methods_with_one_row_each_are_compared_whatever_their_size_and_pretraining(tmp_path):
    write(tmp_path, "a")
    write(tmp_path, "b", checkpoint=None, arch="RawPixels")
    assert the_difference(tmp_path, ("a", "b")).arch == "RawPixels and ViT-base/16"


def test_of_one_size_random_weights_are_compared_with_pretrained_ones(tmp_path):
    for arch in ("ViT-base/16", "ViT-large/16"):
        write(tmp_path, "a", arch=arch, folder=f"a/{arch}")
        write(tmp_path, "random", arch=arch, folder=f"random/{arch}", checkpoint=None)
    found = compare(collect(tmp_path).trusted, [("a", "random")])
    assert [d.arch for d in found] == ["ViT-base/16", "ViT-large/16"]


def test_several_rows_of_one_size_are_compared_with_those_of_as_many_epochs(tmp_path):
    for method in ("a", "b"):
        for epochs in (1, 2):
            checkpoint = weights(f"{method} {epochs}", 0)
            checkpoint["origin"]["budget"]["epochs"] = epochs
            write(
                tmp_path,
                method,
                score=10.0 * epochs + (method == "a"),
                checkpoint=checkpoint,
                folder=f"{method}{epochs}",
            )
    found = compare(collect(tmp_path).trusted, [("a", "b")])
    assert [(d.pairs[0].first, d.pairs[0].second) for d in found] == [(11, 10), (21, 20)]


@pytest.mark.parametrize(
    ("declared", "words"),
    [
        ([("a", "b"), ("a", "c"), ("b", "c")], "3 comparisons are declared"),
        ([("a", "a")], "two different methods"),
        ([("a",)], "two different methods"),
    ],
)
def test_too_many_comparisons_and_those_of_one_method_are_refused(declared, words):
    with pytest.raises(InputError, match=words):
        compare([], declared)
