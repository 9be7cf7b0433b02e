"""The authors' ``gaussian_blur.weight``, which a SemAIM algorithm derives and does not store.

Its values can't be recomputed to the last bit (exponentials differ between platforms), so a
converted file carries them in its meta, as plain numbers.
"""

import ast
import math
from collections.abc import Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor

from semaim_mm.errors import InputError

BLUR_KEY = "gaussian_blur.weight"
MAX_SIDE = 999


class BlurKernel(NamedTuple):
    """A square Gaussian: side and standard deviation in pixels, and its values, row by row."""

    kernel_size: int
    sigma: float
    values: tuple[float, ...]

    def __str__(self) -> str:
        return f"Gaussian of {self.kernel_size} x {self.kernel_size}, sigma {self.sigma:g}"

    @classmethod
    def gaussian(cls, kernel_size: int = 9, sigma: float = 1.0) -> "BlurKernel":
        """-> the kernel of a side and a sigma, in float32 values."""
        offset = torch.arange(kernel_size, dtype=torch.float64) - kernel_size // 2
        profile = torch.exp(-offset.square() / (2 * sigma**2))
        kernel = torch.outer(profile, profile)
        values = (kernel / kernel.sum()).float().flatten().tolist()
        return cls(kernel_size, float(sigma), tuple(values))

    @classmethod
    def of_weight(cls, weight: Tensor) -> "BlurKernel":
        """(3, 1, n, n) -> the kernel, its sigma measured. Raises InputError for no Gaussian."""
        size = weight.shape[-1] if weight.ndim == 4 else 0
        alike = weight.shape == (3, 1, size, size) and bool((weight == weight[:1]).all())
        if alike and size % 2:
            plane, digits = weight[0, 0].double(), 4 if weight.element_size() > 2 else 2
            sigma = round(_sigma_of(plane), digits)
            kernel = cls(size, sigma, tuple(plane.flatten().tolist()))
            formula = torch.tensor(cls.gaussian(size, sigma).values).view(size, size).double()
            near = max(1e-3, 4 * torch.finfo(weight.dtype).eps)
            if torch.allclose(plane, formula, rtol=10 * near, atol=near * float(plane.max())):
                return kernel
        raise InputError(
            f"{BLUR_KEY} {tuple(weight.shape)} is no Gaussian of odd side that is equal in the "
            "three channels, so the blur here can't stand for it; nothing was converted."
        )

    @classmethod
    def of_target(cls, target: Mapping[str, Any]) -> "BlurKernel | None":
        """A config's ``target_generator`` -> its kernel, or None where it blurs nothing."""
        size, sigma = target.get("blur_kernel", 9), target.get("blur_sigma", 1.0)
        if target.get("type") != "PixelTarget" or size is None:
            return None
        known = isinstance(size, int) and isinstance(sigma, (int, float))
        if not known or not 1 <= size <= MAX_SIDE or size % 2 == 0 or not sigma > 0:
            raise InputError(
                f"blur_kernel={size!r} and blur_sigma={sigma!r} of the config describe no blur: "
                f"an odd side up to {MAX_SIDE} and a positive sigma are needed; give another "
                "--config."
            )
        return cls.gaussian(size, sigma)

    @classmethod
    def of_note(cls, note: Any) -> "BlurKernel | None":
        """What ``_asdict`` wrote into a file's meta -> the kernel. Raises InputError if broken."""
        if note is None:
            return None
        try:
            kernel = cls(int(note["kernel_size"]), float(note["sigma"]), tuple(note["values"]))
            kernel.weight()
        except (KeyError, TypeError, ValueError, RuntimeError) as error:
            raise InputError(
                f"The blur kernel in the file's meta is broken ({error}); convert the original "
                "file again."
            ) from error
        return kernel

    def same_shape(self, other: "BlurKernel | None") -> bool:
        """Whether both have one side and, as well as it can be measured, one sigma."""
        same_side = other is not None and self.kernel_size == other.kernel_size
        return same_side and math.isclose(self.sigma, other.sigma, rel_tol=1e-3)

    def weight(self) -> Tensor:
        """-> (3, 1, n, n) float32, as the authors' convolution holds it."""
        plane = torch.tensor(self.values).view(1, 1, self.kernel_size, self.kernel_size)
        return plane.expand(3, 1, -1, -1).clone()


def _sigma_of(plane: Tensor) -> float:
    """(n, n) -> the sigma whose logarithm fits best, weighted by the values; 1 where none can."""
    offset = torch.arange(len(plane)) - len(plane) // 2
    distance = (offset[:, None] ** 2 + offset**2).double()
    seen = plane > 1e-3 * plane.max()
    if plane.max() <= 0 or seen.sum() < 2:
        return 1.0
    weight, x, y = plane[seen], distance[seen], plane[seen].log()
    x = x - (weight * x).sum() / weight.sum()
    slope = float((weight * x * y).sum() / (weight * x * x).sum())
    return math.sqrt(-1 / (2 * slope)) if slope < 0 else 1.0


def target_of_text(text: str) -> dict[str, Any] | None:
    """A dumped config's text -> its ``model.target_generator``; parsed as data, never run."""
    try:
        for statement in ast.parse(text).body:
            if isinstance(statement, ast.Assign) and ast.unparse(statement.targets[0]) == "model":
                return dict(_literal(statement.value)["target_generator"])
    except (SyntaxError, ValueError, KeyError, TypeError, RecursionError, MemoryError):
        return None
    return None


def _literal(node: ast.expr) -> Any:
    """A literal in which ``dict(key=...)`` may stand for ``{...}`` -> its value."""
    if isinstance(node, ast.Call) and ast.unparse(node.func) == "dict" and not node.args:
        return {item.arg: _literal(item.value) for item in node.keywords}
    if isinstance(node, ast.Dict):
        return {
            _literal(key): _literal(value)
            for key, value in zip(node.keys, node.values, strict=True)
            if key is not None
        }
    if isinstance(node, (ast.List, ast.Tuple)):
        return [_literal(item) for item in node.elts]
    return ast.literal_eval(node)
