"""k-NN against a brute-force version that counts vote by vote."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from semaim_mm.errors import InputError
from semaim_mm.transfer.features import Features
from semaim_mm.transfer.knn import KNN, knn_votes


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
