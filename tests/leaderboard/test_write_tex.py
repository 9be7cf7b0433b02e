"""LaTeX: booktabs tables that compile, whatever a method is called."""

from __future__ import annotations

import re
import shutil
import subprocess
from dataclasses import replace

import pytest
from boards import HOSTILE, write_hostile, write_noted, write_suite

from semaim_mm.leaderboard.asked import asked_board, read_asked
from semaim_mm.leaderboard.model import Absent, Dropped, Trial
from semaim_mm.leaderboard.table import leaderboard
from semaim_mm.leaderboard.write.markdown import escape as markdown_escape
from semaim_mm.leaderboard.write.markdown import markdown
from semaim_mm.leaderboard.write.tex import escape, tex, whole

COMMAND = r"\\(?:[a-zA-Z]+|.)"
KNOWN = {
    *("textbackslash", "textasciitilde", "textasciicircum", "textless", "textgreater", "textbar"),
    *("textquotedbl", "textquotesingle", "textasciigrave", "texttt", "ldots", "pm"),
    *("ss", "o", "O", "ae", "AE", "r", "H", "v", "u", "c", "i", "j"),
}


@pytest.fixture(scope="module")
def suite(tmp_path_factory):
    root = write_suite(tmp_path_factory.mktemp("suite"))
    return asked_board(root, read_asked(root), resamples=50)


@pytest.mark.parametrize("name", HOSTILE)
def test_a_name_is_ascii_without_a_command_of_its_own(name):
    told = escape(name, 10000)
    assert told.isascii() and "\n" not in told
    commands = {found[1:] for found in re.findall(COMMAND, told)}
    assert commands <= KNOWN | set("{}$&#_%`'^~=.\",")
    bare = re.sub(COMMAND, "", told)
    # what is left of the special signs is the mathematical plus or minus and the groups' braces
    assert not re.search(r"[&#%_~^\\]", bare.replace("$\\pm$", ""))
    assert bare.count("{") == bare.count("}")


@pytest.mark.parametrize("name", HOSTILE)
def test_a_name_in_a_paragraph_is_the_same_but_for_where_lines_may_end(name):
    assert unbroken(whole(name)) == rf"{{\raggedright {escape(name, 10000)}\par}}"


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("a_b & 5 %", r"a\_b \& 5 \%"),
        ("é ñ Å ç", r"\'{e} \~{n} \r{A} \c{c}"),
        ("名", r"\texttt{U+540D}"),
        ("*x [y]", "{*}x {[}y{]}"),
        ("a--b", "a{-}{-}b"),
        ("−1 ± 2", r"$-$1 $\pm$ 2"),
    ],
)
def test_signs_become_what_shows_them(name, told):
    assert escape(name) == told


@pytest.mark.parametrize("hostile", [False, True])
def test_every_row_of_a_table_has_as_many_cells_as_its_form(suite, tmp_path, hostile):
    board = leaderboard(write_hostile(tmp_path), resamples=0) if hostile else suite
    text = tex(board)
    tables = re.findall(
        r"\\begin\{longtable\}\{((?:[lr]|p\{\w+\})+)\}\n(.*?)\\end\{longtable\}", text, flags=re.S
    )
    assert len(tables) == text.count("{longtable}") / 2 >= 3
    assert text.count(r"\begin{") == text.count(r"\end{")
    for form, body in tables:
        form = re.sub(r"\{\w+\}", "", form)
        rows = [line for line in body.splitlines() if line.endswith(r" \\")][1:]
        assert rows and {len(re.findall(r"(?<!\\) & ", row)) + 1 for row in rows} == {len(form)}
        assert body.count(r"\toprule") == body.count(r"\midrule") == body.count(r"\bottomrule") == 1


def test_all_parts_are_there_and_what_is_no_ranking_says_so(suite):
    text = tex(suite)
    for part in ("knn", "finetune", "Declared comparisons", "in no ranking", "Failed, not run"):
        assert part in text
    assert escape("m2/seed1/finetune/test/log.txt") in unbroken(text)
    assert "n = 1: no spread" in text


def test_no_figure_stands_without_its_protocol(suite):
    text = tex(suite)
    overview = text.split(r"\midrule")[0]
    for group in suite.groups:
        assert rf"{escape(group.headline)}\\{group.fingerprint[:8]}" in overview
    compared = text.split("Declared comparisons")[1].split(r"\end{longtable}")[0]
    fingerprints = {item.fingerprint[:8] for item in suite.comparisons if item.fingerprint}
    assert fingerprints and all(f" & {one} & " in compared for one in fingerprints)
    stated = {item.protocol for item in suite.published}
    assert None in stated and len(stated) > 5
    published = unbroken(text.split("Published figures")[1])
    for told in stated:
        assert rf"{{\raggedright {escape(told or 'not stated', 1000)}\par}}" in published


def test_every_source_is_whole_and_its_lines_may_end(suite):
    text = tex(suite)
    sources = {item.source for item in suite.published}
    assert max(map(len, sources)) > 48
    for source in sources:
        assert rf" & {{\raggedright {escape(source, 1000)}\par}} & " in unbroken(text)
    paragraphs = re.findall(r"\{\\raggedright (.*?)\\par\}", text)
    words = (word for told in paragraphs for word in re.split(r" |\\allowbreak\{\}", told))
    assert max(len(re.sub(r"\\[a-z]+\{\}|[\\{}]", "", word)) for word in words) <= 24


def test_a_failures_log_a_files_path_and_a_trials_settings_are_whole(suite):
    log = "m2/" + "a_long-name.of_" * 8 + "x" * 200 + "/log.txt"
    settings = {f"a_setting_of_some_length_{number}": 0.001 for number in range(6)}
    trial = Trial("m", "coco", 0, settings, "top1", "percent", 1.0, 9, "m/trial0/result.json")
    board = replace(
        suite,
        absent=(Absent("m", "coco", 0, kind="failed", log=log),),
        excluded=(Dropped(f"{log}/result.json", "no result"),),
        trials=(trial,),
    )
    text = unbroken(tex(board))
    for told in (log, f"{log}/result.json", ", ".join(f"{k}={v}" for k, v in settings.items())):
        assert rf"{{\raggedright {escape(told, 1000)}\par}}" in text
    assert markdown_escape(log, 1000) in markdown(board)


def unbroken(text: str) -> str:
    return text.replace(r"\allowbreak{}", "")


@pytest.mark.slow
@pytest.mark.parametrize("names", ["plain", "hostile"])
@pytest.mark.skipif(
    not (shutil.which("pdflatex") or shutil.which("tectonic")),
    reason="no TeX here: neither pdflatex nor tectonic is on the path",
)
def test_the_document_compiles(tmp_path, names):
    root = (write_hostile if names == "hostile" else write_noted)(tmp_path / "r")
    board = asked_board(root, read_asked(root), resamples=50)
    (tmp_path / "leaderboard.tex").write_text(tex(board))
    command = ["tectonic", "--untrusted", "leaderboard.tex"]
    if shutil.which("pdflatex"):
        command = ["pdflatex", "-no-shell-escape", "-interaction=nonstopmode", "-halt-on-error"]
        command.append("leaderboard.tex")
    ran = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, errors="replace")
    assert ran.returncode == 0, ran.stdout[-2000:]
    assert (tmp_path / "leaderboard.pdf").stat().st_size > 1000
