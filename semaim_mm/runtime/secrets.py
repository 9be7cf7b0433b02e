"""Secrets of a config are used and never written: not in logs, dumps, checkpoints, results, pages.

A secret is known by the name of its key, or as the password of a URL. The parts of a run are built
from the config itself; what the runner keeps to write down is a copy without them.
"""

import copy
import re
from typing import Any

from mmengine.config import Config

HIDDEN = "***"
NAMES = (
    r"(?:^|_)(?:password|passwd|passphrase|secret|secret_key|api_?key|access_?key(?:_id)?|"
    r"private_?key|credentials?|(?:auth|access|api|hf|bearer|session|secret)_token)$|^token$"
)
KEY = re.compile(NAMES, re.IGNORECASE)
URL = re.compile(r"(?<=://)[^/\s:@]*:[^/\s@]+(?=@)")
OPTION = re.compile(r"(?P<key>[\w.]+)=(?P<value>('[^']*'|\"[^\"]*\"|\S)+)")


def without_secrets(cfg: Any) -> Any:
    """A config, as Config or dict, -> a copy in which secrets are ``***``; None stays None."""
    cfg = copy.deepcopy(cfg)
    if isinstance(cfg, Config):
        object.__setattr__(cfg, "_text", "")  # the source file's own
        _hide(cfg._cfg_dict)
    elif isinstance(cfg, dict):
        _hide(cfg)
    return cfg


def line_without_secrets(line: str) -> str:
    """A shell line -> the same with ``key=***`` where the key names a secret."""

    def option(found: re.Match) -> str:
        last = found["key"].rpartition(".")[2]
        return f"{found['key']}={HIDDEN}" if KEY.search(last) else found[0]

    return URL.sub(HIDDEN, OPTION.sub(option, line))


def _hide(value: Any, key: str = "") -> Any:
    """A part of a config -> the same without secrets, dicts changed in place."""
    if isinstance(value, dict):
        for name, item in list(dict.items(value)):
            value[name] = _hide(item, str(name))
        return value
    if isinstance(value, list | tuple):
        items = [_hide(item, key) for item in value]
        return type(value)(*items) if hasattr(value, "_fields") else type(value)(items)
    if isinstance(value, str) and value:
        return HIDDEN if KEY.search(key) else URL.sub(HIDDEN, value)
    return value
