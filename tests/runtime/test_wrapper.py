"""What DistributedDataParallel is told where the config does not say otherwise."""

from __future__ import annotations

import pytest

from semaim_mm.errors import InputError
from semaim_mm.runtime.wrapper import static_graph_hindrance, wrapper_settings

DEFAULTS = dict(
    type="MMDistributedDataParallel",
    broadcast_buffers=False,
    find_unused_parameters=False,
    gradient_as_bucket_view=True,
    static_graph=True,
)


@pytest.mark.parametrize(
    ("stated", "unused", "hindrance", "changes"),
    [
        (None, False, None, {}),
        (None, False, "it can't", dict(static_graph=False)),
        (None, True, None, dict(find_unused_parameters=True, static_graph=False)),
        (
            dict(find_unused_parameters=True),
            False,
            None,
            dict(find_unused_parameters=True, static_graph=False),
        ),
        (dict(device_ids=None), False, None, dict(device_ids=None)),
        (dict(static_graph=False), False, None, dict(static_graph=False)),
        (dict(broadcast_buffers=True), False, None, dict(broadcast_buffers=True)),
    ],
)
def test_defaults_hold_where_the_config_states_nothing(stated, unused, hindrance, changes):
    assert wrapper_settings(stated, unused, hindrance) == DEFAULTS | changes


def test_a_wrapper_of_another_type_keeps_its_own_defaults():
    assert wrapper_settings(dict(type="Own", a=1), False) == dict(type="Own", a=1)


@pytest.mark.parametrize(
    ("accumulates", "compiled", "sentence"),
    [
        (True, False, "static_graph=True, and an update accumulates several steps"),
        (False, True, "static_graph=True, and parts of the model are compiled"),
    ],
)
def test_a_static_graph_is_refused_where_it_can_not_be(accumulates, compiled, sentence):
    hindrance = static_graph_hindrance(accumulates, compiled)
    with pytest.raises(InputError, match=sentence):
        wrapper_settings(dict(static_graph=True), False, hindrance)
    assert static_graph_hindrance(False, False) is None


def test_sharded_weights_are_refused_with_the_way_to_save_memory():
    with pytest.raises(InputError, match="MMFullyShardedDataParallel.*with_cp=True"):
        wrapper_settings(dict(type="MMFullyShardedDataParallel"), False)
