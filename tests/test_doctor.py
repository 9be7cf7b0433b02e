"""tools/doctor.py tells what is there, and a sentence for what is not."""

from __future__ import annotations

import os
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import pytest
from packaging.specifiers import SpecifierSet

from semaim_mm.runtime import doctor

ROOT = Path(__file__).resolve().parents[1]


def make_data_root(root: Path, *names: str) -> Path:
    """A data root that holds the named data sets' layout, and sample data."""
    (root / "sample" / "photos").mkdir(parents=True)
    for name in names:
        place, parts, _ = doctor.DATA_SETS[name]
        for part in parts:
            path = root / place / part
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text("{}") if path.suffix else path.mkdir()
    return root


@pytest.fixture(scope="module")
def real_run(tmp_path_factory) -> subprocess.CompletedProcess:
    """The doctor as a user runs it, with all data sets but COCO, which is required."""
    root = make_data_root(tmp_path_factory.mktemp("data"), "imagenet", "ade")
    return subprocess.run(
        [sys.executable, str(ROOT / "tools" / "doctor.py"), "--require", "coco,ade"],
        env={**os.environ, "SEMAIM_DATA": str(root)},
        capture_output=True,
        text=True,
        timeout=120,
    )


def test_it_prints_the_version_of_each_dependency(real_run):
    lines = [line.split() for line in real_run.stdout.splitlines()]
    for name in ("torch", "torchvision", "onedl-mmcv", "onedl-mmpretrain", "timm", "numpy"):
        assert [name, metadata.version(name)] in [line[:2] for line in lines], real_run.stdout


def test_it_runs_the_ops_and_finds_the_plain_attention_kernel(real_run):
    for finding in ("nms on cpu", "roi_align on cpu"):
        assert f"{finding:<22} runs" in real_run.stdout
    math = next(line for line in real_run.stdout.splitlines() if line.split()[:1] == ["math"])
    assert "float32" in math


def test_a_required_data_set_that_is_absent_is_the_one_problem(real_run):
    assert real_run.returncode == 1, real_run.stdout
    problems = real_run.stdout.rstrip().rsplit("\n\n", 1)[1].splitlines()
    assert len(problems) == 1, problems
    assert problems[0].startswith("coco is required and missing at ")
    assert "SEMAIM_DATA" in problems[0]


def test_data_sets_laid_out_as_expected_are_found(real_run):
    found = [line.split()[0] for line in real_run.stdout.splitlines() if " found at " in line]
    assert found == ["imagenet", "ade", "sample"]


def test_an_unknown_data_set_is_refused_by_name(capsys):
    with pytest.raises(SystemExit) as stopped:
        doctor.main(["--require", "imagenet,voc"])
    assert stopped.value.code == 2
    assert "--require names voc, unknown here; choose from imagenet, coco, ade." in (
        capsys.readouterr().err
    )


def test_a_missing_data_set_that_nobody_required_is_no_problem(tmp_path, capsys):
    report = doctor.Report()
    doctor.check_data(report, make_data_root(tmp_path), [])
    assert report.problems == []
    assert capsys.readouterr().out.count("missing at") == 3


def test_an_incomplete_data_set_names_what_it_lacks(tmp_path, capsys):
    root = make_data_root(tmp_path, "coco")
    (root / "coco" / "val2017").rmdir()
    report = doctor.Report()
    doctor.check_data(report, root, ["coco"])
    assert len(report.problems) == 1
    assert f"missing at {root / 'coco'}: val2017;" in report.problems[0]


def test_sample_data_without_anything_to_make_it_from_is_a_problem(tmp_path, capsys):
    report = doctor.Report()
    doctor.check_data(report, tmp_path, [])
    assert len(report.problems) == 1
    assert "fetch_sample_packages.py" in report.problems[0]
    (tmp_path / "packages" / "photos").mkdir(parents=True)
    report = doctor.Report()
    doctor.check_data(report, tmp_path, [])
    assert report.problems == []


def test_a_version_outside_the_tested_range_is_a_problem(capsys):
    report = doctor.Report()
    doctor.compare(report, "torch", "2.11.0+cu130", SpecifierSet(">=2.11,<2.12"))
    assert report.problems == []
    doctor.compare(report, "torch", "2.10.0", SpecifierSet(">=2.11,<2.12"))
    assert len(report.problems) == 1
    assert report.problems[0].startswith("torch is 2.10.0, outside the tested range")


def test_an_op_that_does_not_load_is_a_problem(monkeypatch, capsys):
    def run_nms(kind: str) -> None:
        raise ImportError("undefined symbol\nand more lines")

    monkeypatch.setattr(doctor, "run_nms", run_nms)
    report = doctor.Report()
    doctor.check_ops(report)
    assert any(
        "nms on cpu does not run (ImportError: undefined symbol)" in p for p in report.problems
    )
