"""Attentive pooling learns which token matters, and its classifiers do not disturb each other."""

import torch

from semaim_mm.transfer.attentive import AttentiveGrid
from semaim_mm.transfer.feature_store import FeatureTable, RecordFile
from semaim_mm.transfer.features import Features
from semaim_mm.transfer.linear_probe import LinearProbe
from semaim_mm.transfer.moments import table_moments


def needle(n: int, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    """(n, 12, 8) noise tokens of which one, marked by its last channel, carries the class."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(n) % 4
    tokens = torch.randn(n, 12, 8, generator=generator) * 3
    tokens[:, :, 7] = 0
    where = torch.randint(12, (n,), generator=generator)
    signal = torch.zeros(n, 8)
    signal[torch.arange(n), labels] = 4.0
    signal[:, 7] = 10.0
    tokens[torch.arange(n), where] = signal
    return tokens, labels


def test_it_finds_the_token_that_the_mean_drowns():
    tokens, labels = needle(800, 0)
    test_tokens, test_labels = needle(400, 1)
    bank = Features({"attentive": tokens, "mean": tokens.mean(dim=1)}, labels)
    test = Features({"attentive": test_tokens, "mean": test_tokens.mean(dim=1)}, test_labels)
    outcome = LinearProbe(epochs=40, batch_size=64).evaluate(bank, test, 4, torch.device("cpu"))
    assert outcome.metrics["attentive/top1"] > 95
    assert outcome.metrics["mean/top1"] < 75
    assert outcome.chosen["feature"] == "attentive"


def test_a_classifier_trains_alike_alone_and_beside_others():
    tokens, labels = needle(64, 0)
    everything, cpu = torch.arange(64), torch.device("cpu")
    moments = table_moments({"t": tokens}, everything, cpu)["t"]
    alone = AttentiveGrid(moments, 4, torch.tensor([0.1]))
    beside = AttentiveGrid(moments, 4, torch.tensor([3.0, 0.1]))
    for _ in range(5):
        alone.step(tokens, labels, 1.0)
        beside.step(tokens, labels, 1.0)
    for one, many in zip(alone.parameters, beside.parameters, strict=True):
        torch.testing.assert_close(many[1], one[0], rtol=1e-4, atol=1e-6)


def test_a_share_with_tokens_trains_beside_all_images_in_one_go(tmp_path):
    """Mean of 800 images and tokens of 200 of them: each as if it were trained by itself."""
    tokens, labels = needle(800, 0)
    test_tokens, test_labels = needle(400, 1)
    images = torch.arange(0, 800, 4) + torch.arange(200) % 4
    file = RecordFile(tmp_path / "t.bin", {"t": (12, 8)}, "float32", images, 800)
    file.create()
    file.write({"t": tokens}, torch.arange(800))
    file.finish()
    share, mean = FeatureTable(file, ("t",)), tokens.mean(dim=1)
    _, group = LinearProbe()._groups(Features({"mean": mean, "attentive": share}, labels))
    assert torch.equal(torch.cat([group.fit, group.held]).sort().values, images)
    tests = {"attentive": test_tokens, "mean": test_tokens.mean(dim=1)}

    def run(values, bank_labels):
        test = Features({name: tests[name] for name in values}, test_labels)
        probe, cpu = LinearProbe(epochs=20, batch_size=32), torch.device("cpu")
        return probe.evaluate(Features(values, bank_labels), test, 4, cpu).metrics

    together = run({"attentive": share, "mean": mean}, labels)
    alone = run({"attentive": tokens[images]}, labels[images])
    for name in ("attentive/top1", "attentive/heldout_top1"):
        assert together[name] == alone[name]
    assert together["mean/top1"] == run({"mean": mean}, labels)["mean/top1"]
    assert together["attentive/top1"] > 90
