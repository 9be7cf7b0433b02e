"""What pages say beside commands: blocks made from the code, Python, fields, keys, links."""

from __future__ import annotations

import ast
import importlib
import inspect
import json
import re
import shutil
import subprocess
import sys

import pytest
import torch
from conftest import build_tiny
from doc_blocks import BLOCK, ROOT, made_anew, pages
from doc_fences import all_fences
from mmengine.registry import MODELS, init_default_scope
from result_files import write

import semaim_mm.dense  # noqa: F401  (registration)
from semaim_mm.runtime.launch import load_config
from semaim_mm.runtime.spread import spread_keys
from semaim_mm.suite.spec import KEYS, METHOD_KEYS, read_spec
from semaim_mm.suite.stages import plan
from semaim_mm.transfer.protocol import PROTOCOLS

DOCS = ROOT / "docs"
# wide enough for its number of heads to be told
WIDE = dict(arch=dict(embed_dims=192, num_heads=3), img_size=12)
PYTHON = all_fences("python", "py")


@pytest.mark.parametrize("page", pages(), ids=lambda page: page.name)
def test_what_is_made_from_the_code_is_as_the_code_makes_it(page):
    text = page.read_text()
    assert text.count("<!-- made: ") == len(BLOCK.findall(text))
    assert made_anew(text) == text, "run: python tests/docs/doc_blocks.py"


@pytest.mark.parametrize("page", pages(), ids=lambda page: page.name)
def test_every_file_that_is_named_exists(page):
    text = re.sub(r"```.*?```", "", page.read_text(), flags=re.DOTALL)
    text = text.replace("`configs/cls/knn_vits.py`", "")  # the reader's own
    named = re.findall(r"`((?:configs|tools|docs|tests|semaim_mm)/[\w./-]+\w)`", text)
    assert [name for name in named if not (ROOT / name).exists()] == []


@pytest.mark.parametrize("page", pages(), ids=lambda page: page.name)
def test_links_resolve_and_no_page_has_a_placeholder(page):
    text = page.read_text()
    assert re.findall(r"@[A-Z]+@", text) == []
    for target in re.findall(r"\]\(([^)#]+)\)", text):
        assert target.startswith("http") or (page.parent / target).is_file(), target


@pytest.fixture
def place(tmp_path, monkeypatch):
    """A folder like the repository's root, with a checkpoint and a result."""
    shutil.copytree(ROOT / "configs", tmp_path / "configs")
    shutil.copytree(
        ROOT / "docs", tmp_path / "docs", ignore=shutil.ignore_patterns("*.tar.xz", "images")
    )
    torch.save(build_tiny(backbone=WIDE).backbone.state_dict(), tmp_path / "checkpoint.pth")
    write(tmp_path, folder="work_dirs/cls/knn_tiny/semaim_tiny/epoch_1", metrics=dict(top1=1.0))
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    for fence in PYTHON:
        if fence.title:
            (tmp_path / fence.title).write_text(fence.text)
    return tmp_path


@pytest.mark.parametrize("fence", PYTHON, ids=[fence.title or fence.place for fence in PYTHON])
def test_python_runs_and_configs_build_what_they_describe(fence, place):
    code = compile(fence.text, fence.place, "exec")
    if fence.title.startswith("configs/suites/"):
        # a plan asks that they are there
        for name in re.findall(r'checkpoint="(.+\.pth)"', fence.text):
            (place / name).parent.mkdir(exist_ok=True)
            (place / name).touch()
        assert len(plan(read_spec(fence.title))) > 1
    elif fence.title.startswith("configs/"):
        cfg = load_config(fence.title)
        init_default_scope(cfg.default_scope)
        spread_keys(cfg)
        with torch.device("meta"):
            MODELS.build(cfg.model)
        if cfg.model.type == "FeatureModel":
            PROTOCOLS.build(cfg.test_evaluator)
    elif fence.page == "README.md":
        check_calls(ast.parse(fence.text))
    elif not fence.title:
        exec(code, {})


def check_calls(tree: ast.Module) -> None:
    """What a snippet imports exists and takes the arguments that it is called with."""
    names = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom):
            module = importlib.import_module(node.module)
            names |= {alias.name: getattr(module, alias.name) for alias in node.names}
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and getattr(node.func, "id", None) in names:
            words = {keyword.arg: None for keyword in node.keywords}
            inspect.signature(names[node.func.id]).bind(*node.args, **words)


def test_every_field_of_a_result_is_described():
    schema = json.loads((ROOT / "semaim_mm/report/result.schema.json").read_text())
    text = (DOCS / "results.md").read_text()
    fields = [*schema["properties"], *schema["properties"]["checkpoint"]["properties"]]
    assert [name for name in fields if f"`{name}`" not in text] == []


def test_every_key_of_a_suite_is_described():
    text = (DOCS / "suites.md").read_text()
    keys = re.findall(r"^\| `(\w+)` \|", text, re.MULTILINE)
    assert set(keys) == {*KEYS, *METHOD_KEYS}


@pytest.mark.slow
def test_the_site_builds_strictly_and_loads_nothing_from_elsewhere(tmp_path):
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "-d", str(tmp_path / "site")],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    for page in (tmp_path / "site").rglob("*.html"):
        loaded = re.findall(
            r"<(?:script|link|img)\b[^>]*(?:src|href)=\"?(https?:[^\s\">]*)", page.read_text()
        )
        assert loaded == [], page
