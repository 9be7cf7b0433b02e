"""Weighted k-nearest-neighbour classification on frozen features.

Cosine similarity, votes weighted exp(similarity / temperature), as in the authors' evaluation
(and DINO's, from Wu et al. 2018). Legend: N bank, M test images, D feature width, C classes.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from semaim_mm.errors import InputError
from semaim_mm.transfer.features import Features
from semaim_mm.transfer.protocol import PROTOCOLS, Outcome


def knn_votes(
    bank: Tensor,
    labels: Tensor,
    queries: Tensor,
    ks: Sequence[int],
    num_classes: int,
    temperature: float = 0.07,
    chunk_elements: int = 1 << 27,
) -> dict[int, Tensor]:
    """(N, D), (N,), (M, D) -> {k: (M, C) votes}.

    Queries are taken in chunks so that the similarity block never has more than
    ``chunk_elements`` numbers (512 MiB in float32): memory is that, the two feature tables twice
    (normalised copies) and the votes. Raises InputError where a k is larger than the bank.
    """
    check_neighbours(ks, len(bank))
    bank, queries = F.normalize(bank, dim=1), F.normalize(queries, dim=1)
    step = max(1, chunk_elements // len(bank))
    votes = {k: [] for k in ks}
    for part in queries.split(step):
        similarity, index = (part @ bank.T).topk(max(ks), dim=1)
        weight = (similarity / temperature).exp()
        voters = labels[index]
        for k in ks:
            tally = weight.new_zeros(len(part), num_classes)
            votes[k].append(tally.scatter_add_(1, voters[:, :k], weight[:, :k]))
    return {k: torch.cat(parts) for k, parts in votes.items()}


def check_neighbours(ks: Sequence[int], bank_size: int) -> None:
    """Raise InputError where a k is larger than the training set."""
    if max(ks) > bank_size:
        raise InputError(
            f"k={max(ks)} neighbours were asked of a training set of {bank_size} images; choose "
            "smaller k."
        )


@PROTOCOLS.register_module()
class KNN:
    """k-NN on every feature that the model offers; the headline is ``headline_k``.

    Args:
        ks: numbers of neighbours, all reported.
        headline_k: the one whose accuracy is called ``top1``; fixed beforehand, not the best.
    """

    def __init__(
        self,
        ks: Sequence[int] = (10, 20, 50, 100, 200),
        headline_k: int = 20,
        temperature: float = 0.07,
    ):
        if headline_k not in ks:
            raise InputError(f"KNN: headline_k={headline_k} is not among ks={tuple(ks)}; add it.")
        self.ks, self.headline_k, self.temperature = tuple(ks), headline_k, temperature

    def check(self, bank_size: int) -> None:
        """Refuse what can be known to fail before features are extracted."""
        check_neighbours(self.ks, bank_size)

    def evaluate(
        self, bank: Features, test: Features, num_classes: int, device: torch.device
    ) -> Outcome:
        """Classify ``test`` by ``bank``; with several features, the headline is the first one's."""
        metrics, correct = {}, None
        for name, table in bank.values.items():
            votes = knn_votes(
                table.to(device),
                bank.labels.to(device),
                test.values[name].to(device),
                self.ks,
                num_classes,
                self.temperature,
            )
            for k, tally in votes.items():
                hits = tally.argmax(dim=1).cpu() == test.labels
                metrics[f"{name}/top1_k{k}"] = 100 * hits.double().mean().item()
                if k == self.headline_k and correct is None:
                    correct = hits
        return Outcome({"top1": 100 * correct.double().mean().item(), **metrics}, correct)
