"""Fetching the sample data's packages, and reading emoji from them."""

import importlib.util
import json
import shutil
from pathlib import Path

import pytest
from PIL import Image, ImageDraw

from semaim_mm.data.sample import build_sample_data
from semaim_mm.data.sample.classes import class_of
from semaim_mm.data.sample.emoji import _read_emoji_test, from_png_folder
from semaim_mm.data.sample.packages import fetch_packages
from semaim_mm.errors import InputError

TOOLS = Path(__file__).parents[2] / "tools"


def test_missing_packages_are_told_in_a_sentence(tmp_path, monkeypatch):
    monkeypatch.setenv("SEMAIM_DATA", str(tmp_path))
    with pytest.raises(InputError, match=r"no emoji artwork.*fetch it: python tools/fetch_sample"):
        build_sample_data(tmp_path / "sample")


def test_a_machine_without_apt_and_npm_gets_a_sentence_and_only_strict_fails(
    tmp_path, monkeypatch, capsys
):
    monkeypatch.setattr(shutil, "which", lambda name: None)
    (problem,) = fetch_packages(tmp_path / "packages")
    assert "no apt-get" in problem and "no npm" in problem and "folders of your own" in problem
    spec = importlib.util.spec_from_file_location("fetch", TOOLS / "fetch_sample_packages.py")
    tool = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(tool)
    for options, expected in ([], 0), (["--strict"], 1):
        monkeypatch.setattr("sys.argv", ["fetch", "--to", str(tmp_path / "packages"), *options])
        assert tool.main() == expected
        assert "No emoji artwork could be fetched" in capsys.readouterr().err


def test_emoji_names_give_classes_without_variants(tmp_path):
    names = tmp_path / "emoji-test.txt"
    names.write_text(
        "# group: Animals & Nature\n# subgroup: animal-mammal\n"
        "1F415      ; fully-qualified     # x E0.7 dog\n"
        "1F415 200D 1F9BA ; fully-qualified     # x E12.0 service dog\n"
        "1F43F FE0F ; fully-qualified     # x E0.7 chipmunk\n"
        "1F43F      ; unqualified         # x E0.7 chipmunk\n",
        encoding="utf-8",
    )
    read = list(_read_emoji_test(names))
    assert [entry[1] for entry in read] == ["dog", "service dog", "chipmunk"]
    assert [class_of(entry[3], entry[0]) for entry in read] == ["animal", None, "animal"]
    assert class_of("country-flag", (0x1F1E8, 0x1F1ED)) == "flag"
    assert class_of("animal-mammal", (0x1F43E,)) is None  # paw prints


def test_a_png_package_gives_each_picture_once_with_its_alpha(tmp_path):
    entries = []
    for code, colour in ("1F415", "red"), ("1F416", "red"), ("1F417", "blue"), ("1F600", "blue"):
        image = Image.new("RGBA", (64, 64))
        ImageDraw.Draw(image).rectangle((10, 20, 29, 49), fill=colour)
        image.save(tmp_path / f"{code}.png")
        group = ("Smileys", "face-smiling") if code == "1F600" else ("Animals", "animal-mammal")
        entries.append({"unified": code, "image": f"{code}.png", "name": code})
        entries[-1] |= {"category": group[0], "subcategory": group[1]}
    entries[0]["unified"] = "1F415-FE0F"
    (tmp_path / "emoji.json").write_text(json.dumps(entries), encoding="utf-8")
    found = from_png_folder(tmp_path)
    assert [(e.key, e.label) for e in found][:2] == [("1F415", "animal"), ("1F417", "animal")]
    assert found[0].image.shape == (30, 20, 4) and found[0].image[..., 3].min() == 255
