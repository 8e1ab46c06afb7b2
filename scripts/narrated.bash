# shellcheck shell=bash
# For scripts/images and scripts/cluster, which define `log`: nobody waits for longer than 10 s without a line.

last_step() { # of a build's or a push's output: the newest line that names a step, or the layers that were sent
  local layers
  layers=$(grep -cE '^[0-9a-f]{12}: (Pushed|Layer already exists|Mounted)' "$1") || true
  if [ "$layers" -gt 0 ]; then
    echo "$layers of $(cut --delimiter=: --fields=1 "$1" | grep -xE '[0-9a-f]{12}' | sort --unique | wc --lines) layers are there"
  else
    grep -E '^#[0-9]+ \[|^Step [0-9]|^[0-9a-f]{12}: ' "$1" | tail --lines=1 | sed -E 's/^#[0-9]+ //' | cut --characters=1-110
  fi
}

narrated() { # narrated WHAT COMMAND…: a line every 10 s with the time and the last step; the output only if it fails
  local what=$1 output code='' begin=$SECONDS status; shift
  output=$(mktemp)
  exec {ended}< <("$@" >"$output" 2>&1 && echo 0 || echo $?)
  while true; do
    status=0; read -r -t "${PROGRESS_SECONDS:-10}" -u "$ended" code || status=$?
    [ "$status" -gt 128 ] || break # more than 128: time is up, and the command still runs
    log "$what for $((SECONDS - begin)) s: $(last_step "$output")"
  done
  exec {ended}<&-
  [ "$code" = 0 ] || cat "$output" >&2
  rm -f "$output"
  [ "$code" = 0 ]
}
