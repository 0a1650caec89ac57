"""Run sumo-rl's environment in a process of its own: actions in by standard input, lanes out by standard output.

A libsumo simulation is process-global and importing sumo_rl has side effects, so no test imports this file.
"""

import contextlib
import json
import sys

with contextlib.redirect_stdout(sys.stderr):
    from sumo_rl import SumoEnvironment

    job = json.load(sys.stdin)
    env = SumoEnvironment(
        net_file=job["net"],
        route_file=job["routes"],
        begin_time=job["begin_s"],
        num_seconds=job["seconds"],
        delta_time=10,
        yellow_time=3,
        min_green=5,
        sumo_seed=job["seed"],
        sumo_warnings=False,
        additional_sumo_cmd="--no-step-log",
    )
    env.reset()
    rows = []
    for action in job["actions"]:
        env.step({env.ts_ids[0]: action})
        signal, lane = env.traffic_signals[env.ts_ids[0]], env.sumo.lane
        row = {name: [lane.getLastStepHaltingNumber(name), lane.getWaitingTime(name)] for name in signal.lanes}
        rows.append({"lanes": row, "queued": signal.get_total_queued()})
    env.close()
json.dump(rows, sys.stdout)
