#!/usr/bin/env bash
# Put back what Cargo would build, for each line of options. What cannot be warmed is no reason to fail a job: Cargo builds it.
set -uo pipefail

printf '%s\n' "${INPUT_WARM_ARGS:-}" | while IFS= read -r line || [ -n "$line" ]; do
  read -r -a words <<<"$line"
  kache warm ${words[@]+"${words[@]}"} || echo "::warning title=kache::'kache warm $line' failed; Cargo builds what is missing"
done
