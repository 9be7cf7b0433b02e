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

BLOCK = 1 << 16  # rows of the bank that queries are compared with at a time


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

    Beside the two tables, memory is that of ``nearest`` and of the votes. Raises InputError where
    a k is larger than the bank.
    """
    check_neighbours(ks, len(bank))
    similarity, index = nearest(bank, queries, max(ks), chunk_elements)
    weight = (similarity / temperature).exp()
    voters = labels[index]
    votes = {k: weight.new_zeros(len(queries), num_classes) for k in ks}
    return {k: v.scatter_add_(1, voters[:, :k], weight[:, :k]) for k, v in votes.items()}


@torch.no_grad()
def nearest(
    bank: Tensor, queries: Tensor, k: int, chunk_elements: int = 1 << 27
) -> tuple[Tensor, Tensor]:
    """(N, D), (M, D) -> (M, k) cosines, largest first, and the (M, k) rows of the bank.

    The bank is normalised and multiplied in blocks, into the same two buffers every time: to
    allocate them anew costs a CPU a quarter of the product. Memory is one block of BLOCK rows,
    ``chunk_elements`` similarities (512 MiB in float32), the queries and what is found.
    """
    queries = F.normalize(queries, dim=1)
    rows = min(len(bank), BLOCK, chunk_elements)
    step = min(len(queries), max(1, chunk_elements // rows))
    unit, product = bank.new_empty(rows, bank.shape[1]), bank.new_empty(step * rows)
    cosines = queries.new_full((len(queries), k), -torch.inf)
    index = torch.zeros_like(cosines, dtype=torch.long)
    for start in range(0, len(bank), rows):
        part = bank[start : start + rows]
        norm = part.norm(dim=1, keepdim=True).clamp_min(1e-12)
        block = torch.div(part, norm, out=unit[: len(part)])
        for chunk, best, where in zip(
            queries.split(step), cosines.split(step), index.split(step), strict=True
        ):
            into = product[: len(chunk) * len(part)].view(len(chunk), -1)
            torch.mm(chunk, block.T, out=into)
            found, rank = largest(into, min(k, len(part)), best[:, -1:])
            values, chosen = torch.cat([best, found], dim=1).topk(k, dim=1)
            where.copy_(torch.cat([where, rank + start], dim=1).gather(1, chosen))
            best.copy_(values)
    return cosines, index


def largest(
    values: Tensor, k: int, above: Tensor | None = None, groups_of: int = 16
) -> tuple[Tensor, Tensor]:
    """(M, n) -> the (M, k) largest of each row and their columns, as ``topk`` gives them.

    In two steps where rows are long: the k largest stand in the k groups whose largest are largest.
    With ``above`` (M, 1) only what is larger than that has to be found, so that fewer come back
    where no row has more: of a bank's later blocks, a few.
    """
    number = values.shape[1] // groups_of
    if values.shape[1] % groups_of or number < 4 * k:
        return values.topk(k, dim=1)
    groups = values.unflatten(1, (groups_of, number))  # a group's columns are ``number`` apart
    tops, kept = groups.amax(dim=1), k
    if above is not None:
        kept = min(k, int((tops > above).sum(dim=1).max()))
    group = tops.topk(kept, dim=1, sorted=False).indices
    candidates = groups.gather(2, group[:, None].expand(-1, groups_of, -1)).flatten(1)
    found, place = candidates.topk(min(k, candidates.shape[1]), dim=1)
    if not kept:
        return found, place
    columns = place.div(kept, rounding_mode="floor") * number + group.gather(1, place % kept)
    return found, columns


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
