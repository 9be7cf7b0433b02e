"""What a pretraining loss is a loss of: only losses of one target can be compared."""

import ast
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from semaim_mm.interop.config_text import literal
from semaim_mm.leaderboard.write.curves import Curve

CONFIG = "*/vis_data/config.py"  # mmengine writes it beside the losses
UNKNOWN = "unknown target"
OWN = ("EMATarget", "OnlineTarget")  # tokens of the model itself, others in every model
NO_MATTER = ("projection",)  # of a head: how it predicts, not what
SHOWN = ("blur_kernel", "normalize", "model", "weights", "loss", "generators", "heads", "teacher")


def targets_of(results: str | Path, curves: list[Curve]) -> dict[str, str]:
    """A folder of results, its curves -> the target of every method's pretraining loss, as text.

    Equal texts are one target: algorithm, target generator, head and image and patch sizes agree,
    defaults that are written out included. A target of the model's own tokens names its method, a
    method whose config is absent, unreadable or not the same for all seeds has UNKNOWN.
    """
    found: dict[str, set[str]] = {}
    for curve in curves:
        if curve.part == "pretraining":
            model = _model(Path(results) / curve.path)
            found.setdefault(curve.method, set()).add(_target(model, curve.method))
    return {m: texts.pop() if len(texts) == 1 else UNKNOWN for m, texts in found.items()}


def _model(folder: Path) -> Mapping[str, Any]:
    """The newest config below a run's folder, parsed as data and never run -> its ``model``."""
    for path in sorted(folder.glob(CONFIG), reverse=True):
        try:
            body = ast.parse(path.read_text(encoding="utf-8")).body
        except (OSError, SyntaxError, ValueError, RecursionError):
            continue
        for item in body:
            if isinstance(item, ast.Assign) and ast.unparse(item.targets[0]) == "model":
                try:
                    model = literal(item.value)
                except (ValueError, TypeError):
                    continue
                if isinstance(model, Mapping):
                    return model
    return {}


def _target(model: Mapping[str, Any], method: str) -> str:
    if not model.get("type"):
        return UNKNOWN
    named = (model.get(key) for key in ("backbone", "target_generator", "head"))
    backbone, target, head = (part if isinstance(part, Mapping) else {} for part in named)
    head = {key: value for key, value in head.items() if key not in NO_MATTER}
    sizes = {key: backbone.get(key) for key in ("img_size", "patch_size", "mask_ratio")}
    parts = dict(algorithm=model["type"], target=target, head=head, sizes=sizes)
    if any(name in str(target) for name in OWN):
        parts["of"] = method
    return json.dumps(parts, sort_keys=True, default=str)


def short(target: str) -> str:
    """A target's text -> a few words for a sentence: 'PixelTarget (blur_kernel=9, loss=l2)'."""
    if target == UNKNOWN:
        return target
    parts = json.loads(target)
    facts = {**parts["target"], **parts["head"]}
    told = [f"{key}={_words(facts[key])}" for key in SHOWN if key in facts]
    name = parts["target"].get("type", parts["algorithm"])
    return f"{name} ({', '.join(told)})" if told else name


def _words(value: Any) -> str:
    if isinstance(value, list):
        return " + ".join(_words(item) for item in value)
    if isinstance(value, Mapping):
        return str(value.get("type") or value.get("loss"))
    return str(value)
