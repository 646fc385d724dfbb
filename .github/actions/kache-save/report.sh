#!/usr/bin/env bash
# What kache did in this job: the summary, the comment, and the gate, which comes last so that the report is there.
set -uo pipefail

[ -n "${KACHE_JOB_STARTED-}" ] || exit 0
since="$(($(date +%s) - KACHE_JOB_STARTED + 1))s"
report=$RUNNER_TEMP/kache/report.md
kache report --format github --since "$since" >"$report" || echo "::warning title=kache::there is no report"
[ "$INPUT_SUMMARY" != true ] || cat "$report" >>"$GITHUB_STEP_SUMMARY"
if [ "$INPUT_COMMENT" = true ] && [ -n "$PULL_REQUEST" ]; then
  "$KACHE_PYTHON" -I "$GITHUB_ACTION_PATH/comment.py" "$report" "$PULL_REQUEST" ||
    echo "::warning title=kache::the comment could not be written"
fi
if [ -n "$INPUT_MIN_HIT_RATE" ]; then
  kache report --min-hit-rate "$INPUT_MIN_HIT_RATE" --since "$since" >/dev/null 2>"$RUNNER_TEMP/kache/gate" || {
    status=$?
    echo "::error title=kache::$(tr '\n' ' ' <"$RUNNER_TEMP/kache/gate")"
    exit "$status"
  }
fi
