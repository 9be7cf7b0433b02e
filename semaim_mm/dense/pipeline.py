"""Looking into a built pipeline."""

from collections.abc import Callable, Iterator


def find_transforms(pipeline: Callable | list | tuple) -> Iterator[Callable]:
    """-> every transform of a pipeline, also those inside others (``transforms`` of a wrapper,
    the branches of test-time augmentation)."""
    if isinstance(pipeline, list | tuple):
        for transform in pipeline:
            yield from find_transforms(transform)
        return
    yield pipeline
    for name in ("transforms", "subroutines"):
        inner = getattr(pipeline, name, None)
        if isinstance(inner, list | tuple) or hasattr(inner, "transforms"):
            yield from find_transforms(inner)
