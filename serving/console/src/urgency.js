// What needs a person first: alarms in the order in which the service lists them (serving/alarms/book.py).
import { now } from "./time.js";

export const RANK = { high: 0, medium: 1, low: 2 };

/** Compares lists of as many, entry by entry; less comes first. */
export function compare(x, y) {
  for (let k = 0; k < x.length; k++) if (x[k] !== y[k]) return x[k] < y[k] ? -1 : 1;
  return 0;
}

/** What orders alarms: nobody's before known ones, then by priority, what still holds before what is over, the newest. */
export const urgencyOf = (alarm) => [
  alarm.shelved_until_s > now.peek(),
  alarm.state === "acknowledged",
  RANK[alarm.priority],
  alarm.state === "returned",
  -alarm.raised_s,
];
