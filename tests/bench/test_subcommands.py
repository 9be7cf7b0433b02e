"""Every subcommand of tools/benchmark.py runs at a tiny size and writes whole tables."""

from __future__ import annotations

import importlib.util
import json
import sys
from pathlib import Path

import cv2
import pytest
import torch

from semaim_mm.bench import dense, loader
from semaim_mm.errors import InputError

TOOL = Path(__file__).resolve().parents[2] / "tools" / "benchmark.py"


def run(monkeypatch, out: Path, *words: str) -> list[dict]:
    """Run the tool in this process -> the tables of its JSON file."""
    spec = importlib.util.spec_from_file_location("benchmark_tool", TOOL)
    tool = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(tool)
    monkeypatch.chdir(TOOL.parents[1])
    monkeypatch.setattr(sys, "argv", ["benchmark.py", *words, "--rounds", "1", "--out", str(out)])
    tool.main()
    tables = json.loads((out / f"{words[0]}.json").read_text())["tables"]
    assert (out / f"{words[0]}.md").read_text().count("\n### ") == len(tables)
    for table in tables:
        assert {len(row) for row in table["rows"]} == {len(table["columns"])}
    return tables


def column(table: dict, name: str, device: str = "cpu") -> dict:
    """-> {first cell: the named cell} of the device's rows."""
    place, where = table["columns"].index(name), table["columns"].index("device")
    return {row[0]: row[place] for row in table["rows"] if row[where] == device}


@pytest.mark.slow
def test_pretrain(monkeypatch, tmp_path):
    words = ("pretrain", "--arch", "tiny", "--side", "32", "--batch", "2")
    whole, parts = run(monkeypatch, tmp_path, *words)
    ours, baseline = (
        "ours, ViT tiny, 32 px, 2 x fp32",
        "our dense baseline, ViT tiny, 32 px, 2 x fp32",
    )
    kernels = column(whole, "kernel x calls")
    assert kernels == {baseline: "own softmax", ours: {"flash (CPU)": 36}}
    assert column(whole, "time of our dense baseline / this")[baseline] == [1.0, 1.0, 1.0]
    assert set(column(whole, "MFU, % of the data sheet").values()) == {None}
    assert set(column(whole, "step, ms", "cuda").values()) == {None}
    assert list(column(parts, "ours, ms")) == [
        "similarity pass",
        "streams",
        "loss",
        "backward",
        "optimizer",
        "loader, one worker",
    ]


@pytest.mark.slow
def test_teacher(monkeypatch, tmp_path):
    words = ("teacher", "--config", "configs/pretrain/semaim_tiny_clip.py", "--side", "32")
    (table,) = run(monkeypatch, tmp_path, *words, "--random-teacher")
    shares = column(table, "% of the update")
    assert next(iter(shares)) == "teacher" and shares.pop("all") == 100
    assert sum(share[0] for share in shares.values()) == pytest.approx(100)
    assert "vit_base_patch16_clip_quickgelu_224.openai, with random weights" in table["notes"][0]


def test_knn(monkeypatch, tmp_path):
    (table,) = run(monkeypatch, tmp_path, "knn", "--bank=400", "--queries=20", "--width=16")
    memory = column(table, "peak memory, MiB")
    assert memory["matrix product, 20 x 400 x 16, fp32"] == pytest.approx(20 * 400 * 4 / 2**20)
    seconds = column(table, "seconds")["ours, 20 x 400 x 16, fp32"]
    projected = column(table, "projected to ImageNet, minutes")["ours, 20 x 400 x 16, fp32"]
    assert projected[0] == pytest.approx(seconds[0] * 1_281_167 * 50_000 / 8000 / 60)


def test_loader(monkeypatch, tmp_path):
    (table,) = run(monkeypatch, tmp_path, "loader", "--images", "2")
    assert [row[0] for row in table["rows"]][:2] == ["stock", "ours"]
    assert table["rows"][0][-1] == [1.0, 1.0, 1.0]


def test_the_loader_is_measured_on_one_thread_and_gives_the_others_back(monkeypatch):
    used = []

    def seen(arms, rounds):
        used.append((torch.get_num_threads(), cv2.getNumThreads()))
        return {name: [1.0] for name in arms}

    monkeypatch.setattr(loader, "interleave", seen)
    torch.set_num_threads(2)
    loader.measure(loader.Sizes(1), rounds=1)
    assert used == [(1, 1)] and torch.get_num_threads() == 2
    torch.set_num_threads(1)


def test_both_pipelines_give_packed_crops_of_224_pixels(tmp_path):
    loader.write_jpegs(tmp_path, 1)
    for name, get in loader.data_sets(tmp_path).items():
        found = get(0)
        shape = tuple((found["inputs"] if "alone" not in name else found["img"]).shape)
        decoded = {"ours, read and cropped alone": (224, 224, 3)}.get(name, (375, 500, 3))
        assert shape == (decoded if "alone" in name else (3, 224, 224)), name


