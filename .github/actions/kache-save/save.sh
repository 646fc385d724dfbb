#!/usr/bin/env bash
# After the build: keep units, bring what is new to the remote, make the cache directory fit for an archive.
# Trouble here costs later jobs time, and never this one its result.
set -uo pipefail

warn() {
  echo "::warning title=kache::$1"
}

[ -n "${KACHE_JOB_STARTED-}" ] || {
  warn "the step that puts kache in place did not run; there is nothing to save"
  exit 0
}

printf '%s\n' "${INPUT_SAVE_ARGS:-}" | while IFS= read -r line || [ -n "$line" ]; do
  read -r -a words <<<"$line"
  kache save ${words[@]+"${words[@]}"} || warn "'kache save $line' failed"
done

archive=false
if [ "$KACHE_JOB_PUSH" = true ]; then
  case $KACHE_JOB_CACHE in
  s3)
    kache daemon drain || warn "the uploader did not finish"
    kache sync --push || warn "not all was pushed"
    ;;
  actions) archive=true ;;
  esac
fi
# Where nothing came from a compiler there is nothing new, and the archive that was restored is as good.
since="$(($(date +%s) - KACHE_JOB_STARTED + 1))s"
if [ "$archive" = true ] && kache report --json --since "$since" | "$KACHE_PYTHON" -I -c '
import json, sys
summary = json.load(sys.stdin)["summary"]
sys.exit(bool(summary["misses"] + summary["dups"]))'; then
  archive=false
  echo "nothing was compiled: the archive of the earlier job stays as it is"
fi
# What is restored next time is this size, so it is cut where it is kept.
[ "$archive" = false ] || kache gc --max-size "$INPUT_MAX_SIZE" || warn "the cache directory could not be cut to $INPUT_MAX_SIZE"
{
  echo "archive=$archive"
  echo "cache-dir=$KACHE_CACHE_DIR"
  echo "key=$KACHE_JOB_KEY"
} >>"$GITHUB_OUTPUT"
