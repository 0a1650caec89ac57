// The clock of the page, and times in words.
import { signal } from "@preact/signals";

/** Clocks that differ by less are the same. */
const SAME_S = 2;

let behind_s = 0;

/** Seconds since 1970 by the service's clock, which dates all that is shown: one of this machine that is slow would hide
 * that a plant has fallen silent. */
export const time_s = () => Date.now() / 1000 + behind_s;

/** Learn from an answer, which names the second, how far this machine's clock is behind the service's, or ahead of it:
 * by no less than if it was written when it came, by no more than if it was when it was asked for. */
export function hear(answer, asked_s) {
  const told_s = Date.parse(answer.headers.get("date")) / 1000;
  if (!Number.isFinite(told_s)) return;
  const least_s = told_s - Date.now() / 1000;
  const most_s = told_s + 1 - asked_s;
  behind_s = least_s > SAME_S ? least_s : most_s < -SAME_S ? most_s : 0;
  now.value = time_s();
}

/** `time_s`, told anew every second: ages are computed from it. */
export const now = signal(time_s());
setInterval(() => (now.value = time_s()), 1000);

export function age(seconds) {
  if (!Number.isFinite(seconds)) return "never";
  if (seconds < 1.5) return "now";
  if (seconds < 90) return `${Math.round(seconds)} s ago`;
  if (seconds < 5400) return `${Math.round(seconds / 60)} min ago`;
  if (seconds < 129600) return `${Math.round(seconds / 3600)} h ago`;
  return `${Math.round(seconds / 86400)} d ago`;
}

export function span(seconds) {
  if (seconds < 90) return `${Math.round(seconds)} s`;
  if (seconds < 5400) return `${Math.round(seconds / 60)} min`;
  return `${(seconds / 3600).toFixed(1)} h`;
}

const two = (value) => String(value).padStart(2, "0");

/** The time of day here. */
export function clock(seconds) {
  const at = new Date(seconds * 1000);
  return [at.getHours(), at.getMinutes(), at.getSeconds()].map(two).join(":");
}

/** Day and time here, in the order in which they can be sorted. */
export function date(seconds) {
  const at = new Date(seconds * 1000);
  return `${at.getFullYear()}-${two(at.getMonth() + 1)}-${two(at.getDate())} ${clock(seconds)}`;
}

/** The plant's own clock: seconds of a day, or of an episode. */
export function plantClock(seconds) {
  const whole = Math.floor(seconds);
  if (Math.abs(seconds) < 600) return `${seconds.toFixed(1)} s`;
  return `${two(Math.floor(whole / 3600))}:${two(Math.floor(whole / 60) % 60)}:${two(whole % 60)}`;
}
