#!/usr/bin/env bash
# Writes requirements.lock: the newest set within setup.py's ranges, every file with its hash.
# Takes some minutes (it reads the metadata of each candidate); needs the installed .venv, since
# the OpenMMLab source packages import torch to say what they need.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

# A local pip configuration may add folders of rebuilt wheels: their hashes don't belong here.
# A mirror is still honoured by PIP_INDEX_URL.
export PIP_CONFIG_FILE=${PIP_CONFIG_FILE:-/dev/null}
unset PIP_FIND_LINKS PIP_EXTRA_INDEX_URL

python=${PYTHON:-.venv/bin/python}
if ! "$python" -c 'import piptools, torch' 2>/dev/null; then
  echo "$python has no pip-tools or no torch, which locking needs: run make setup first." >&2
  exit 1
fi

# The options replace pip-tools' list of packages to leave out (which holds pip and setuptools,
# wanted here) by opencv-python alone.
"$python" -m piptools compile --quiet --generate-hashes --strip-extras --no-build-isolation \
  --no-allow-unsafe --unsafe-package opencv-python \
  --no-header --no-emit-options --no-emit-index-url --no-emit-find-links \
  --no-emit-trusted-host --extra build,dev,docs,interop,shards,slurm,tensorboard \
  --output-file requirements.lock "$@" setup.py

header=$(mktemp)
trap 'rm -f "$header"' EXIT
{
  cat <<EOH
# The tested set, every file with its hash. Written by "make lock"; don't edit by hand.
# Locked with Python $("$python" -c 'import platform; print(platform.python_version())'); "make setup" installs it with --require-hashes --no-deps.
#
# opencv-python is left out on purpose. Some packages name it, others opencv-python-headless;
# both are the module cv2 and overwrite each other, and the first needs libGL, which a bare
# Debian lacks. So "pip check" says "requires opencv-python, which is not installed", a line for
# each package that names it, and nothing else; tools/doctor.py checks that cv2 itself imports.
EOH
  # pip-tools closes with a warning about what it left out; the header says that with its reason
  grep -v -e '^# ' -e '^$' requirements.lock
} >"$header"
cat "$header" >requirements.lock
echo "requirements.lock pins $(grep -c '^[a-z0-9].*==' requirements.lock) packages."
