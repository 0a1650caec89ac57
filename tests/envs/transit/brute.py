"""What the compiled kernel must agree with: plans played out in plain Python, and every insertion tried."""

import itertools
import math

from envs.transit.kernel.fleet import CHARGING, FULL, LEFT, NOBODY, RATE

EPS = 1e-6
EPS_M = 1e-3


def drive(start, free, speed, slot):
    """Arrival, by driving from slot to slot."""
    while True:
        k = min(int(start // slot), len(speed) - 1)
        end = (k + 1) * slot if k < len(speed) - 1 else math.inf
        can = (end - start) * speed[k]
        if free <= can:
            return start + free / speed[k]
        free, start = free - can, end


def stops_of(v, fleet):
    """A plan as a list of (rider, whether it is a pick-up, not before)."""
    return [(int(fleet.rider[v, k]), bool(fleet.pick[v, k]), fleet.floor_s[v, k]) for k in range(fleet.length[v])]


def play(v, plan, now, fleet, riders, roads, spared=None):
    """Times of a plan: rider → (begin of boarding, arrival), and seconds of driving; None if it breaks anything.

    Nor may the battery end before a charger that is in the plan, or before the one nearest to the plan's end. What is
    ``spared`` may be late by so much, as it is already: see `lateness`.
    """
    *found, late, lasts = times(v, plan, now, fleet, riders, roads)
    spared = spared or {}
    broken = any(seconds > max(spared.get(what, 0.0), 0.0) + EPS for what, seconds in late.items())
    return None if broken or not lasts else tuple(found)


def lateness(v, plan, now, fleet, riders, roads):
    """What of a plan is how many seconds later than promised: (rider, "pick" or "ride"), and the shift's end."""
    return times(v, plan, now, fleet, riders, roads)[3]


def times(v, plan, now, fleet, riders, roads):
    """Times of a plan as `play` gives them; seconds by which each promise is late; whether room and battery suffice."""
    clock = max(fleet.at_s[v], now, fleet.shift_s[v, 0])
    node, load, free = fleet.at[v], fleet.aboard[v].copy(), 0.0
    begins = {r: riders.begin_s[r] for r, pick, _ in plan if not pick}
    arrivals, left = {}, fleet.battery[v, LEFT]
    late, lasts = {}, True
    for r, pick, floor in plan:
        target = riders.origin[r] if pick else riders.destination[r]
        free += roads.free_s[node, target]
        left -= roads.metres[node, target]
        clock, node = drive(clock, roads.free_s[node, target], roads.speed, roads.slot_s), target
        if pick:
            clock = max(clock, floor)
            late[r, "pick"] = clock - riders.latest_s[r]
            begins[r] = clock
            clock += riders.board_s[r]
            load = load + riders.size[r]
            lasts &= bool((load <= fleet.room[v]).all())
        else:
            late[r, "ride"] = clock - begins[r] - riders.limit_s[r]
            arrivals[r] = clock
            if riders.state[r] == CHARGING:
                lasts &= bool(left >= -EPS_M)
                left = min(fleet.battery[v, FULL], left + fleet.battery[v, RATE] * riders.board_s[r])
            clock += riders.alight_s[r]
            load = load - riders.size[r]
        late[v, "shift"] = clock - fleet.shift_s[v, 1]
    if not plan and fleet.heading[v] != NOBODY:  # on its way to stand somewhere, and can go there anyhow
        left, node = left - roads.metres[node, fleet.heading[v]], fleet.heading[v]
    if left < math.inf and left < roads.charger_m[node] - EPS_M:
        lasts = False
    return begins, arrivals, free, late, lasts


def best(r, now, fleet, riders, roads, weights):
    """The least cost of all feasible insertions into all plans, and where; infinite and nobody if there is none.

    What is late already may not be later.
    """
    found = (math.inf, NOBODY, -1, -1)
    for v in range(len(fleet.at)):
        plan = stops_of(v, fleet)
        spared = lateness(v, plan, now, fleet, riders, roads)
        before = play(v, plan, now, fleet, riders, roads, spared)
        for i, j in itertools.combinations_with_replacement(range(len(plan) + 1), 2):
            tried = [*plan[:i], (r, True, riders.earliest_s[r]), *plan[i:j], (r, False, 0.0), *plan[j:]]
            after = play(v, tried, now, fleet, riders, roads, spared)
            if after is None:
                continue
            begin, arrival = after[0][r], after[1][r]
            late = sum(after[1][other] - before[1][other] for other in before[1])
            terms = (after[2] - before[2], begin - riders.earliest_s[r], arrival - begin, late)
            cost = sum(w * term for w, term in zip(weights, terms, strict=True))
            if cost < found[0] - 1e-9:
                found = (cost, v, i, j)
    return found
