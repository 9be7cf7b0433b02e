"""Published numbers: each with a source, second-hand ones marked."""

from __future__ import annotations

import re

import pytest
import yaml

from semaim_mm.errors import InputError
from semaim_mm.leaderboard.published import published
from semaim_mm.report.anchors import load_anchors

WHOLE = dict(
    method="MAE",
    arch="ViT-B/16",
    task="finetune",
    metric="top1",
    value=83.6,
    source="MAE README",
    second_hand=False,
)


def test_every_number_has_a_source_and_a_kind():
    found = published()
    assert len(found) > 50
    assert {row.kind for row in found} == {"published"}
    assert {row.metric for row in found} == {"top1", "bbox_mAP", "segm_mAP", "mIoU"}
    shots = {f"low-shot {part}" for part in ("1 %, logistic regression", "10 %, finetune")}
    shots |= {"low-shot 10 %, logistic regression", "ade20k-linear"}
    robust = {f"finetune, imagenet-{name}" for name in ("a", "r", "sketch")}
    plain = {"finetune", "linear", "knn", "coco", "ade20k"}
    assert {row.task for row in found} == plain | shots | robust


def citations(source: str) -> set[str]:
    """Papers by arXiv's number; projects and their threads by name."""
    return set(re.findall(r"\d{4}\.\d{5}|[\w-]+/[\w-]+(?:#\d+)?", source))


@pytest.mark.parametrize(
    "anchor", [a for a in load_anchors() if a.expected is not None], ids=lambda a: a.name + a.metric
)
def test_every_anchors_figure_is_published_with_the_same_source(anchor):
    method = next(name for name in ("mae", "dino", "ibot") if name in anchor.name)
    size = re.search(r"vit([bls])", anchor.name)[1].upper()
    alike = [
        row
        for row in published()
        if row.method.lower().startswith(method)
        and row.arch == f"ViT-{size}/16"
        and row.metric == anchor.metric.rpartition("/")[2]
        and row.value == anchor.expected
        and citations(row.source) & citations(anchor.source)
    ]
    assert len(alike) == 1, [row.source for row in alike]
    assert alike[0].second_hand == ("second-hand" in anchor.source)
    assert ("an author" in alike[0].source) == ("an author" in anchor.source)


def test_no_source_is_a_promise_to_look_it_up():
    for row in published():
        assert not re.search("not written down|to be checked|notes; ", row.source), row


def test_no_number_stands_there_twice():
    found = [
        (r.method, r.arch, r.epochs, r.task, r.metric, r.source, r.protocol) for r in published()
    ]
    assert len(set(found)) == len(found)


def test_what_a_readme_quotes_of_others_is_second_hand():
    for row in published():
        if "quoting" in row.source:
            assert row.second_hand, row
        if row.source.startswith("SemAIM README") and not row.method.startswith("SemAIM"):
            assert row.second_hand, row


def test_the_papers_own_numbers_are_there():
    ours = {
        (row.arch, row.epochs, row.task, row.metric): row.value
        for row in published()
        if row.method == "SemAIM"
    }
    assert ours["ViT-B/16", 800, "finetune", "top1"] == 84.1
    assert ours["ViT-B/16", 800, "coco", "bbox_mAP"] == 51.3
    assert ours["ViT-B/16", 800, "coco", "segm_mAP"] == 45.4
    assert ours["ViT-L/16", 400, "finetune", "top1"] == 85.5


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (dict(source=" "), "needs a source"),
        (dict(second_hand="no"), "second_hand: true or false"),
        (dict(value="83.6"), "has the value '83.6'"),
        (dict(value=836), "has the value 836"),
        (dict(value=True), "has the value True"),
        (dict(sauce="x"), "is not whole"),
    ],
)
def test_an_entry_that_is_not_whole_is_named(change, words):
    with pytest.raises(InputError, match=f"Entry 2 of published.yaml.*{words}"):
        published(yaml.safe_dump([WHOLE, {**WHOLE, **change}]))


def test_an_entry_that_lacks_a_field_is_named():
    lacking = {key: value for key, value in WHOLE.items() if key != "source"}
    with pytest.raises(InputError, match="Entry 1 of published.yaml is not whole.*source"):
        published(yaml.safe_dump([lacking]))
