"""Random numbers keyed by the sample: the same anywhere, and as good as a generator's."""

from __future__ import annotations

import pytest
import torch

from semaim_mm.pretrain.draws import Draws

FULL = float(1 << 63)


def keys(count: int, seed: int = 0, epoch: int = 0) -> torch.Tensor:
    """-> (count, 3): seed, epoch, sample ids 0, 1, 2, ..."""
    return torch.stack(
        [torch.full((count,), seed), torch.full((count,), epoch), torch.arange(count)], 1
    )


def unit(draws: Draws, n: int) -> torch.Tensor:
    """(B, n) doubles in [0, 1)."""
    return draws.integers(n).double() / FULL


def chi_square(values: torch.Tensor, bins: int) -> float:
    """Of ``values`` in [0, 1) over equal bins, as a z-score."""
    counts = torch.bincount((values.flatten() * bins).long(), minlength=bins).double()
    expected = values.numel() / bins
    statistic = ((counts - expected) ** 2 / expected).sum().item()
    return (statistic - (bins - 1)) / (2 * (bins - 1)) ** 0.5


def correlation(a: torch.Tensor, b: torch.Tensor) -> float:
    """Of two streams, as a z-score."""
    a, b = a.flatten(), b.flatten()
    return torch.corrcoef(torch.stack([a, b]))[0, 1].item() * a.numel() ** 0.5


def test_numbers_are_uniform_within_and_across_images():
    values = unit(Draws(keys(1024)), 196)
    assert abs(chi_square(values, 64)) < 5
    assert abs(chi_square(values[:, 0], 32)) < 5
    assert abs(chi_square(values[0], 14)) < 5
    assert values.min() >= 0


def test_low_bits_are_as_random_as_high_ones():
    numbers = Draws(keys(512)).integers(196)
    for bit in (0, 1, 7, 31, 32, 62):
        ones = (numbers >> bit & 1).double()
        assert abs(ones.mean().item() - 0.5) * 2 * ones.numel() ** 0.5 < 5, bit


@pytest.mark.parametrize("other", [dict(seed=1), dict(epoch=1), dict(seed=1, epoch=1)])
def test_streams_of_other_seeds_and_epochs_are_unrelated(other):
    a, b = unit(Draws(keys(256)), 196), unit(Draws(keys(256, **other)), 196)
    assert not (a == b).any()
    assert abs(correlation(a, b)) < 5


def test_neighbouring_samples_positions_and_calls_are_unrelated():
    draws = Draws(keys(256))
    first, second = unit(draws, 196), unit(draws, 196)
    assert abs(correlation(first[1:], first[:-1])) < 5
    assert abs(correlation(first[:, 1:], first[:, :-1])) < 5
    assert abs(correlation(first, second)) < 5
    assert not (first == second).any()


def test_swapping_seed_and_epoch_is_another_stream():
    a, b = Draws(torch.tensor([[1, 2, 3]])), Draws(torch.tensor([[2, 1, 3]]))
    assert not torch.equal(a.integers(8), b.integers(8))


def test_no_number_repeats_among_a_hundred_thousand():
    numbers = Draws(keys(512)).integers(196)
    assert len(numbers.unique()) == numbers.numel()


def test_equal_keys_draw_equal_numbers_whatever_stands_beside():
    table = keys(8, seed=5, epoch=7)
    batch = Draws(table).integers(16)
    assert torch.equal(Draws(table[[6, 1]]).integers(16), batch[[6, 1]])


def test_a_prefix_of_the_numbers_does_not_depend_on_how_many_are_drawn():
    assert torch.equal(Draws(keys(4)).integers(5), Draws(keys(4)).integers(50)[:, :5])


def test_a_stream_can_be_drawn_from_many_times():
    draws = Draws(keys(4))
    calls = [draws.integers(50) for _ in range(20)]
    assert len(torch.cat(calls).unique()) == 20 * 4 * 50


def test_below_is_uniform_under_its_bound():
    values = Draws(keys(20000)).below(7)
    counts = torch.bincount(values, minlength=7)
    assert len(counts) == 7
    assert ((counts - 20000 / 7).abs() < 5 * (20000 / 7) ** 0.5).all()


def test_the_largest_seeds_and_ids_draw_too():
    draws = Draws(torch.tensor([[2**31 - 1, 10**6, 2**40], [2**31 - 1, 10**6, 2**40 + 1]]))
    assert not torch.equal(*draws.integers(4).unbind(0))


def test_images_without_a_key_draw_from_torchs_generator():
    torch.manual_seed(3)
    first, second = (Draws.unkeyed(2, torch.device("cpu")).integers(4) for _ in range(2))
    torch.manual_seed(3)
    assert torch.equal(Draws.unkeyed(2, torch.device("cpu")).integers(4), first)
    assert not torch.equal(first, second)
