"""Facts of a backbone in the config text that OpenMMLab keeps in a checkpoint's ``meta['cfg']``."""

import ast
from collections.abc import Mapping
from typing import Any

from semaim_mm.interop.conventions import ACTIVATIONS

_WANTED = ("model", "data_preprocessor")


def facts_of_text(text: str) -> dict[str, Any]:
    """A dumped config -> the facts that it states; {} where it says nothing or can't be parsed.

    Parsed as data and never run.
    """
    try:
        body = ast.parse(text).body
    except (SyntaxError, ValueError, RecursionError):
        return {}
    found = {}
    for statement in body:
        name = ast.unparse(statement.targets[0]) if isinstance(statement, ast.Assign) else None
        if name in _WANTED:
            try:
                found[name] = literal(statement.value)
            except (ValueError, TypeError):
                continue
    model = found.get("model")
    model = model if isinstance(model, Mapping) else {}
    return facts_of_config(model, found.get("data_preprocessor"))


def facts_of_config(model: Mapping[str, Any], preprocessor: Any = None) -> dict[str, Any]:
    """A config's ``model`` -> the facts that it states of its backbone."""
    backbone = model.get("backbone")
    backbone = backbone if isinstance(backbone, Mapping) else {}
    facts = {}
    arch, layers = backbone.get("arch"), backbone.get("layer_cfgs")
    facts["num_heads"] = arch.get("num_heads") if isinstance(arch, Mapping) else None
    facts["norm_eps"] = (backbone.get("norm_cfg") or {}).get("eps")
    act = layers.get("act_cfg") if isinstance(layers, Mapping) else None
    if isinstance(act, Mapping):
        known = [name for name, cfg in ACTIVATIONS.items() if _same(cfg, act)]
        facts["activation"] = known[0] if known else str(act.get("type"))
    preprocessor = model.get("data_preprocessor") or preprocessor or {}
    if isinstance(preprocessor, Mapping):
        facts.update(mean=preprocessor.get("mean"), std=preprocessor.get("std"))
    return {key: value for key, value in facts.items() if value is not None}


def _same(one: Mapping, other: Mapping) -> bool:
    bare = [{**cfg, "type": str(cfg.get("type")).split(".")[-1]} for cfg in (one, other)]
    return bare[0] == bare[1]


def literal(node: ast.expr) -> Any:
    """A literal in which ``dict(key=...)`` may stand for ``{...}`` -> its value."""
    if isinstance(node, ast.Call) and ast.unparse(node.func) == "dict" and not node.args:
        return {item.arg: literal(item.value) for item in node.keywords}
    if isinstance(node, ast.Dict):
        pairs = zip(node.keys, node.values, strict=True)
        return {literal(key): literal(value) for key, value in pairs if key is not None}
    if isinstance(node, (ast.List, ast.Tuple)):
        return [literal(item) for item in node.elts]
    return ast.literal_eval(node)
