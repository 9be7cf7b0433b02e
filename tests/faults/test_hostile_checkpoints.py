"""Checkpoints that want to run code, or say nonsense of themselves: refused, row 18."""

from __future__ import annotations

import pickle

import fault_runs as runs
import pytest
import shipped_leaves as shipped
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from semaim_mm.errors import InputError
from semaim_mm.interop.checkpoint_file import read_file
from semaim_mm.runtime.reliable.header import check_header


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    root = tmp_path_factory.mktemp("hostile")
    ended = runs.train(shipped.PRETRAIN, shipped.pretraining(root), root / "whole")
    assert ended.code == 0, ended.out[-3000:]
    return root


def resumed(place, tmp_path, content):
    """Save what is hostile outside the work dir and name it with --resume."""
    path = tmp_path / "given.pth"
    path.write_bytes(content) if isinstance(content, bytes) else torch.save(content, path)
    work_dir = tmp_path / "run"
    return runs.train(shipped.PRETRAIN, shipped.pretraining(place), work_dir, resume=str(path))


def test_a_config_inside_is_not_executed(place, tmp_path):
    canary = tmp_path / "canary"
    content = runs.newest(place / "whole")
    code = f"from pathlib import Path\nPath({str(canary)!r}).write_text('ran')\n"
    content["meta"] |= dict(config=code, cfg=code, epoch=1, iter=8)
    ended = resumed(place, tmp_path, content)
    assert ended.code == 0, ended.out[-3000:]
    assert not canary.exists()


class Runs:
    def __init__(self, canary):
        self.canary = canary

    def __reduce__(self):
        return (open, (str(self.canary), "w"))


@pytest.mark.parametrize("how", ["plain pickle", "torch"])
def test_a_pickle_that_runs_code_is_refused(how, place, tmp_path):
    canary = tmp_path / "canary"
    content = dict(state_dict={}, meta=Runs(canary))
    ended = resumed(place, tmp_path, content if how == "torch" else pickle.dumps(content))
    assert ended.code == 2, ended.out[-3000:]
    assert "error: " in ended.out and "given.pth" in ended.out and "Traceback" not in ended.out
    assert not canary.exists()


@pytest.mark.parametrize("meta", [None, [1], {}, dict(epoch="1", iter=8), dict(epoch=1, iter=-8)])
def test_a_header_that_says_nonsense_is_a_sentence(meta, place, tmp_path):
    content = runs.newest(place / "whole") | dict(meta=meta)
    ended = resumed(place, tmp_path, content)
    assert ended.code == 2, ended.out[-3000:]
    assert "error: " in ended.out and "given.pth" in ended.out and "Traceback" not in ended.out


PLAIN = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5)
ANY = st.recursive(PLAIN, lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner))
HEADERS = st.dictionaries(st.sampled_from(["epoch", "iter", "config", "seed"]), PLAIN)


@settings(derandomize=True, max_examples=100, deadline=None)
@given(meta=ANY | HEADERS)
def test_any_header_passes_with_its_numbers_or_is_an_input_error(meta, tmp_path_factory):
    path = tmp_path_factory.getbasetemp() / "any.pth"
    torch.save(dict(meta=meta, state_dict={}), path)
    try:
        checkpoint = read_file(path)
        check_header(checkpoint, str(path), resumes=True)
    except InputError:
        return
    found = checkpoint["meta"]
    assert "config" not in found and min(found["epoch"], found["iter"]) >= 0
