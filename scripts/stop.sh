#!/usr/bin/env bash
# Stop the service that scripts/run.sh left running.
set -euo pipefail
cd "$(dirname "$0")/.."
PID_FILE=runs/quickstart/serve.pid
if [ -f "$PID_FILE" ] && kill -TERM "$(cat "$PID_FILE")" 2>/dev/null; then
  for _ in $(seq 60); do kill -0 "$(cat "$PID_FILE")" 2>/dev/null || break; sleep 0.5; done
  echo "The service is stopped."
elif [ "${1:-}" != quiet ]; then
  echo "No service is running."
fi
rm -f "$PID_FILE"
