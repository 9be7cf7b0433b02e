"""A secret in a config or the environment is in nothing that a run leaves: row 19."""

from __future__ import annotations

import os
from pathlib import Path

import fault_runs as runs
import pytest
import shipped_leaves as shipped
from mmengine.config import Config

from semaim_mm.interop.checkpoint_file import read_file
from semaim_mm.leaderboard.asked import asked_board
from semaim_mm.leaderboard.write.files import write_files
from semaim_mm.runtime.evaluate import evaluate
from semaim_mm.runtime.secrets import line_without_secrets, without_secrets

CANARY = "canary-4f1d9c"
# keys of a user's own, in a leaf; no override could bring them
LEAF = f"""
_base_ = "{Path(shipped.FINETUNE).resolve()}"
remote = dict(api_key="{CANARY}", note="kept")
sets = [dict(name="a", password="{CANARY}")]
mirror = "https://someone:{CANARY}@example.org/images"
"""
METAINFO = "train_dataloader.dataset.dataset.metainfo"


def leaks(folder: Path) -> list[str]:
    return [
        str(path.relative_to(folder))
        for path in folder.rglob("*")
        if path.is_file() and CANARY.encode() in path.read_bytes()
    ]


def test_a_run_its_result_and_its_page_hold_no_secret(tmp_path, monkeypatch):
    monkeypatch.setenv("SOME_TOKEN", CANARY)
    leaf = tmp_path / "leaf.py"
    leaf.write_text(LEAF)
    options = shipped.finetuning(tmp_path / "data")
    options[METAINFO] = dict(secret=[CANARY], source=["kept"])
    ended = runs.train(str(leaf), options, tmp_path / "out" / "run")
    assert ended.code == 0, ended.out[-3000:]
    assert "note" in ended.out and "***" in ended.out, "the config should be in the log"
    checkpoint = next((tmp_path / "out" / "run").glob("*.pth"))
    meta = read_file(checkpoint)["meta"]["dataset_meta"]
    assert (meta["secret"], meta["source"]) == (["***"], ["kept"])
    evaluate(str(leaf), str(checkpoint), str(tmp_path / "out" / "test"), options)
    write_files(asked_board(tmp_path / "out", None, resamples=0), tmp_path / "out" / "page")
    assert (tmp_path / "out" / "page" / "index.html").is_file()
    assert os.environ["SOME_TOKEN"] == CANARY
    assert leaks(tmp_path / "out") == []


def test_secrets_are_known_by_their_keys_and_the_run_keeps_its_own():
    given = Config(
        dict(
            a=dict(API_KEY="x", nested=[dict(access_token="y")], out_type="cls_token"),
            with_cls_token=True,
            token=3,
            url="s3://key:z@host/path",
        )
    )
    found = without_secrets(given)
    assert found.a.API_KEY == found.a.nested[0].access_token == "***"
    assert (found.a.out_type, found.with_cls_token, found.token) == ("cls_token", True, 3)
    assert found.url == "s3://***@host/path"
    assert given.a.API_KEY == "x" and given.url == "s3://key:z@host/path"
    assert without_secrets(None) is None


@pytest.mark.parametrize(
    ("line", "told"),
    [
        (
            "python a.py --cfg-options x.password=abc y=1",
            "python a.py --cfg-options x.password=*** y=1",
        ),
        ("python a.py 'b.api_key=a b'", "python a.py 'b.api_key=***"),
        ("python a.py data_root=https://me:abc@host/x", "python a.py data_root=https://***@host/x"),
        ("python a.py with_cls_token=True", "python a.py with_cls_token=True"),
    ],
)
def test_a_command_is_written_down_without_them(line, told):
    assert line_without_secrets(line).startswith(told)
    assert "abc" not in line_without_secrets(line)
