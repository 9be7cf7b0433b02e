"""Tells what this machine can run and what is missing; exits 1 with a sentence per problem.

python tools/doctor.py [--require imagenet,coco,ade]
"""

import importlib.util
import sys
from pathlib import Path

# loaded by its path: importing the package would import all that the doctor is to examine
PATH = Path(__file__).resolve().parents[1] / "semaim_mm" / "runtime" / "doctor.py"


def main() -> int:
    """Load the checks and run them."""
    spec = importlib.util.spec_from_file_location("semaim_doctor", PATH)
    doctor = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(doctor)
    except ImportError as error:
        print(
            f"{sys.executable} lacks {error.name}, which even the doctor needs: run make setup, "
            "then .venv/bin/python tools/doctor.py.",
            file=sys.stderr,
        )
        return 1
    return doctor.main()


if __name__ == "__main__":
    sys.exit(main())
