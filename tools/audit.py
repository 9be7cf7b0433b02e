#!/usr/bin/env python
"""Ask pip-audit about known vulnerabilities in every package of requirements.lock.

Exits with 1 where one is known. Where the advisory service can't be reached, or knows no package,
it says so and passes: nothing was audited then, and nothing else depends on it.
"""

import json
import subprocess
import sys
from pathlib import Path

LOCK = Path(__file__).resolve().parents[1] / "requirements.lock"


def main() -> int:
    command = [sys.executable, "-m", "pip_audit", "--requirement", str(LOCK)]
    command += ["--no-deps", "--disable-pip", "--format", "json", "--progress-spinner", "off"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=600)
    except subprocess.TimeoutExpired:
        return not_audited("the advisory service gave no answer in 10 minutes")
    try:
        found = json.loads(done.stdout)["dependencies"]
    except (ValueError, KeyError):
        return not_audited((done.stderr.strip().splitlines() or ["no answer"])[-1])
    audited = [package for package in found if "vulns" in package]
    if not audited:
        return not_audited("the advisory service here knows none of the packages")
    faults = [(p["name"], p["version"], v) for p in audited for v in p["vulns"]]
    print(f"{len(audited)} of {len(found)} packages audited, {len(faults)} known vulnerabilities.")
    for name, version, fault in faults:
        fixed = ", ".join(fault["fix_versions"]) or "no release yet"
        print(f"{name} {version}: {fault['id']}, mended in {fixed}")
    return 1 if faults else 0


def not_audited(why: str) -> int:
    print(f"Not audited: {why}.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
