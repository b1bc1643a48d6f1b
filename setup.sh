#!/usr/bin/env bash
# Sets up what is missing: setup.sh PYTHON ENVIRONMENT VENV
#   ENVIRONMENT  the locked packages, shared by every clone with the same lock files
#   VENV         a thin environment in the clone that reads ENVIRONMENT and holds this clone's `icface`
set -euo pipefail
python=$1 environment=$2 venv=$3
say() { printf 'setup: %s\n' "$*"; }
fail() { printf 'setup: %s\n' "$*" >&2; exit 1; }

"$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null \
  || fail "Python 3.11 or newer is needed; '$python' is not. Install python3.11 and python3.11-venv, or run: make PYTHON=/path/to/python3.11 ..."

# MediaPipe loads EGL and GLES when it starts; OpenCV's wheel loads libGL and glib.
declare -A library=([libegl1]=libEGL.so.1 [libgles2]=libGLESv2.so.2 [libgl1]=libGL.so.1 [libglib2.0-0]=libgthread-2.0.so.0)
missing=()
for package in "${!library[@]}"; do
  "$python" -c 'import ctypes, sys; ctypes.CDLL(sys.argv[1])' "${library[$package]}" 2>/dev/null || missing+=("$package")
done
if ((${#missing[@]})); then
  if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
    say "installing system libraries: ${missing[*]}"
    apt-get update -qq
    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq "${missing[@]}" >/dev/null
  else
    fail "system libraries are missing. Install the packages: ${missing[*]} (Debian: sudo apt-get install ${missing[*]})"
  fi
fi

mkdir -p "$environment"
exec 9>"$environment.lock"
flock 9  # two clones that set up at once share one installation
if [ ! -e "$environment/complete" ]; then
  say "installing the locked packages into $environment (about 3 GB; several minutes)"
  "$python" -m venv --clear "$environment"
  pip=("$environment/bin/python" -m pip --disable-pip-version-check -qq)
  # The lock is complete, so --no-deps; hashes hold for every package but torch, whose file differs by index.
  "${pip[@]}" install --no-deps --require-hashes -r requirements.lock
  say "installing torch"
  "${pip[@]}" install -r torch.lock
  "${pip[@]}" check
  touch "$environment/complete"
fi

"$environment/bin/python" -m venv --clear --without-pip "$venv"
"$venv/bin/python" - "$environment" <<'PYTHON'
import pathlib, site, subprocess, sys
ask = "import site; print(site.getsitepackages()[0])"
shared = subprocess.check_output([f"{sys.argv[1]}/bin/python", "-c", ask], text=True).strip()
# addsitedir, not the bare path: the shared environment's own .pth files are read too.
link = f"import site; site.addsitedir({shared!r})\n"
pathlib.Path(site.getsitepackages()[0], "_locked_packages.pth").write_text(link)
PYTHON
"$venv/bin/python" -m pip --disable-pip-version-check -qq install --no-deps --no-build-isolation --editable .
say "ready: $venv/bin/icface"
