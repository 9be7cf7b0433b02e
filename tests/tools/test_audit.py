"""The audit fails on a known vulnerability alone, and says where nothing could be asked."""

from __future__ import annotations

import importlib.util
import json
import subprocess
from pathlib import Path
from types import SimpleNamespace

import pytest

TOOL = Path(__file__).resolve().parents[2] / "tools" / "audit.py"
FAULT = dict(id="PYSEC-1", fix_versions=["2.0"])


@pytest.mark.parametrize(
    ("packages", "code", "told"),
    [
        ([dict(name="a", version="1", vulns=[])], 0, "1 of 1 packages audited, 0 known"),
        ([dict(name="a", version="1", vulns=[FAULT])], 1, "a 1: PYSEC-1, mended in 2.0"),
        ([dict(name="a", skip_reason="not found")], 0, "Not audited: the advisory service here"),
        (None, 0, "Not audited: no route"),
    ],
)
def test_only_a_known_vulnerability_fails(packages, code, told, monkeypatch, capsys):
    spec = importlib.util.spec_from_file_location("audit_tool", TOOL)
    tool = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(tool)
    out = "" if packages is None else json.dumps(dict(dependencies=packages))
    answer = SimpleNamespace(stdout=out, stderr="Traceback\nno route\n")
    monkeypatch.setattr(subprocess, "run", lambda *args, **kwargs: answer)
    assert tool.main() == code
    assert told in capsys.readouterr().out
