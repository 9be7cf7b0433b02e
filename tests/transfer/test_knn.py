"""k-NN against a brute-force version that counts vote by vote."""

import math
from functools import partial

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from semaim_mm.bench.step_facts import step_facts
from semaim_mm.errors import InputError
from semaim_mm.transfer.features import Features
from semaim_mm.transfer.knn import BLOCK, KNN, knn_votes, largest, nearest


def votes_by_hand(bank, labels, queries, k, classes, temperature):
    """The definition, one query, one neighbour, one vote at a time, in double precision."""
    table = torch.zeros(len(queries), classes, dtype=torch.float64)
    for i, query in enumerate(queries.tolist()):
        cosines = []
        for vector, label in zip(bank.tolist(), labels.tolist(), strict=True):
            dot = sum(a * b for a, b in zip(query, vector, strict=True))
            norms = math.hypot(*query) * math.hypot(*vector)
            cosines.append((dot / norms, label))
        for cosine, label in sorted(cosines, key=lambda pair: -pair[0])[:k]:
            table[i, label] += math.exp(cosine / temperature)
    return table


@settings(max_examples=20, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    n=st.integers(5, 40),
    m=st.integers(1, 12),
    width=st.integers(2, 8),
    classes=st.integers(2, 5),
    chunk=st.integers(1, 200),
)
def test_votes_equal_a_brute_force_count_whatever_the_chunk(seed, n, m, width, classes, chunk):
    generator = torch.Generator().manual_seed(seed)
    bank = torch.randn(n, width, generator=generator, dtype=torch.float64)
    queries = torch.randn(m, width, generator=generator, dtype=torch.float64)
    labels = torch.randint(classes, (n,), generator=generator)
    ks = (1, n // 2 + 1, n)
    votes = knn_votes(bank, labels, queries, ks, classes, 0.07, chunk_elements=chunk)
    for k in ks:
        expected = votes_by_hand(bank, labels, queries, k, classes, 0.07)
        torch.testing.assert_close(votes[k], expected, rtol=1e-9, atol=0)
        assert votes[k].argmax(dim=1).tolist() == expected.argmax(dim=1).tolist()


def test_neighbours_in_several_blocks_are_those_in_one_and_rows_of_zeros_are_far(monkeypatch):
    generator = torch.Generator().manual_seed(1)
    bank, queries = (torch.randn(n, 6, generator=generator) for n in (50, 9))
    bank[17] = 0
    cosines = torch.nn.functional.cosine_similarity(queries[:, None], bank[None], dim=-1)
    expected = cosines.topk(12, dim=1)
    kept = bank.clone()
    for block in (64, 20, 7):
        monkeypatch.setattr("semaim_mm.transfer.knn.BLOCK", block)
        found = nearest(bank, queries, 12, chunk_elements=4 * block)
        torch.testing.assert_close(found[0], expected.values)
        assert torch.equal(found[1], expected.indices)
    assert torch.equal(bank, kept), "the caller's features"


@pytest.mark.parametrize("n", [16 * 40, 16 * 40 + 3, 16 * 39])
def test_the_largest_in_two_steps_are_those_in_one(n):
    values = torch.randn(6, n, generator=torch.Generator().manual_seed(n))
    values[0] = values[0].sort().values  # the largest side by side
    values[1, ::40] += 9  # and in one group
    expected = values.topk(10, dim=1)
    found, columns = largest(values, 10)
    assert torch.equal(found, expected.values) and torch.equal(columns, expected.indices)


@pytest.mark.parametrize("rank", [0, 3, 40])
def test_all_that_is_above_a_value_is_found(rank):
    values = torch.randn(6, 16 * 64, generator=torch.Generator().manual_seed(rank))
    above = values.sort(dim=1, descending=True).values[:, rank, None]
    found, columns = largest(values, 10, above)
    assert torch.equal(values.gather(1, columns), found)
    for row, floor, expected in zip(found, above, values.topk(10, dim=1).values, strict=True):
        assert torch.equal(row[row > floor], expected[expected > floor])


def test_equal_values_are_found_once_each():
    found, columns = largest(torch.zeros(2, 16 * 40), 10)
    assert (found == 0).all() and all(len(set(row)) == 10 for row in columns.tolist())


def test_memory_does_not_grow_with_the_training_images():
    queries = torch.randn(64, 32)

    def peak(size: int) -> int:
        bank, labels = torch.randn(size, 32), torch.zeros(size, dtype=torch.long)
        step = partial(knn_votes, bank, labels, queries, (10,), 5, chunk_elements=1 << 20)
        return step_facts(step, "cpu").peak

    # in norms alone, of a block
    assert peak(3 * BLOCK) == peak(2 * BLOCK) < 2 * BLOCK * 32 * 4


def test_more_neighbours_than_training_images_are_refused():
    bank, labels = torch.randn(5, 3), torch.zeros(5, dtype=torch.long)
    with pytest.raises(InputError, match="k=6 neighbours .* 5 images"):
        knn_votes(bank, labels, bank, (6,), 2)


def test_the_headline_is_the_fixed_k_and_keeps_every_image_outcome():
    generator = torch.Generator().manual_seed(0)
    table, labels = torch.randn(60, 4, generator=generator), torch.arange(60) % 3
    test = Features(
        {"f": torch.randn(30, 4, generator=generator)}, torch.randint(3, (30,), generator=generator)
    )
    outcome = KNN(ks=(5, 20), headline_k=20).evaluate(
        Features({"f": table}, labels), test, 3, torch.device("cpu")
    )
    assert outcome.metrics["top1"] == outcome.metrics["f/top1_k20"]
    assert outcome.correct.double().mean().item() * 100 == pytest.approx(outcome.metrics["top1"])
    expected = votes_by_hand(table, labels, test.values["f"], 20, 3, 0.07).argmax(dim=1)
    assert outcome.correct.tolist() == (expected == test.labels).tolist()


def test_a_headline_that_is_not_among_the_ks_is_refused():
    with pytest.raises(InputError, match="headline_k=3"):
        KNN(ks=(5, 20), headline_k=3)
