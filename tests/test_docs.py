"""What README and CONTRIBUTING say exists does, and measured numbers are those of their file."""

import json
import re

import pytest
from leaf_facts import ROOT

from semaim_mm.report.learning import markdown

DOCS = ("README.md", "CONTRIBUTING.md")


def braces(name: str) -> list[str]:
    """'a_vit{b,l}.py' -> ['a_vitb.py', 'a_vitl.py']."""
    found = re.search(r"\{([^}]*)\}", name)
    if found is None:
        return [name]
    return [
        path
        for choice in found[1].split(",")
        for path in braces(name[: found.start()] + choice + name[found.end() :])
    ]


@pytest.mark.parametrize("doc", DOCS)
def test_every_tool_config_and_file_that_is_named_exists(doc):
    text = (ROOT / doc).read_text()
    named = re.findall(r"(?:tools|configs|tests|docs)/[\w./{},-]*\w\.(?:py|sh|npz|png|json)", text)
    named += re.findall(r"`((?:pretrain|cls|det|seg)/[\w./{},-]+\.py)`", text)
    assert named
    homes = ("", "configs/", "semaim_mm/")
    paths = [path for name in named for path in braces(name)]
    assert [p for p in paths if not any((ROOT / f"{home}{p}").is_file() for home in homes)] == []


def test_no_placeholder_is_left():
    for doc in DOCS:
        assert re.findall(r"@[A-Z]+@", (ROOT / doc).read_text()) == []


def test_the_readmes_measured_table_is_the_measured_files():
    found = json.loads((ROOT / "docs" / "measured" / "learning_check.json").read_text())
    assert len(found["loss"]) == 3
    assert markdown(found) in (ROOT / "README.md").read_text()


def test_links_to_files_of_the_repository_resolve():
    for doc in DOCS:
        for target in re.findall(r"\]\(([^)#]+)\)", (ROOT / doc).read_text()):
            assert target.startswith("http") or (ROOT / target).is_file(), target
