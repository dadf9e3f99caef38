#!/usr/bin/env bash
# Builds mmcv with its ops for the torch that is installed in a virtual environment.
#
#   requirements/build_mmcv.sh VENV VERSION
#
# There are no wheels of mmcv for recent torch, and torch 2.13 and newer compile only as C++20 while
# mmcv's setup.py puts `-std=c++17` behind every flag that one can hand it. So the compiler it is given
# is a wrapper that has the last word. The sources stay in VENV/build: an interrupted build goes on
# where it stopped.
set -euo pipefail
venv=$(cd "$1" && pwd)
version=$2
python=$venv/bin/python
build=$venv/build
mkdir -p "$build"

src=$build/mmcv-$version
if [ ! -f "$src/.unpacked" ]; then
  rm -rf "$src"
  what="mmcv==$version"
  if [ -n "${LOCKED:-}" ]; then what="--require-hashes -r $(dirname "$0")/mmcv.txt"; fi
  # shellcheck disable=SC2086  # the words of $what
  "$python" -m pip download --quiet --no-deps --no-binary mmcv --no-build-isolation --dest "$build" $what
  tar -xzf "$build/mmcv-$version.tar.gz" -C "$build"
  touch "$src/.unpacked"
fi

# The standard that this torch compiles its own extensions with (17 up to 2.12, then 20).
std=$("$python" - <<'PY'
import importlib.util, pathlib, re
torch = pathlib.Path(importlib.util.find_spec('torch').origin).parent
text = (torch / 'utils' / 'cpp_extension.py').read_text()
print(max([17] + [int(n) for n in re.findall(r'-std=c\+\+(\d\d)', text)]))
PY
)
compiler=${CXX:-g++}
command -v "$compiler" >/dev/null || {
  echo "build_mmcv: no C++ compiler '$compiler' (Debian: apt-get install g++; or set CXX)" >&2
  exit 1
}
wrapper=$build/cxx-$std
printf '#!/bin/sh\nexec %s "$@" -g0 -std=c++%s\n' "$compiler" "$std" >"$wrapper"
chmod +x "$wrapper"

jobs=${MAX_JOBS:-$(nproc)}
echo "    compiling mmcv $version as C++$std with $jobs jobs; log: $build/mmcv.log"
cd "$src"
# A plain clock beats silence: ninja prints its steps to the log, we show how far it is.
(
  CXX=$wrapper MAX_JOBS=$jobs MMCV_WITH_OPS=1 PATH="$venv/bin:$PATH" \
    "$python" setup.py bdist_wheel --dist-dir "$build/dist"
) >"$build/mmcv.log" 2>&1 &
pid=$!
trap 'kill "$pid" 2>/dev/null; exit 130' INT TERM
while kill -0 "$pid" 2>/dev/null; do
  step=$(grep -oE '^\[[0-9]+/[0-9]+\]' "$build/mmcv.log" 2>/dev/null | tail -n 1 || true)
  [ "$step" = "${shown:-}" ] || { shown=$step; printf '    %s %s\n' "$(date +%H:%M:%S)" "$step"; }
  sleep 5
done
if ! wait "$pid"; then
  tail -n 30 "$build/mmcv.log" >&2
  echo "build_mmcv: the build failed; the whole log is in $build/mmcv.log" >&2
  exit 1
fi
"$python" -m pip install --quiet --no-deps --force-reinstall "$build"/dist/mmcv-"$version"-*.whl
