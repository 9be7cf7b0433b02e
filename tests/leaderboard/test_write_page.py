"""The page as a file: whole, closed to the network, and deaf to names that mean harm."""

from __future__ import annotations

import base64
import hashlib
import json
from html.parser import HTMLParser

import pytest
from boards import HOSTILE, write_hostile, write_suite
from PIL import Image
from result_files import write

from semaim_mm.leaderboard.asked import asked_board, read_asked
from semaim_mm.leaderboard.table import leaderboard
from semaim_mm.leaderboard.write.curves import learning_curves
from semaim_mm.leaderboard.write.order_maps import analysis_figures, order_maps
from semaim_mm.leaderboard.write.page import SCRIPTS, embedded, page
from semaim_mm.leaderboard.write.text import clean


class Reader(HTMLParser):
    """Elements with their attributes, and the text in each kind of element."""

    def __init__(self, html: str):
        super().__init__()
        self.elements, self.texts, self._open = [], {}, ""
        self.feed(html)

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        self._open = tag
        self.texts.setdefault(tag, []).append("")

    def handle_data(self, data):
        if self._open:
            self.texts[self._open][-1] += data

    def handle_endtag(self, tag):
        self._open = ""

    def all(self, tag):
        return [attributes for name, attributes in self.elements if name == tag]


@pytest.fixture(scope="module")
def suite(tmp_path_factory):
    return write_suite(tmp_path_factory.mktemp("suite"))


@pytest.fixture(scope="module")
def html(suite):
    board = asked_board(suite, read_asked(suite), resamples=50)
    return page(board, learning_curves(suite, read_asked(suite)), *order_maps(suite))


@pytest.fixture(scope="module")
def read(html):
    return Reader(html)


@pytest.fixture(scope="module")
def hostile(tmp_path_factory):
    root = write_hostile(tmp_path_factory.mktemp("hostile"))
    return Reader(page(leaderboard(root, resamples=50)))


def test_nothing_on_the_page_points_to_the_network(read):
    for tag, attributes in read.elements:
        for name in ("src", "href", "action", "srcset", "data", "formaction", "poster"):
            value = attributes.get(name)
            assert value is None or value.startswith(("#", "data:")), (tag, value)


def test_the_policy_lets_the_pages_own_scripts_run_and_nothing_else(html, read):
    policy = next(m["content"] for m in read.all("meta") if m.get("http-equiv"))
    assert "default-src 'none'" in policy and "http" not in policy
    assert "unsafe-eval" not in policy
    scripts = policy.split("script-src ")[1].split(";")[0].split()
    assert "'unsafe-inline'" not in scripts and len(scripts) == 1 + len(SCRIPTS)
    # as a browser does: the very text between the tags
    bodies = [part.split("</script>")[0] for part in html.split("<script>")[1:]]
    digests = [base64.b64encode(hashlib.sha256(b.encode()).digest()).decode() for b in bodies]
    assert scripts == [f"'sha256-{digest}'" for digest in digests]


def test_figures_are_json_that_the_page_can_read(read):
    place = [a.get("id") for a in read.all("script")].index("figures")
    figures = json.loads(read.texts["script"][place])
    drawn = [a["data-figure"] for a in read.all("div") if "data-figure" in a]
    assert sorted(drawn) == sorted(figures)
    of_groups = {f"{kind}-group-{number}" for kind in ("bars", "cost") for number in (0, 1)}
    assert set(figures) == {*of_groups, "curves-0"}


def test_every_cell_opens_a_dialog_that_is_there(read):
    dialogs = {a["id"] for a in read.all("dialog")}
    opened = {a["data-dialog"] for a in read.all("button") if "data-dialog" in a}
    assert opened and opened <= dialogs and len(dialogs) == 6 + 1


def test_a_cell_shows_the_commands_of_pretraining_training_and_test_in_this_order(tmp_path):
    root = write_suite(tmp_path)
    told = {
        f"m0/seed0/{stage}": f"python tools/train.py {stage}.py"
        for stage in ("pretrain", "finetune")
    }
    suite = json.loads((root / "suite.json").read_text())
    train = dict(stage="m0/seed0/finetune", method="ours", task="finetune", seed=0, kind="train")
    suite["stages"].append(train | dict(status="complete", log=None))
    (root / "suite.json").write_text(json.dumps(suite))
    for folder, line in told.items():
        (root / folder / "stage.json").write_text(json.dumps(dict(command=line)))
    board = asked_board(root, read_asked(root), resamples=0)
    runs = {run.path: run for g in board.groups for row in g.rows for run in row.runs}
    run = runs["m0/seed0/finetune/test/result.json"]
    assert list(run.chain.values()) == list(told.values())
    assert list(runs["m0/seed0/nearest/test/result.json"].chain) == ["pretraining"]
    assert runs["m1/seed0/finetune/test/result.json"].chain["training on the task"] is None
    body = page(board).split("finetune/test/result.json</dd>")[1].split("Weights and source")[0]
    places = [body.index(f">{line}</pre>") for line in (*told.values(), run.command)]
    assert places == sorted(places)


def test_ids_are_of_one_element_each_and_links_lead_to_one(read):
    ids = [attributes["id"] for _, attributes in read.elements if "id" in attributes]
    assert len(ids) == len(set(ids))
    targets = {a["href"][1:] for a in read.all("a")}
    targets |= {a["aria-controls"] for _, a in read.elements if "aria-controls" in a}
    targets |= {a["aria-labelledby"] for _, a in read.elements if "aria-labelledby" in a}
    assert targets <= set(ids)


