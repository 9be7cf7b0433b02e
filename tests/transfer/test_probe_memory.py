"""Memory of the fast probe, counted allocation by allocation; moments of a table read in chunks."""

import weakref

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from semaim_mm.transfer import moments
from semaim_mm.transfer.attentive import AttentiveGrid
from semaim_mm.transfer.feature_store import FeatureTable, RecordFile
from semaim_mm.transfer.features import Features
from semaim_mm.transfer.linear_probe import LinearProbe
from semaim_mm.transfer.moments import moments_memory, table_moments

CPU = torch.device("cpu")


class Allocations(TorchDispatchMode):
    """Bytes of all storages that operations made and that are still alive; ``peak`` of them."""

    def __init__(self):
        super().__init__()
        self.live, self.peak, self.known = 0, 0, set()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        views = any(r.alias_info is not None for r in func._schema.returns)
        for value in out if isinstance(out, tuple | list) else (out,):
            if isinstance(value, torch.Tensor) and not views:
                self._count(value.untyped_storage())
        return out

    def _count(self, storage):
        key, size = storage._cdata, storage.nbytes()
        if key in self.known:
            return
        self.known.add(key)
        self.live += size
        self.peak = max(self.peak, self.live)
        weakref.finalize(storage, self._free, key, size)

    def _free(self, key, size):
        self.known.discard(key)
        self.live -= size


def stored(path, n, shape, dtype="float16"):
    """A random table of n images in a file, and its labels of four classes."""
    values = torch.randn(n, *shape, generator=torch.Generator().manual_seed(0))
    file = RecordFile(path, {"f": shape}, dtype, torch.arange(n), n)
    file.create()
    file.write({"f": values}, torch.arange(n))
    file.finish()
    return FeatureTable(file, ("f",)), torch.arange(n) % 4


@pytest.mark.parametrize("chunk", [1, 7, 100])
def test_moments_do_not_depend_on_the_chunk(monkeypatch, chunk):
    monkeypatch.setattr(moments, "CHUNK_BYTES", chunk * 4 * 15)
    tokens = torch.randn(50, 3, 5, dtype=torch.float64) * 3 + 100
    index = torch.randperm(50)[:40]
    found = table_moments({"t": tokens.float()}, index, CPU)["t"]
    vectors = tokens[index].flatten(0, 1)
    assert found.count == 120
    torch.testing.assert_close(found.mean, vectors.mean(dim=0).float(), rtol=1e-6, atol=0)
    expected = vectors.var(dim=0, unbiased=False).float()
    torch.testing.assert_close(found.variance, expected, rtol=1e-4, atol=0)


def test_the_set_up_of_attentive_pooling_holds_one_chunk_of_its_table(tmp_path, monkeypatch):
    monkeypatch.setattr(moments, "CHUNK_BYTES", 1 << 18)
    table, _ = stored(tmp_path / "f.bin", 400, (49, 64))
    with Allocations() as counted:
        found = table_moments({"f": table}, torch.arange(400), CPU)["f"]
        AttentiveGrid(found, 4, torch.tensor([0.1, 1.0]))
    stated = moments_memory([(49, 64)])
    assert 1 << 18 < counted.peak <= stated
    assert counted.peak < 400 * 49 * 64 * 2 / 3, "a third of the table itself"


def test_the_memory_of_the_probe_is_below_the_stated_number_and_does_not_grow(
    tmp_path, monkeypatch
):
    monkeypatch.setattr(moments, "CHUNK_BYTES", 1 << 18)
    probe = LinearProbe(base_rates=(0.1, 1.0), epochs=1, batch_size=32)
    peaks = []
    for n in (400, 1600):
        tokens, labels = stored(tmp_path / f"{n}t.bin", n, (16, 64))
        pooled, _ = stored(tmp_path / f"{n}p.bin", n, (256,), "float32")
        test = Features({"tokens": tokens, "pooled": pooled}, labels)
        with Allocations() as counted:
            probe.evaluate(test, test, 4, CPU)
        # labels, order, split and hits, not of the features
        peaks.append(counted.peak - n * (40 + 2 * 2 * 2))
    stated = probe.memory({"tokens": (16, 64), "pooled": (256,)}, 4)
    assert stated / 4 < max(peaks) <= stated
    assert abs(peaks[1] - peaks[0]) < 1600 * 40
