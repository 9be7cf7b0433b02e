"""TorchScript archives: their weights come out as they are, and nothing in them runs."""

from __future__ import annotations

import pickle
import zipfile

import pytest
import torch
from torch import nn

from semaim_mm.errors import InputError
from semaim_mm.interop.checkpoint_file import read_file


class Tower(nn.Module):
    def __init__(self):
        super().__init__()
        self.visual = nn.Sequential(nn.Linear(6, 4), nn.LayerNorm(4))
        self.scale = nn.Parameter(torch.randn(()))
        self.register_buffer("index", torch.arange(5))
        self.sizes = [3, 4]
        self.resolution = 224
        tied = torch.randn(3, 8)
        self.register_buffer("turned", tied.T)
        self.register_buffer("part", tied[1:, 2:5])

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.visual(x) * self.scale + float(self.sizes[0])


@pytest.mark.parametrize("how", ["script", "trace"])
@pytest.mark.parametrize("half", [False, True])
def test_the_weights_of_an_archive_are_those_of_its_module(how, half, tmp_path):
    module = Tower().half() if half else Tower()
    x = torch.randn(2, 6, dtype=torch.float16 if half else torch.float32)
    saved = torch.jit.script(module) if how == "script" else torch.jit.trace(module, x)
    path = tmp_path / "tower.pt"
    torch.jit.save(saved, str(path))
    found = read_file(path)
    expected = module.state_dict()
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        assert torch.equal(found[name], value.float() if value.is_floating_point() else value), name
        assert found[name].dtype == (torch.float32 if value.is_floating_point() else torch.int64)


def archive(path, content: bytes, storage: bytes = b"\0" * 16) -> None:
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("a/data.pkl", content)
        file.writestr("a/constants.pkl", b"")
        file.writestr("a/data/0", storage)


class Runs:
    def __reduce__(self):
        return print, ("it ran",)


def test_an_archive_that_names_a_function_is_refused_and_not_run(tmp_path, capsys):
    archive(tmp_path / "bad.pt", pickle.dumps(Runs()))
    with pytest.raises(InputError, match="without running it.*builtins.print"):
        read_file(tmp_path / "bad.pt")
    assert "it ran" not in capsys.readouterr().out


def test_a_tensor_that_reaches_beyond_its_storage_is_refused(tmp_path):
    good = tmp_path / "good.pt"
    torch.jit.save(torch.jit.script(Tower()), str(good))
    short = tmp_path / "short.pt"
    with zipfile.ZipFile(good) as old, zipfile.ZipFile(short, "w") as new:
        for name in old.namelist():
            data = old.read(name)
            new.writestr(name, data[:8] if "/data/" in name else data)
    with pytest.raises(InputError, match="beyond its storage"):
        read_file(short)


def test_a_plain_checkpoint_is_no_archive(tmp_path):
    torch.save(dict(state_dict=dict(a=torch.ones(2))), tmp_path / "plain.pth")
    assert torch.equal(read_file(tmp_path / "plain.pth")["state_dict"]["a"], torch.ones(2))
