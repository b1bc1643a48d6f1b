#!/usr/bin/env bash
# Sets up what the page's tests need beyond the environment: setup-browser.sh AXE_VERSION AXE_SHA256 CACHE
set -euo pipefail
version=$1 sha256=$2 cache=$3
say() { printf 'setup: %s\n' "$*"; }
fail() { printf 'setup: %s\n' "$*" >&2; exit 1; }

missing=()
command -v chromium >/dev/null || command -v chromium-browser >/dev/null || command -v google-chrome >/dev/null || missing+=(chromium)
command -v npm >/dev/null || missing+=(npm)
if ((${#missing[@]})); then
  if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
    say "installing ${missing[*]}"
    apt-get update -qq
    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq "${missing[@]}" >/dev/null
  else
    fail "the page's tests need: ${missing[*]} (Debian: sudo apt-get install ${missing[*]})"
  fi
fi

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
say "fetching axe-core $version"
(cd "$folder" && npm pack --silent "axe-core@$version" >/dev/null)
echo "$sha256  $folder/axe-core-$version.tgz" | sha256sum --check --quiet || fail "axe-core-$version.tgz is another file than it was"
mkdir -p "$cache/axe-core-$version"
tar -xzf "$folder/axe-core-$version.tgz" -C "$folder" package/axe.min.js
mv "$folder/package/axe.min.js" "$cache/axe-core-$version/axe.min.js"
