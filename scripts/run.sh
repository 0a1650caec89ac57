#!/usr/bin/env bash
# The whole loop on a real map, in under ten minutes: train, export, evaluate, serve, and drive the plant over HTTP.
set -euo pipefail
cd "$(dirname "$0")/.."
BIN=${BIN:-.venv/bin}
PORT=${PORT:-8000}
MAP=${MAP:-intersections/cologne1}
MINUTES=${MINUTES:-3}
HERE=runs/quickstart
bash scripts/stop.sh quiet
mkdir -p "$HERE"
RUN=$HERE/$(date +%Y%m%d-%H%M%S)
LOG=$HERE/serve.log

say() { printf '\n\033[1m%s\033[0m\n' "$*"; }

say "1/5  Training a policy on $MAP for $MINUTES minutes"
"$BIN/cityloop" train "$MAP" --minutes "$MINUTES" --out "$RUN/train"
"$BIN/cityloop" export "$RUN/train" --out "$RUN/quickstart" --name quickstart

say "2/5  Evaluating it, and the shipped policy, on test seeds against the controllers in use"
"$BIN/cityloop" evaluate "$MAP" -c policy -c "$RUN/quickstart" -c fixed -c webster -c actuated -c greedy -c max-pressure \
  --seeds 10 --output "$RUN/evaluation"

say "3/5  Serving the new policy on http://127.0.0.1:$PORT"
nohup "$BIN/cityloop" serve "$MAP" --policy "$RUN/quickstart" --port "$PORT" >"$LOG" 2>&1 &
echo $! >"$HERE/serve.pid"
for _ in $(seq 120); do
  "$BIN/python" -c "import urllib.request as u; u.urlopen('http://127.0.0.1:$PORT/healthz', timeout=1)" 2>/dev/null && break
  kill -0 "$(cat "$HERE/serve.pid")" 2>/dev/null || { cat "$LOG" >&2; exit 1; }
  sleep 0.5
done

say "4/5  Driving the plant through the service"
"$BIN/cityloop" control "$MAP" --url "http://127.0.0.1:$PORT"

say "5/5  Where to look"
cat <<TXT
  the console      http://127.0.0.1:$PORT/   (drive the plant again to see it live: $BIN/cityloop control $MAP --url http://127.0.0.1:$PORT)
  the service      http://127.0.0.1:$PORT/v1/systems   (docs: /docs; stop it with: make stop)
  the evaluation   $RUN/evaluation   (plots, rows.csv, evaluation.json)
  the training     $BIN/tensorboard --logdir runs   then http://127.0.0.1:6006 (tab "Custom scalars": beside the baselines)
  the bundle       $RUN/quickstart/CARD.md
TXT
