"""The share of a pretraining update that a leaf's teacher takes.

Only here may a teacher have random weights, and only where that is asked for: its speed does not
depend on them.
"""

from collections import Counter
from typing import NamedTuple

import torch

from semaim_mm.bench.flops import attention_calls
from semaim_mm.bench.pretrain import shape_model
from semaim_mm.bench.pretrain_steps import PARTS, OurStep
from semaim_mm.bench.report import Table
from semaim_mm.bench.step_facts import check_fused, step_facts
from semaim_mm.bench.timing import Spread, seconds_of
from semaim_mm.errors import InputError
from semaim_mm.pretrain.semaim import SemAIM
from semaim_mm.pretrain.targets.timm_teacher import TimmTeacher
from semaim_mm.runtime.precision import resolve_precision

TEACHER = "teacher"
COLUMNS = ("part", "device", "ms", "% of the update")


class Sizes(NamedTuple):
    """``config`` is a pretraining leaf's path; ``side`` in pixels, ``batch`` in images."""

    config: str
    side: int
    batch: int
    precision: str
    compile: bool = False
    random_teacher: bool = False


CPU_SIZES = Sizes("configs/pretrain/semaim_vitb_clip.py", 224, 2, "fp32")
GPU_SIZES = CPU_SIZES._replace(batch=128, precision="bf16")


class TaughtStep(OurStep):
    """OurStep whose teacher runs first, as a part of its own."""

    def __init__(self, *args: object, **kwargs: object):
        super().__init__(*args, **kwargs)
        self.parts = {TEACHER: self.teach, **self.parts}

    def teach(self) -> None:
        """Images -> what the teacher says of them."""
        with self._context():
            self.target = self.model.target(self.imgs)

    def order(self) -> None:
        with self._context():
            self.sort()


def give_random_weights(model: SemAIM) -> None:
    """Fill every frozen teacher of a model with random weights in place of its file's."""
    for part in model.modules():
        if isinstance(part, TimmTeacher):
            # no public way: a run must never have such a teacher
            part._teacher.append(part._build().eval().requires_grad_(False))


def build_step(sizes: Sizes) -> TaughtStep:
    """-> the leaf's update on random images. Raises InputError for a leaf without a teacher."""
    device = "cuda" if torch.cuda.is_available() else "cpu"
    precision = resolve_precision(sizes.precision, device)
    model, optim_wrapper = shape_model(sizes.config, sizes.side)
    if not getattr(model.target_generator, "gives_tokens", True):
        raise InputError(
            f"{sizes.config} has no teacher: {type(model.target_generator).__name__} makes its "
            "target from the image; name a leaf whose target is features, such as "
            f"{CPU_SIZES.config}."
        )
    if sizes.random_teacher:
        give_random_weights(model)
    model.init_weights()
    imgs = torch.randn(sizes.batch, 3, sizes.side, sizes.side).to(device)
    return TaughtStep(model.train().to(device), imgs, optim_wrapper, precision, sizes.compile)


def check_attention(step: TaughtStep) -> None:
    """Raise InputError where the student's attention is not fused in every block of every pass."""
    device = step.imgs.device
    taught, whole = step_facts(step.teach, device), step_facts(step, device)
    student = Counter(whole.kernels)
    student.subtract(taught.kernels)  # the teacher attends as its own library does
    check_fused(whole._replace(kernels=dict(+student)), attention_calls(step.model))


def measure(sizes: Sizes, rounds: int) -> list[Table]:
    """-> the table of an update's parts, the teacher first.

    Raises InputError for a leaf without a teacher, or one whose weights are missing.
    """
    step = build_step(sizes)
    step()
    check_attention(step)
    names, taken = (TEACHER, *PARTS), []
    for _ in range(rounds):
        taken.append({name: seconds_of(step.parts[name]) for name in names})
    whole = [sum(times.values()) for times in taken]
    rows = [
        (
            name,
            step.imgs.device.type,
            Spread.of([times[name] for times in taken]).scaled(1000),
            Spread.of([t[name] / total for t, total in zip(taken, whole, strict=True)]).scaled(100),
        )
        for name in names
    ]
    rows.append(("all", step.imgs.device.type, Spread.of(whole).scaled(1000), 100.0))
    if step.imgs.device.type == "cpu":
        rows.append((f"{TEACHER}, {GPU_SIZES.batch} x {GPU_SIZES.precision}", "cuda", None, None))
    generator = step.model.target_generator
    weights = ", with random weights, on which its speed does not depend" * sizes.random_teacher
    notes = [
        f"{sizes.config} at {sizes.side} px, {sizes.batch} x {sizes.precision}"
        f"{', compiled' * sizes.compile}; {type(generator).__name__} "
        f"{getattr(generator, 'model_name', '')}{weights}. The parts were run one by one, with a "
        "wait for the device after each; where the teacher gives the similarity map, that part is "
        "the cosine and the order alone."
    ]
    return [Table("The teacher's share of an update", COLUMNS, rows, notes)]
