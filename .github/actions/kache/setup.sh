#!/usr/bin/env bash
# Put the file in place and say to all later steps how it is to be used. Inputs come as INPUT_…, see action.yml.
set -euo pipefail

fail() {
  echo "::error title=kache::$1"
  exit 1
}

# One line, for a line break would begin a variable of its own.
export_variable() {
  case $2 in *$'\n'* | *$'\r'*) fail "$1 has a line break in it" ;; esac
  printf '%s=%s\n' "$1" "$2" >>"$GITHUB_ENV"
}

output() {
  printf '%s=%s\n' "$1" "${2//[$'\r\n']/}" >>"$GITHUB_OUTPUT"
}

bin=$RUNNER_TEMP/kache/bin
file=$bin/kache
mkdir -p "$bin"
if [ -n "$INPUT_PATH" ]; then
  [ -f "$INPUT_PATH" ] || fail "there is no file $INPUT_PATH"
  cp "$INPUT_PATH" "$file"
else
  [ -n "$INPUT_VERSION" ] || fail "say which kache to use: 'path', or 'version' with its 'sha256'"
  [ -n "$INPUT_SHA256" ] || fail "version $INPUT_VERSION needs its 'sha256': what is downloaded must be what was pinned"
  url=$GITHUB_SERVER_URL/kache-build/kache/releases/download/$INPUT_VERSION/kache
  curl --fail --silent --show-error --location --retry 3 --output "$file" "$url" || fail "cannot download $url"
fi
if [ -n "$INPUT_SHA256" ]; then
  if command -v sha256sum >/dev/null; then sum=$(sha256sum "$file"); else sum=$(shasum -a 256 "$file"); fi
  [ "${sum%% *}" = "$INPUT_SHA256" ] || fail "the file's checksum is ${sum%% *}, not $INPUT_SHA256"
fi
chmod 755 "$file"

# The interpreter itself: a later step may put another one, or a shim that costs every call, before it on PATH.
if [ -z "${KACHE_PYTHON-}" ]; then
  python=$(python3 -c 'import sys; print(sys.executable)') || fail "there is no python3, which kache needs"
  export_variable KACHE_PYTHON "$python"
fi

cache_dir=${INPUT_CACHE_DIR/#\~/$HOME}
export_variable KACHE_CACHE_DIR "$cache_dir"
export_variable RUSTC_WRAPPER "$file"
export_variable CARGO_INCREMENTAL 0
[ "$INPUT_EXECUTABLES" != true ] || export_variable KACHE_CACHE_EXECUTABLES 1
if [ "$INPUT_CC" = true ]; then
  export_variable CC "$file cc"
  export_variable CXX "$file c++"
  export_variable CC_KNOWN_WRAPPER_CUSTOM kache
fi
echo "$bin" >>"$GITHUB_PATH"

# shellcheck disable=SC2153  # an input like the others
case $INPUT_PUSH in
always) push=true ;;
never) push=false ;;
default-branch) if [ "$GITHUB_REF" = "refs/heads/$DEFAULT_BRANCH" ]; then push=true; else push=false; fi ;;
*) fail "'push' is default-branch, always or never" ;;
esac

case $INPUT_CACHE in
actions | none) ;;
s3)
  [ -n "$INPUT_BUCKET" ] || fail "cache s3 needs 's3-bucket'"
  export_variable KACHE_S3_BUCKET "$INPUT_BUCKET"
  export_variable KACHE_S3_REGION "$INPUT_REGION"
  export_variable KACHE_S3_PREFIX "$INPUT_PREFIX"
  [ -z "$INPUT_ENDPOINT" ] || export_variable KACHE_S3_ENDPOINT "$INPUT_ENDPOINT"
  [ "$push" = true ] || export_variable KACHE_REMOTE_READONLY 1
  ;;
*) fail "'cache' is actions, s3 or none" ;;
esac

# Later steps report on what comes from now on: the log came with the cache.
export_variable KACHE_JOB_STARTED "$(date +%s)"
export_variable KACHE_JOB_CACHE "$INPUT_CACHE"
export_variable KACHE_JOB_PUSH "$push"

# An archive cannot be changed once it is stored, so each run stores one of its own, and takes the newest that fits.
same_job=kache-$RUNNER_OS-$RUNNER_ARCH-$GITHUB_JOB-$INPUT_CACHE_KEY-
same_lock=$same_job$LOCKFILES-
key=$same_lock$GITHUB_RUN_ID-$GITHUB_RUN_ATTEMPT
export_variable KACHE_JOB_KEY "$key"
output cache-dir "$cache_dir"
output key "$key"
output same-lock "$same_lock"
output same-job "$same_job"
output push "$push"
"$file" --version
