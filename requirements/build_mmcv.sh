#!/usr/bin/env bash
# Builds mmcv with its ops for the torch that is installed in a virtual environment, and installs it there.
#
#   requirements/build_mmcv.sh VENV FILE      FILE: requirements/<stack>/mmcv.txt, the version and its hash
#
# There are no wheels of mmcv for recent torch, and torch 2.13 and newer compile only as C++20 while mmcv's
# setup.py puts `-std=c++17` behind every flag that one can hand it. So the compilers it is given are wrappers
# that have the last word. The sources stay in VENV/build: an interrupted build goes on where it stopped. The
# wheel is kept in REFCONV_WHEELS (default ~/.cache/refconv_mm), for other environments with the same torch.
set -euo pipefail
venv=$(cd "$1" && pwd)
python=$venv/bin/python
build=$venv/build
mkdir -p "$build"

eval "$("$python" "$(dirname "$0")/mmcv_target.py" "$2")"
# Set by mmcv_target.py:
# shellcheck disable=SC2154
: "${name:?}" "${version:?}" "${std:?}" "${tag:?}" "${why:?}" "${key:?}"
cache=${REFCONV_WHEELS:-${XDG_CACHE_HOME:-$HOME/.cache}/refconv_mm}/$key
echo "    $why"

install() { "$python" -m pip install --quiet --disable-pip-version-check --no-deps --force-reinstall "$1"; }

if compgen -G "$cache/*.whl" >/dev/null; then
  echo "    from an earlier build: $cache"
  install "$(ls "$cache"/*.whl)"
  exit
fi

src=$build/${name//-/_}-$version
if [ ! -f "$src/.unpacked" ]; then
  rm -rf "$src"
  "$python" -m pip download --quiet --disable-pip-version-check --no-deps --no-binary :all: --no-build-isolation \
    --require-hashes --dest "$build" -r "$2"
  tar -xzf "$src.tar.gz" -C "$build"
  touch "$src/.unpacked"
fi

compiler=${CXX:-g++}
command -v "$compiler" >/dev/null || {
  echo "build_mmcv: no C++ compiler '$compiler' (Debian: apt-get install g++; or set CXX)" >&2
  exit 1
}
wrap() { # wrap FILE COMMAND LAST_FLAGS
  printf '#!/bin/sh\nexec %s "$@" %s\n' "$2" "$3" >"$1"
  chmod +x "$1"
}
wrap "$build/cxx-$std" "$compiler" "-g0 -std=c++$std"
if [ "$tag" = cpu ]; then
  export CUDA_VISIBLE_DEVICES= FORCE_CUDA=0 # mmcv compiles for a GPU where it sees one
else
  wrap "$build/nvcc-$std" "$home/bin/nvcc" "-std=c++$std"
  export FORCE_CUDA=1 CUDA_HOME=$home PYTORCH_NVCC=$build/nvcc-$std
fi

jobs=${MAX_JOBS:-$(nproc)}
echo "    compiling $name $version as C++$std with $jobs jobs; log: $build/mmcv.log"
rm -rf "$build/dist"
cd "$src"
# A plain clock beats silence: ninja prints its steps to the log, we show how far it is.
(
  CXX=$build/cxx-$std MAX_JOBS=$jobs MMCV_WITH_OPS=1 PATH="$venv/bin:$PATH" \
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
install "$(ls "$build"/dist/*.whl)"
# Beside and renamed: an interrupted copy is never found.
mkdir -p "$(dirname "$cache")"
rm -rf "$cache.new" && mkdir "$cache.new" && cp "$build"/dist/*.whl "$cache.new/"
mv -T "$cache.new" "$cache" 2>/dev/null || rm -rf "$cache.new"
