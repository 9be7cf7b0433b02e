"""Files that anybody may have written, mutated at random: an InputError, or they are read."""

from __future__ import annotations

import contextlib
import copy
import json

from boards import write_suite
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from semaim_mm.data.label_file import check_label_file
from semaim_mm.errors import InputError
from semaim_mm.leaderboard.collect import collect
from semaim_mm.report.result import canonical, read_result, sha256_text

FEW = settings(
    max_examples=60,
    derandomize=True,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers(-2, 10**400) | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=4), inner, max_size=2)
    ),
    max_leaves=4,
)


def places(value, path=()):
    """Every key's path in nested dicts and lists."""
    items = value.items() if isinstance(value, dict) else enumerate(value)
    for key, item in items:
        yield (*path, key)
        if isinstance(item, (dict, list)):
            yield from places(item, (*path, key))


def put(content, path, value):
    """A copy of ``content`` with ``value`` at ``path``."""
    content = copy.deepcopy(content)
    owner = content
    for key in path[:-1]:
        owner = owner[key]
    owner[path[-1]] = value
    return content


@FEW
@given(data=st.data())
def test_a_mutated_result_is_read_or_excluded_with_a_reason(tmp_path, data):
    if not (tmp_path / "suite").is_dir():
        write_suite(tmp_path / "suite", methods=("ours",), seeds=1)
    path = min((tmp_path / "suite").rglob("result.json"))
    kept = path.with_name("kept.json")
    if not kept.is_file():
        kept.write_bytes(path.read_bytes())
    content = json.loads(kept.read_text())
    where = data.draw(st.sampled_from(sorted(places(content), key=str)))
    content = put(content, where, data.draw(PLAIN))
    content.pop("digest", None)
    content["digest"] = sha256_text(canonical(content))  # a forger can do that
    path.write_text(json.dumps(content))
    with contextlib.suppress(InputError):
        read_result(path)
    found = collect(tmp_path / "suite")
    for excluded in found.excluded:
        assert len(excluded.reason) > 20


@FEW
@given(raw=st.binary(max_size=30) | st.sampled_from([b"[" * 100_000, b"\xff", b"1e999", b"{}"]))
def test_a_result_of_any_bytes_is_excluded(tmp_path, raw):
    (tmp_path / "result.json").write_bytes(raw)
    found = collect(tmp_path)
    assert not found.trusted and len(found.excluded) == 1


@FEW
@given(raw=st.binary(max_size=60) | st.text(max_size=60).map(lambda text: text.encode()))
def test_a_label_file_of_any_bytes_is_read_or_named(tmp_path, raw):
    (tmp_path / "a.png").touch()
    path = tmp_path / "labels.txt"
    for content in (raw, b"a.png " + raw, b"/" * 300 + raw + b" 1", b"a" * 300 + b" 1", b"a\0 1"):
        path.write_bytes(content)
        for labelled in (True, False):
            try:
                check_label_file(str(path), tmp_path, labelled, ("x", "y"))
            except InputError as error:
                assert "labels.txt" in str(error)