def test_a_dialog_has_the_whole_provenance(html):
    dialog = html.split('<dialog id="row-0"')[1].split("</dialog>")[0]
    for part in (
        "over pretraining seeds",
        "over test images, these weights",
        "protocol fingerprint",
        "Full protocol",
        "&#34;evaluator&#34;",
        "pretraining seed 0",
        "python tools/test.py leaf.py --method",
        "knn/test/result.json".replace("knn", "nearest"),
        "Versions",
        "hardware",
        "cpu × 1",
        "device hours",
        "git commit",
        "checkpoint SHA-256",
        "config hash",
    ):
        assert part in dialog, part


def test_sections_keep_measured_published_failed_and_excluded_apart(html):
    for name, inside in (
        ("absent", "m2/seed1/finetune/test/log.txt"),
        ("excluded", "broken/seed0/result.json"),
        ("published", "second-hand"),
        ("comparisons", "difference shown"),
        ("curves", "pretraining"),
        ("maps", "data:image/png;base64,"),
    ):
        section = html.split(f'<section id="{name}"')[1].split("</section>")[0]
        assert inside in section, name
    assert "n = 1" in html.split('<section id="overview"')[1].split("</section>")[0]


def test_the_same_results_give_the_same_page(suite, html):
    board = asked_board(suite, read_asked(suite), resamples=50)
    again = page(board, learning_curves(suite, read_asked(suite)), *order_maps(suite))
    assert again == html


def test_hostile_names_add_no_element_handler_or_link(hostile):
    allowed = {"script", "style", "meta", "link", "title", "html", "head", "body"}
    for tag, attributes in hostile.elements:
        assert not any(name.startswith("on") for name in attributes), (tag, attributes)
        assert tag not in ("iframe", "object", "embed", "base", "form")
        for value in (attributes.get("href"), attributes.get("src")):
            assert value is None or value.startswith(("#", "data:,"))
    kinds = [tag for tag, _ in hostile.elements]
    assert kinds.count("script") == 2 + len(SCRIPTS)
    assert kinds.count("img") == 1 and allowed & set(kinds) == allowed


def test_hostile_names_are_shown_in_full_where_they_were_measured(hostile):
    # text is in span elements of the dialogs' titles
    shown = {text.strip() for text in hostile.texts["span"]}
    assert {clean(name) for name in HOSTILE} <= shown


def test_no_text_breaks_out_of_embedded_json():
    told = embedded({"a": "</script><!--\u2028&"})
    assert not set("<>&\u2028") & set(told)
    assert json.loads(told) == {"a": "</script><!--\u2028&"}


def test_an_empty_folder_and_one_without_a_suite_have_a_page(tmp_path):
    assert "No result counts yet." in page(leaderboard(tmp_path))
    write(tmp_path)
    html = page(leaderboard(tmp_path, resamples=0))
    assert "no comparison was declared beforehand" in html
    for name in ("absent", "excluded", "comparisons", "curves", "maps"):
        assert f'id="{name}"' not in html


def test_figures_of_analyses_are_embedded_in_a_section_of_their_own(tmp_path):
    folder = tmp_path / "ours" / "analysis"
    folder.mkdir(parents=True)
    Image.new("RGB", (4, 2), "blue").save(folder / "objects.png")
    (folder / "evil.png").write_text("<svg onload=alert(1)>")
    figures, left_out = analysis_figures(tmp_path)
    assert [figure.path for figure in figures] == ["ours/analysis/objects.png"]
    assert left_out == {"analysis": 0}
    html = page(leaderboard(tmp_path), (), figures)
    section = html.split('<section id="analyses"')[1].split("</section>")[0]
    assert section.count("data:image/png;base64,iVBOR") == 1 and "objects.png" in section
    assert '<a href="#analyses">' in html and 'id="maps"' not in html
    assert "svg onload" not in html


@pytest.mark.parametrize(("maps", "analyses"), [(0, 14), (13, 0), (13, 14), (12, 12)])
def test_pictures_left_out_are_told_in_their_own_section(tmp_path, maps, analyses):
    for place, number in (("orders", maps), ("analysis", analyses)):
        (tmp_path / "m" / place).mkdir(parents=True)
        for name in range(number):
            Image.new("RGB", (2, 2)).save(tmp_path / "m" / place / f"{name:02}.png")
        (tmp_path / "m" / place / "00-no-picture.png").write_text("text")
    shown, left_out = order_maps(tmp_path)
    figures, more = analysis_figures(tmp_path)
    html = page(leaderboard(tmp_path), (), [*shown, *figures], left_out | more)
    for name, number in (("maps", maps), ("analyses", analyses)):
        _, *sections = html.split(f'<section id="{name}"')
        assert len(sections) == (number > 0)
        told = "".join(sections).split("</section>")[0].split("</p>")[0]
        words = {13: "1 more is in the folder", 14: "2 more are in the folder"}
        assert told.endswith(f"{words[number]} of results.") if number > 12 else "more" not in told


def test_metrics_of_layers_and_neighbours_are_shown_on_demand(tmp_path):
    write(tmp_path, metrics={"top1": 50.0, "layer3/top1_k10": 49.0, "layer3/top1_k20": 48.0})
    html = page(leaderboard(tmp_path, resamples=0))
    assert "Further metrics (2)" in html and html.count('class="number more"') >= 4


def test_a_group_without_a_manifest_says_so(tmp_path):
    write(tmp_path, data=dict(name="toy", manifest_sha256=None))
    assert "no manifest" in page(leaderboard(tmp_path, resamples=0))
