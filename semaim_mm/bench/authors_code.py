"""A checkout of the authors' code (skyoux/SemAIM) as an arm of the pretraining benchmark.

None of their code is here: it is imported from the folder that the user names, and timed only where
it reproduces the losses of a reference file. Legend: B images, L patches.
"""

import importlib
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from semaim_mm.bench.pretrain_steps import DenseStep
from semaim_mm.bench.timing import synchronize
from semaim_mm.errors import InputError
from semaim_mm.interop.authors import to_authors
from semaim_mm.interop.reference import CURVE_TOLERANCE, TOLERANCE, Reference, adamw_losses
from semaim_mm.pretrain.semaim import SemAIM

MODULE, MODEL = "models.models_semaim", "AimViT"
REFERENCE = Path("tests/fixtures/pixel_l2_cls.npz")
PACKAGES = ("models", "util")  # theirs, by names that another package may have


@contextmanager
def _on_the_path(checkout: Path) -> Iterator[None]:
    """Import from ``checkout`` inside; its packages are forgotten after, and others come back."""
    ours = {k: v for k, v in sys.modules.items() if k.split(".")[0] in PACKAGES}
    for name in ours:
        del sys.modules[name]
    sys.path.insert(0, str(checkout))
    try:
        yield
    finally:
        sys.path.remove(str(checkout))
        for name in [k for k in sys.modules if k.split(".")[0] in PACKAGES]:
            del sys.modules[name]
        sys.modules.update(ours)


@contextmanager
def _old_numpy() -> Iterator[None]:
    """Lend NumPy the alias ``np.float``, which their positions are made with and 1.24 dropped."""
    lent = not hasattr(np, "float")
    if lent:
        np.float = float
    try:
        yield
    finally:
        if lent:
            del np.float


def load_model_class(checkout: str | Path) -> type[nn.Module]:
    """The folder of a checkout -> its model class. Raises InputError where there is none."""
    path = Path(checkout).resolve()
    file = path / f"{MODULE.replace('.', '/')}.py"
    if not file.is_file():
        raise InputError(
            f"{checkout} is no checkout of the authors' code: it has no {file.relative_to(path)}; "
            "name the folder that git clone made."
        )
    try:
        with _on_the_path(path):
            return getattr(importlib.import_module(MODULE), MODEL)
    except (ImportError, AttributeError, SyntaxError) as error:
        raise InputError(
            f"{file} can't be imported or has no {MODEL} ({error}); install what it needs, or "
            "check out the published version."
        ) from error


def build(kind: type[nn.Module], state: dict[str, Tensor], **config: object) -> nn.Module:
    """Their class, state dict and keyword arguments -> the model in training mode.

    Raises InputError where it refuses the arguments, the image size or the weights.
    """
    try:
        with _old_numpy():
            model = kind(**config)
        model.load_state_dict(state)
    except IndexError as error:
        raise InputError(
            f"The authors' model can't be built for img_size={config['img_size']} ({error}): it "
            "needs 14 x 14 patches or more. Give --side 224, or leave --authors out."
        ) from error
    except (RuntimeError, TypeError, AttributeError) as error:
        raise InputError(
            f"The model of the checkout does not take the authors' arguments or weights ({error}); "
            "check out the published version."
        ) from error
    return model.train()


def check_losses(kind: type[nn.Module], path: str | Path = REFERENCE) -> None:
    """Compare the losses of one batch and of eight updates with those of a reference file.

    Raises InputError where they differ by more than TOLERANCE and CURVE_TOLERANCE of the file's.
    """
    reference = Reference(path)
    config = {key: value for key, value in reference.config.items() if key != "seed"}
    prefix = "state."
    state = {
        k.removeprefix(prefix): reference.tensor(k)
        for k in reference.arrays
        if k.startswith(prefix)
    }
    # their order 'attention' sorts by 1 - map; ranks, unlike keys, survive that subtraction
    model = build(kind, state, **config, permutation_type="attention")
    ranks = reference.tensor("order_keys").argsort(dim=1).argsort(dim=1).float()
    imgs = reference.tensor("imgs")

    def loss() -> Tensor:
        return model(imgs, None, 1 - ranks)[0]

    expected = reference.tensor("adamw_losses").double()
    found = torch.tensor(adamw_losses(model, loss, len(expected)), dtype=torch.float64)
    errors = (found / expected - 1).abs()
    # written so that a NaN is refused
    if not (errors[0] <= TOLERANCE and errors.max() <= CURVE_TOLERANCE):
        raise InputError(
            f"The checkout does not reproduce the reference losses of {path}: "
            f"{', '.join(f'{x:.5f}' for x in found.tolist())} in {len(expected)} updates, where "
            f"the authors' code gave {', '.join(f'{x:.5f}' for x in expected.tolist())}. It is not "
            "timed; check out the published version, or leave --authors out."
        )


class AuthorsStep(DenseStep):
    """One update by their model as their training loop makes it, without its logging.

    The similarity pass in fp32, autocast streams, loss scaling in fp16, the loss read by the host
    and the device waited for in every step.

    Args:
        kind: their model class.
        model: ours, of the baseline's recipe, whose weights it takes.
        imgs: (B, 3, H, W), square.
        precision: of the streams; 'fp32', 'bf16' or 'fp16'.
    """

    def __init__(self, kind: type[nn.Module], model: SemAIM, imgs: Tensor, precision: str):
        settings, target = model.backbone.arch_settings, model.target_generator
        theirs = build(
            kind,
            to_authors(model),
            img_size=imgs.shape[-1],
            patch_size=model.backbone.patch_size,
            embed_dim=settings["embed_dims"],
            depth=settings["num_layers"],
            num_heads=settings["num_heads"],
            mlp_ratio=settings["feedforward_channels"] / settings["embed_dims"],
            query_depth=len(model.neck.layers),
            # their distances are made on CUDA alone; sorting by the map costs as much
            permutation_type="attention_center" if imgs.is_cuda else "attention",
            gaussian_kernel_size=target.blur_kernel,
            gaussian_sigma=target.blur_sigma,
        )
        super().__init__(theirs.to(imgs.device), imgs, precision)

    def order(self) -> None:
        self.model.eval()
        with torch.no_grad():
            _, self.map, _ = self.model(self.imgs, forward_encoder=True)
        self.model.train()

    def streams(self) -> None:
        with self._context():
            self.prediction, _ = self.model.forward_aim(self.imgs, self.map)

    def compare(self) -> None:
        with self._context():
            self.loss, _ = self.model.forward_pixel_loss(self.imgs, self.prediction)
        self.value = self.loss.item()

    def update(self) -> None:
        super().update()
        synchronize()
