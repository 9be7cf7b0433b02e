"""Checkpoints that want to run code, or say nonsense of themselves: refused, row 18."""

from __future__ import annotations

import pickle
import re

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


NONSENSE = [None, [1], {}, dict(epoch="1", iter=8)]


@pytest.mark.parametrize(
    "meta", [dict(epoch=1, iter=-8), *(pytest.param(m, marks=pytest.mark.slow) for m in NONSENSE)]
)
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


def put(content, keys, value):
    """The content with one part of it, however deep, replaced."""
    if not keys:
        return value
    copied = list(content) if isinstance(content, list | tuple) else dict(content)
    copied[keys[0]] = put(content[keys[0]], keys[1:], value)
    return copied


PARTS = [  # where, what stands there then, what the sentence names
    (("meta", "resumes"), "2", "resumes is str '2', where this suite writes integer"),
    (("meta", "skipped_images"), [1], "skipped_images.0 is int '1'"),
    (("meta", "model"), {}, "model lacks backbone, data_preprocessor"),
    (("meta", "budget", "images"), None, "budget.images is NoneType"),
    (("meta", "seed"), "0", "seed is str '0'"),
    (("message_hub",), [], "message_hub is list"),
    (("message_hub", "runtime_info"), 1, "message_hub.runtime_info is int '1'"),
    (("optimizer", "state"), [], "optimizer.state is list"),
    (("optimizer", "param_groups", 0, "lr"), float("nan"), "optimizer.param_groups.0.lr is float"),
    (("optimizer", "param_groups", 0), {}, "optimizer.param_groups.0 lacks params"),
    (("param_schedulers", 0, "last_step"), 1.5, "param_schedulers.0.last_step is float '1.5'"),
    (("param_schedulers", 0, "begin"), "0", "param_schedulers.0.begin is str '0'"),
    (("param_schedulers", 0, "base_values"), [None], "param_schedulers.0.base_values.0 is None"),
    (("random_states",), [{}], "random_states.0 lacks python, numpy, torch, cuda"),
    (("batch", "total"), 0, "batch.total is int '0', where this suite writes integer from 1 on"),
]


@pytest.mark.parametrize(("where", "value", "told"), PARTS)
def test_a_part_of_another_kind_is_named(where, value, told, place):
    content = put(runs.newest(place / "whole"), where, value)
    with pytest.raises(InputError, match=re.escape(told)):
        check_header(content, "given.pth", resumes=True)


def test_what_a_run_saves_passes(place):
    for path in (place / "whole").rglob("*.pth"):
        check_header(read_file(path), str(path), resumes=True)


DEEP = [
    (("optimizer", "state", 0, "exp_avg"), torch.zeros(1, 2, 3), "exp_avg of shape (1, 2, 3)"),
    (("random_states", 0, "numpy"), ["MT19937", [1, 2], 0, 0, 0.0], "random_states"),
    (("param_schedulers", 0, "end"), "3", "param_schedulers.0.end is str"),
    (("optimizer", "param_groups", 0, "betas"), [], "optimizer.param_groups.0.betas"),
]


# that each part is checked is tested above; a run that ends takes seconds
@pytest.mark.parametrize(
    ("where", "value", "told"),
    [DEEP[0], *(pytest.param(*case, marks=pytest.mark.slow) for case in DEEP[1:])],
)
def test_a_run_goes_on_from_no_damaged_part(where, value, told, place, tmp_path):
    whole = runs.newest(place / "whole")
    content = put(whole | dict(meta=whole["meta"] | dict(epoch=1, iter=8)), where, value)
    ended = resumed(place, tmp_path, content)
    assert ended.code == 2, ended.out[-3000:]
    assert "error: " in ended.out and told in ended.out and "Traceback" not in ended.out


@st.composite
def places(draw, content):
    """A path into nested dicts and lists of plain values, tensors left whole."""
    keys = []
    while isinstance(content, dict | list | tuple) and len(content):
        names = list(content) if isinstance(content, dict) else range(min(len(content), 3))
        keys.append(draw(st.sampled_from(list(names))))
        content = content[keys[-1]]
        if draw(st.integers(0, 3)) == 0:
            break
    return tuple(keys)


@pytest.mark.slow
@settings(derandomize=True, max_examples=150, deadline=None)
@given(data=st.data(), value=ANY)
def test_any_part_may_be_anything_and_only_a_sentence_follows(data, value, place):
    whole = runs.newest(place / "whole")
    heads = {k: whole[k] for k in whole if k != "state_dict"}
    content = put(heads, data.draw(places(heads)), value)
    try:
        check_header(content, "given.pth", resumes=True)
    except InputError:
        return
    found = content.get("param_schedulers") or ()
    by_name = isinstance(found, dict)
    for state in [one for each in found.values() for one in each] if by_name else found:
        assert all(not isinstance(v, str) or k == "param_name" for k, v in state.items())
