"""Filling a timm model from a file of weights, of whatever names, all or nothing."""

import sys
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor, nn

from semaim_mm.errors import InputError
from semaim_mm.interop.backbone_file import backbone_of, check_shapes
from semaim_mm.interop.checkpoint_file import read_file, sha256_of, state_dict_of
from semaim_mm.interop.efficientnet_names import MARKER, to_timm_efficientnet
from semaim_mm.interop.families import flatten
from semaim_mm.interop.refusals import describe
from semaim_mm.interop.renaming import GridGuess
from semaim_mm.interop.timm_names import rename, to_timm
from semaim_mm.pretrain.targets.teacher_activation import check_activation

# the projection to the space shared with text: its name, and whether it is stored transposed
_PROJECTIONS = (
    ("head.weight", False),  # timm
    ("visual.proj", True),  # OpenAI, open_clip
    ("proj", True),
    ("visual_projection.weight", False),  # Hugging Face
    ("visual.head.proj.weight", False),  # open_clip around a tower of timm
)
# what a file may hold beside the tokens' path
_ASIDE = (
    "head.",
    "head_dist.",
    "classifier.",
    "attn_pool.",
    "mask_token",
    "fc.",
    "projectors.",
    "rope.",
)


def fill_teacher(teacher: nn.Module, path: str | Path, name: str) -> str:
    """Load the file's weights into the timm model, in place; -> the file's SHA-256.

    Raises InputError where one weight is missing, left over or of another shape; nothing random
    remains.
    """
    digest = digest_of(path, name)
    content = read_file(path)
    state = _timm_state(content, teacher, path, name)
    head = getattr(teacher, "head", None)
    if isinstance(head, nn.Linear):
        state |= _projection(flatten(content), head, path)
    own = teacher.state_dict()
    state = {k: v for k, v in state.items() if k in own or not k.startswith(_ASIDE)}
    missing, left = sorted(own.keys() - state.keys()), sorted(state.keys() - own.keys())
    if missing or left:
        raise InputError(
            f"{path} does not hold the weights of {name}: missing {describe(missing) or 'none'}, "
            f"without a place {describe(left) or 'none'}. Name the timm model that they belong to "
            f"in target_generator.model.{_names_read(teacher, name)}"
        )
    wrong = [key for key in own if own[key].shape != state[key].shape]
    if wrong:
        key = wrong[0]
        raise InputError(
            f"{path} is of another size than {name}: {key} is {tuple(state[key].shape)} in the "
            f"file, {tuple(own[key].shape)} in the model ({len(wrong)} weights differ). Name the "
            "timm model that they belong to in target_generator.model."
        )
    teacher.load_state_dict(state)
    return digest


def digest_of(path: str | Path, name: str) -> str:
    """-> the SHA-256 of a teacher's weights. Raises InputError where the file is not there."""
    if not Path(path).is_file():
        raise InputError(
            f"The weights of the teacher {name} are not at {path}; get them there, or set "
            "target_generator.weights to where they are. A teacher is never downloaded, nor left "
            "random."
        )
    return sha256_of(path)


def is_plain(teacher: nn.Module) -> bool:
    """Whether SemAIMViT could hold the timm model's weights: then files of any names are read."""
    if type(teacher).__name__ != "VisionTransformer":
        return False
    guess = GridGuess(hint=_grid_of(teacher))
    try:
        check_shapes(rename(teacher.state_dict(), guess).state, "the model")
    except InputError:
        return False
    return True


def _grid_of(teacher: nn.Module) -> tuple[int, int]:
    return tuple(teacher.patch_embed.grid_size)


def _names_read(teacher: nn.Module, name: str) -> str:
    """-> what else to do where other libraries' names are not read, '' where they are."""
    if not hasattr(teacher, "patch_embed") or is_plain(teacher):
        return ""
    return (
        f" timm builds {name} as {type(teacher).__name__} with parts that SemAIMViT lacks, so "
        "timm's names and those that timm converts are read, Hugging Face's are not: take timm's "
        f"own file (model.safetensors of huggingface.co/timm/{name})."
    )


def _timm_state(
    content: Mapping, teacher: nn.Module, path: str | Path, name: str
) -> dict[str, Tensor]:
    """What the file holds -> the tower's weights in timm's names, on the model's grid."""
    convert = getattr(sys.modules[type(teacher).__module__], "checkpoint_filter_fn", None)
    if is_plain(teacher):
        file = backbone_of(content, path, guess=GridGuess(hint=_grid_of(teacher)))
        check_activation(teacher, file.origin, flatten(content), path, name)
        layout = file.origin.layout | dict(scales="ls")  # DeiT III's authors call them gamma
        if getattr(teacher, "no_embed_class", False):
            layout["positions"] = "patches"
        state = to_timm(file.state, layout)
    else:
        state = state_dict_of(content, path)
        state = {key.removeprefix("backbone."): value for key, value in state.items()}
    if MARKER in state:
        state = to_timm_efficientnet(state, [len(stage) for stage in teacher.blocks])
    return dict(convert(state, teacher)) if convert else state


def _projection(flat: dict[str, Tensor], head: nn.Linear, path: str | Path) -> dict[str, Tensor]:
    for name, transposed in _PROJECTIONS:
        for key in (name, f"state_dict.{name}", f"model.{name}"):
            if key in flat:
                weight = flat[key].T if transposed else flat[key]
                bias = flat.get(key.replace("weight", "bias")) if "weight" in key else None
                if head.bias is None:
                    return {"head.weight": weight}
                bias = torch.zeros(len(weight)) if bias is None else bias
                return {"head.weight": weight, "head.bias": bias}
    raise InputError(
        f"{path} has no projection into the space shared with text (none of "
        f"{', '.join(name for name, _ in _PROJECTIONS)}): take a file of the whole image tower, "
        "or TimmTeacher for its tokens before the projection."
    )
