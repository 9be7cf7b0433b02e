"""Every subcommand of tools/benchmark.py runs at a tiny size and writes whole tables."""

from __future__ import annotations

import importlib.util
import json
import sys
from functools import partial
from pathlib import Path

import cv2
import pytest
import torch

from semaim_mm.bench import (
    costliest,
    dense,
    knn,
    leaderboard,
    loader,
    pretrain,
    scaling,
    teacher,
)
from semaim_mm.bench.report import Table
from semaim_mm.errors import InputError
from semaim_mm.layers import ContentAttention

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


@pytest.mark.slow
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


@pytest.mark.slow
def test_profile(monkeypatch, tmp_path):
    (table,) = run(monkeypatch, tmp_path, "profile", "--arch", "tiny", "--side", "32")
    shares = [row[-1] for row in table["rows"]]
    assert len(shares) == 4 and sum(shares) == pytest.approx(100)
    assert shares[0] >= shares[1] >= shares[2] > 0 and table["rows"][3][0] == "all others"


@pytest.mark.slow
def test_all_runs_every_part(monkeypatch, tmp_path, compiled_without_kernels):
    tables = run(monkeypatch, tmp_path, "all")
    update = tables[1]["rows"]
    assert [row[0] for row in update[:3]] == [
        f"{name}, ViT tiny, 32 px, 2 x bf16"
        for name in ("our dense baseline", "ours, compiled", "ours")
    ]
    assert len(compiled_without_kernels) == 4  # three callables of ours, and timm's ViT
    assert [table["title"] for table in tables] == [
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
def test_all_keeps_what_was_measured_before_a_part_that_fails(monkeypatch, tmp_path):
    calls = []

    def measured(name: str, sizes: tuple, rounds: int, *more: object) -> list[Table]:
        calls.append(name)
        if name == "leaderboard":
            raise InputError("no room")
        return [Table(name, ("what",), [(name,)])]

    parts = (costliest, pretrain, teacher, scaling, dense, knn, loader, leaderboard)
    names = [part.__name__.split(".")[-1] for part in parts]
    for part, name in zip(parts, names, strict=True):
        monkeypatch.setattr(part, "measure", partial(measured, name))
    with pytest.raises(InputError, match="no room"):
        run(monkeypatch, tmp_path, "all")
    assert calls == names
    written = json.loads((tmp_path / "all.json").read_text())["tables"]
    assert [table["title"] for table in written] == names[:-1]


@pytest.mark.slow
def test_dense(monkeypatch, tmp_path):
    (table,) = run(monkeypatch, tmp_path, "dense", "--side", "64", "--alone", "4")
    where, kind = table["columns"].index("device"), table["columns"].index("attention")
    cpu = [(row[0].split(",")[0], row[kind]) for row in table["rows"] if row[where] == "cpu"]
    assert cpu.count(("vitdet", "bias matrix")) == 3 and ("benchmarking", "bias matrix") not in cpu
    assert cpu.count(("upernet", "ours")) == 1 and cpu.count(("benchmarking", "explicit")) == 3
    assert all(None not in row for row in table["rows"] if row[where] == "cpu")
    assert any(row[where] == "cuda" for row in table["rows"])


def test_on_a_gpu_every_leaf_is_measured_at_both_sizes(monkeypatch):
    built = []
    monkeypatch.setattr(dense, "backbone_arms", lambda *asked: built.append(asked[:2]))
    monkeypatch.setattr(dense, "attention_arms", lambda *rest: None)
    for build in dense.cases(dense.GPU_SIZES, "cuda"):
        build()
    assert built == [(leaf, side) for leaf in dense.LEAVES for side in (512, 1024)]
    assert dense.CPU_SIZES.side == 512  # one size there


def test_dense_rows_of_ours_must_be_fused_where_the_bias_can_be_folded(monkeypatch):
    monkeypatch.chdir(TOOL.parents[1])
    folded = {leaf: dense.folds(dense.leaf_backbone(leaf, 3, 64)) for leaf in dense.LEAVES}
    assert folded == {"vitdet": True, "benchmarking": False, "upernet": True}
    x = torch.randn(8, 8)
    by_hand = dense.Case("toy", dict.fromkeys(("explicit", "ours"), lambda: x @ x), 1)
    with pytest.raises(InputError, match="not by a fused one"):
        list(dense.rows_of(by_hand, "cpu", 1))
    assert len(list(dense.rows_of(by_hand._replace(calls=None), "cpu", 1))) == 2


@pytest.mark.parametrize("precision", ["fp32", "bf16", "fp16"])
def test_attention_alone_is_the_content_layers_in_the_precision_asked_for(monkeypatch, precision):
    seen = []

    class Seen(ContentAttention):
        def attend(self, q, k, v, causal, *more, **how):
            seen.append((v.dtype, causal))
            return super().attend(q, k, v, causal, *more, **how)

    monkeypatch.setattr(scaling, "ContentAttention", Seen)
    scaling.attention_alone(scaling.CPU_SIZES._replace(side=32), "cpu", precision)()
    assert seen == [(pretrain.DTYPES[precision], True)]


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
