"""What DistributedDataParallel is told where the config does not say otherwise."""

from __future__ import annotations

import pytest

from semaim_mm.errors import InputError
from semaim_mm.runtime.wrapper import wrapper_settings

DEFAULTS = dict(
    type="MMDistributedDataParallel",
    broadcast_buffers=False,
    find_unused_parameters=False,
    gradient_as_bucket_view=True,
    static_graph=True,
)


@pytest.mark.parametrize(
    ("stated", "unused", "accumulates", "changes"),
    [
        (None, False, False, {}),
        (None, False, True, dict(static_graph=False)),
        (None, True, False, dict(find_unused_parameters=True, static_graph=False)),
        (
            dict(find_unused_parameters=True),
            False,
            False,
            dict(find_unused_parameters=True, static_graph=False),
        ),
        (dict(device_ids=None), False, False, dict(device_ids=None)),
        (dict(static_graph=False), False, False, dict(static_graph=False)),
        (dict(broadcast_buffers=True), False, False, dict(broadcast_buffers=True)),
    ],
)
def test_defaults_hold_where_the_config_states_nothing(stated, unused, accumulates, changes):
    assert wrapper_settings(stated, unused, accumulates) == DEFAULTS | changes


def test_a_wrapper_of_another_type_keeps_its_own_defaults():
    assert wrapper_settings(dict(type="Own", a=1), False, False) == dict(type="Own", a=1)


def test_a_static_graph_is_refused_where_steps_are_accumulated():
    with pytest.raises(InputError, match="static_graph=True.*accumulates several steps"):
        wrapper_settings(dict(static_graph=True), False, True)


def test_sharded_weights_are_refused_with_the_way_to_save_memory():
    with pytest.raises(InputError, match="MMFullyShardedDataParallel.*with_cp=True"):
        wrapper_settings(dict(type="MMFullyShardedDataParallel"), False, False)
