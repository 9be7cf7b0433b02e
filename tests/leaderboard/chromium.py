"""Which Chromium the page is tested in, and the marks of tests that need it."""

from __future__ import annotations

import importlib.util
import shutil

import pytest

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser"))), None)
LACKING = "no chromium on the path; Debian's package chromium has it"
if importlib.util.find_spec("playwright") is None:
    LACKING = "playwright is not installed; make setup installs it"
NEEDS_CHROMIUM = [pytest.mark.slow]
if CHROMIUM is None or "playwright" in LACKING:
    NEEDS_CHROMIUM.append(pytest.mark.skip(reason=LACKING))
