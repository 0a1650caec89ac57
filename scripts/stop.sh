#!/usr/bin/env bash
# Stop the service that scripts/run.sh left running.
set -euo pipefail
cd "$(dirname "$0")/.."
PID_FILE=runs/quickstart/serve.pid
PID=$(cat "$PID_FILE" 2>/dev/null || true)

# Whether the process is the service: after a restart of the machine another one may have its number.
runs() { [ -n "$PID" ] && { tr '\0' ' ' <"/proc/$PID/cmdline" || ps -ww -o command= -p "$PID"; } 2>/dev/null | grep -q "cityloop serve "; }

if runs; then
  kill -TERM "$PID"
  for _ in $(seq 60); do runs || break; sleep 0.5; done
  if runs; then
    echo "The service (process $PID) has not ended within 30 s: look into runs/quickstart/serve.log." >&2
    exit 1
  fi
  echo "The service is stopped."
elif [ "${1:-}" != quiet ]; then
  echo "No service is running."
fi
rm -f "$PID_FILE"
