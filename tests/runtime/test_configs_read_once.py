"""A look at a suite's many stages parses each config once, and sees a later change."""

from __future__ import annotations

import pytest
from mmengine.config import Config

from semaim_mm.runtime.launch import configs_read_once, load_config
from semaim_mm.suite.spec import read_spec
from semaim_mm.suite.stages import plan
from semaim_mm.suite.view import states_of


@pytest.fixture
def parsed(monkeypatch):
    """The paths of the config files that were parsed, in turn."""
    paths, parse = [], Config.fromfile

    def noted(path, *args, **kwargs):
        paths.append(path)
        return parse(path, *args, **kwargs)

    monkeypatch.setattr(Config, "fromfile", noted)
    return paths


def test_a_plan_parses_each_leaf_once(parsed):
    stages = plan(read_spec("configs/suites/demo.py"))
    for look in (plan, states_of):
        parsed.clear()
        look(read_spec("configs/suites/demo.py") if look is plan else stages)
        leaves = [path for path in parsed if "suites" not in path]
        assert leaves and len(leaves) == len(set(leaves)) < len(stages)


def test_one_copy_does_not_change_another(tmp_path):
    (tmp_path / "leaf.py").write_text("a = dict(b=[1])\n")
    path = str(tmp_path / "leaf.py")
    with configs_read_once():
        first = load_config(path, {"a.b": [2]}, "here")
        first.a.b.append(3)
        second = load_config(path)
    assert first.a.b == [2, 3] and second.a.b == [1]
    assert first.work_dir == "here" != second.work_dir


def test_outside_a_changed_file_is_read_anew(tmp_path, parsed):
    path = tmp_path / "leaf.py"
    for value in (1, 2):
        path.write_text(f"a = {value}\n")
        with configs_read_once(), configs_read_once():
            assert load_config(str(path)).a == load_config(str(path)).a == value
    path.write_text("a = 3\n")
    assert load_config(str(path)).a == 3 and len(parsed) == 3