def test_ours_is_asked_by_key_as_training_asks(tmp_path):
    loader.write_jpegs(tmp_path, 1)
    get = loader.data_sets(tmp_path)["ours"]
    torch.manual_seed(1)
    first = get(0)
    torch.manual_seed(2)
    assert first["data_samples"].sample_key == (0, 0, 0)
    assert torch.equal(first["inputs"], get(0)["inputs"])  # seeded: no draw from outside


def test_leaderboard(monkeypatch, tmp_path):
    words = ("leaderboard", "--results", "6", "--images", "50")
    pages, bootstrap = run(monkeypatch, tmp_path, *words)
    assert [row[0] for row in pages["rows"]] == [
        "leaderboard of 3 results",
        "leaderboard of 6 results",
    ]
    assert [row[0] for row in bootstrap["rows"]][-1].endswith("resamples of 50 images")


def test_scaling(monkeypatch, tmp_path):
    words = ("scaling", "--depth", "2", "--side", "32", "--tokens", "1024")
    (table,) = run(monkeypatch, tmp_path, *words)
    rows = [dict(zip(table["columns"], row, strict=True)) for row in table["rows"]]
    assert [row["value"] for row in rows if row["varied"] == "tokens"] == [49, 196, 784, 1024]
    bytes_a_token = [row["its bytes a token"] for row in rows if row["varied"] == "tokens"]
    # linear: an (L, L) tensor would give 1,024 tokens 1.3 times as many as 784, and 5 times 196
    assert bytes_a_token[3] < 1.1 * bytes_a_token[2] and bytes_a_token[3] < 2 * bytes_a_token[1]
    assert [row["value"] for row in rows if row["varied"] == "query depth"] == [1, 2]
    assert "<svg" in (tmp_path / "scaling.svg").read_text()


def test_profile(monkeypatch, tmp_path):
    (table,) = run(monkeypatch, tmp_path, "profile", "--arch", "tiny", "--side", "32")
    shares = [row[-1] for row in table["rows"]]
    assert len(shares) == 4 and sum(shares) == pytest.approx(100)
    assert shares[0] >= shares[1] >= shares[2] > 0 and table["rows"][3][0] == "all others"


@pytest.mark.slow
def test_all_runs_every_part(monkeypatch, tmp_path):
    titles = [table["title"] for table in run(monkeypatch, tmp_path, "all")]
    assert titles == [
        "Largest costs of a step",
        "SemAIM, one update",
        "The update by part",
        "The teacher's share of an update",
        "Cost against size",
        "Backbone and attention of the dense tasks, one training step",
        "k-NN",
        "Loading for pretraining",
        "Writing the leaderboard",
        "Interval over test images",
    ]
    assert (tmp_path / "scaling.svg").exists()


@pytest.mark.slow
def test_dense(monkeypatch, tmp_path):
    (table,) = run(monkeypatch, tmp_path, "dense", "--side", "64", "--alone", "4")
    where, kind = table["columns"].index("device"), table["columns"].index("attention")
    cpu = [(row[0].split(",")[0], row[kind]) for row in table["rows"] if row[where] == "cpu"]
    assert cpu.count(("vitdet", "bias matrix")) == 3 and ("benchmarking", "bias matrix") not in cpu
    assert cpu.count(("upernet", "ours")) == 1 and cpu.count(("benchmarking", "explicit")) == 3
    assert all(None not in row for row in table["rows"] if row[where] == "cpu")
    assert any(row[where] == "cuda" for row in table["rows"])


def test_blocks_that_can_not_keep_the_share_of_global_ones_are_refused():
    with pytest.raises(InputError, match="4 blocks can't have one global block in three"):
        dense.leaf_backbone("vitdet", 4, 64)


def test_a_leafs_backbone_is_the_leafs_with_fewer_blocks(monkeypatch):
    monkeypatch.chdir(TOOL.parents[1])
    backbone = dense.leaf_backbone("vitdet", 3, 64)
    assert [layer.attn.window_size for layer in backbone.layers] == [14, 14, 0]
    assert backbone.layers[2].attn.rel_pos_h.shape == (7, 64)
    assert list(dense.arms_for(backbone)) == ["explicit", "bias matrix", "ours"]


def test_attention_alone_reads_the_bias_that_its_block_reads_in_the_backbone(monkeypatch):
    monkeypatch.chdir(TOOL.parents[1])
    backbone = dense.leaf_backbone("benchmarking", 3, 64)
    for table in backbone.rel_pos_shared.values():
        torch.nn.init.normal_(table)
    biases = backbone.shared_biases((4, 4))
    assert torch.equal(dense.shared_bias(backbone, False, (4, 4)), biases["whole"])
    assert torch.equal(dense.shared_bias(backbone, True, (4, 4)), biases["window"])
