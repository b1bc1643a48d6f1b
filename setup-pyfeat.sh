#!/usr/bin/env bash
# Sets up py-feat beside the locked packages: setup-pyfeat.sh PYTHON ENVIRONMENT PYFEAT_ENVIRONMENT VENV
#   ENVIRONMENT         the locked packages, as setup.sh installs them
#   PYFEAT_ENVIRONMENT  py-feat, what it needs beyond those, and PyPI's default torch, which torchvision goes with
#   VENV                a thin environment in the clone that reads both, and holds this clone's `icface`
set -euo pipefail
python=$1 environment=$2 pyfeat=$3 venv=$4
say() { printf 'setup: %s\n' "$*"; }
fail() { printf 'setup: %s\n' "$*" >&2; exit 1; }

# py-feat's own reading of videos goes through FFmpeg's libraries.
if ! "$python" -c 'import ctypes.util, sys; sys.exit(not ctypes.util.find_library("avcodec"))'; then
  if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
    say "installing the system package ffmpeg"
    apt-get update -qq
    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends ffmpeg >/dev/null
  else
    fail "FFmpeg's libraries are missing. Install the package ffmpeg (Debian: sudo apt-get install ffmpeg)"
  fi
fi

# A thin environment: `site` reads the folders named after it, in this order, and their own .pth files too.
thin() {
  "$python" -m venv --clear --without-pip "$1"
  "$1/bin/python" - "${@:2}" <<'PYTHON'
import pathlib, site, subprocess, sys
ask = "import site; print(site.getsitepackages()[0])"
folders = [subprocess.check_output([f"{there}/bin/python", "-c", ask], text=True).strip() for there in sys.argv[1:]]
text = "".join(f"import site; site.addsitedir({folder!r})\n" for folder in folders)
pathlib.Path(site.getsitepackages()[0], "_locked_packages.pth").write_text(text)
PYTHON
}

exec 9>"$pyfeat.lock"
flock 9  # two clones that set up at once share one installation
if [ ! -e "$pyfeat/complete" ]; then
  say "installing py-feat and torch into $pyfeat (about 6 GB; several minutes)"
  thin "$pyfeat" "$environment"
  pip=("$pyfeat/bin/python" -m pip --disable-pip-version-check -qq)
  "${pip[@]}" install --no-deps --require-hashes -r pyfeat.lock
  "${pip[@]}" install -r pyfeat-torch.lock
  "${pip[@]}" check
  touch "$pyfeat/complete"
fi

thin "$venv" "$pyfeat" "$environment"
"$venv/bin/python" -m pip --disable-pip-version-check -qq install --no-deps --no-build-isolation --editable .
say "ready: $venv/bin/icface"
