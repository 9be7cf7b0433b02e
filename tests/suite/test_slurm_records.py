"""What a suite tells Slurm itself."""

from __future__ import annotations

import pytest

from semaim_mm.errors import InputError
from semaim_mm.suite.slurm import SlurmJobs


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        (dict(nodes=1), r"nodes \(set the suite's gpus, which go 8 to a node\); leave it out"),
        (dict(tasks_per_node=2), r"tasks_per_node \(set the suite's gpus, each"),
        (dict(gpus_per_node=8, timeout_min=60), r"gpus_per_node \(set the suite's gpus\)"),
        (dict(name="mine"), r"name \(a job is called as its stage is\)"),
    ],
)
def test_what_the_suite_says_to_slurm_itself_is_no_setting(tmp_path, settings, told):
    with pytest.raises(InputError, match=told):
        SlurmJobs(tmp_path, settings)
