"""FLOPs of one pretraining step by part, from the model's shape: 2 for a multiply-add.

Matrix products, convolutions and attention are counted, causal attention as full (so does torch's
counter, and so do published utilisations); norms, activations and the optimiser are not.
Legend: L patches, D width.
"""

from typing import NamedTuple

from semaim_mm.pretrain.semaim import SemAIM

# bf16 and fp16 tensor cores, dense (half of what is printed "with sparsity"), from NVIDIA's data
# sheets: H100 (2023: SXM 1,979, PCIe 1,513, NVL 1,671 a GPU), H200 (SXM 1,979, NVL 1,671), A100;
# a card's own name comes before its family's, whose number is the SXM module's
DATA_SHEET = {
    "H100 PCIe": 756e12,
    "H100 NVL": 835e12,
    "H100": 989e12,
    "H200 NVL": 835e12,
    "H200": 989e12,
    "A100": 312e12,
}


class Flops(NamedTuple):
    """FLOPs an image of every part; ``backward`` is that of all parts together."""

    similarity: float
    content: float
    query: float
    head: float
    target: float
    backward: float

    @property
    def total(self) -> float:
        """The whole step's."""
        return sum(self)


def block_flops(tokens: int, width: int, hidden: int, projections: int = 4) -> float:
    """One block: ``projections`` of D x D on all tokens, attention, the two MLP layers."""
    linear = projections * width**2 + 2 * width * hidden
    return 2 * tokens * (linear + 2 * tokens * width)


def step_flops(model: SemAIM, grid: tuple[int, int]) -> Flops:
    """A SemAIM with PixelTarget and its grid -> FLOPs of a training image, by part."""
    backbone, neck, head = model.backbone, model.neck, model.head
    length, width, pixels = grid[0] * grid[1], backbone.embed_dims, backbone.patch_size**2 * 3
    hidden, depth = backbone.arch_settings["feedforward_channels"], backbone.num_layers
    stem = 2 * length * width * pixels
    content = depth * block_flops(length, width, hidden)
    # a shared block projects q, k and v of queries and of content, and drops half of them
    projections = 7 if neck.share_weights else 4
    query = depth // neck.stride * block_flops(length, width, hidden, projections)
    head_flops = 2 * length * width * head.out_dims
    if head.projection == "mlp":
        head_flops = 2 * length * 4 * width * (width + head.out_dims)
    blur = model.target_generator.blur_kernel or 0
    return Flops(
        similarity=similarity_flops(model, length, stem),
        content=stem + content,
        query=query,
        head=head_flops,
        target=2 * 2 * length * pixels * blur,  # two passes of one dimension
        # two products for every one forward, but images take no gradient
        backward=stem + 2 * (content + query + head_flops),
    )


def similarity_flops(model: SemAIM, length: int, stem: float) -> float:
    """The unmasked pass over CLS and patches, where the order needs a map of the student's."""
    source = model.order.similarity
    if source is None or model.similarity_from == "target":
        return 0.0
    width, hidden = model.backbone.embed_dims, model.backbone.arch_settings["feedforward_channels"]
    blocks, tokens = model.backbone.num_layers, length + 1
    if source == "self":  # of the last block the query of CLS, all keys and their product alone
        last = 2 * (tokens + 1) * width**2 + 2 * tokens * width
        return stem + (blocks - 1) * block_flops(tokens, width, hidden) + last
    return stem + blocks * block_flops(tokens, width, hidden)


def data_sheet_flops(device_name: str, precision: str) -> float | None:
    """-> peak FLOP/s that a data sheet promises, None for a device that is not listed."""
    if precision not in ("bf16", "fp16"):
        return None
    return next((peak for name, peak in DATA_SHEET.items() if name in device_name), None)


def attention_calls(model: SemAIM) -> int:
    """-> how often a training step calls torch's attention: the blocks of all its passes."""
    depth, source = model.backbone.num_layers, model.order.similarity
    similarity = depth
    if source is None or model.similarity_from == "target":
        similarity = 0
    elif source == "self":  # the last block's attention of CLS alone is a product of its own
        similarity = depth - 1
    return similarity + depth + depth // model.neck.stride
