// Small parts that every view uses.
import { age, date, now } from "../time.js";

const SOURCES = {
  champion: { text: "policy", sign: "●" },
  canary: { text: "canary", sign: "◐" },
  fallback: { text: "fallback", sign: "▲" },
  manual: { text: "manual", sign: "✍" },
};

/** Who is in charge of a decision, by shape and word as well as by colour: a champion without a bundle is a rule. */
export function Source({ frame }) {
  const { text, sign } = SOURCES[frame.source] ?? { text: "unknown", sign: "?" };
  return (
    <span class={`badge source-${frame.source ?? "unknown"}`}>
      <span aria-hidden="true">{sign}</span> {frame.source === "champion" && !frame.bundle ? "rule" : text}
    </span>
  );
}

const PRIORITIES = { high: "◆", medium: "▲", low: "■" };

export function Priority({ priority }) {
  return (
    <span class={`badge priority-${priority}`}>
      <span aria-hidden="true">{PRIORITIES[priority]}</span> {priority}
    </span>
  );
}

/** How old a value is; always said beside it. */
export function Age({ at, stale }) {
  if (!at) return <span class="age">no value yet</span>;
  return (
    <time class={stale ? "age stale" : "age"} dateTime={new Date(at * 1000).toISOString()} title={date(at)}>
      {age(now.value - at)}
    </time>
  );
}

/** A value with so many digits and a real minus, none before nought; a dash where there is none. */
export const number = (value, digits = 1) =>
  Number.isFinite(value) ? value.toFixed(digits).replace(/^-(?=.*[1-9])/, "−").replace("-", "") : "–";

/** A figure of a table: four digits, with a real minus; a dash where there is none. */
export const figure = (value, digits = 4) =>
  Number.isFinite(value) ? Number(value.toPrecision(digits)).toLocaleString("en-GB").replace("-", "−") : "–";

/** How long an answer took, and how long it may. */
export const taken = (frame) =>
  `${number(frame.latency_ms, frame.latency_ms < 10 ? 1 : 0)} ms (limit ${number(frame.deadline_ms, 0)})`;

const UNITS = { s: "s", min: "min", pct: "%", veh: "vehicles", m: "m", mm: "mm", m3: "m³", km: "km" };

/** Indicators whose names say too little. */
const INDICATORS = { j: "drift and acceleration, 1 without dampers", controllable: "overflow that gates can influence" };

/** The unit of an indicator, empty where it has none: `wait_min` → min. */
export const unitOf = (name) => UNITS[name.split("_").slice(1).pop()] ?? "";

/** An indicator with its unit: `wait_min` → wait (min). */
export function indicator(name) {
  const unit = unitOf(name);
  const plain = unit ? name.slice(0, name.lastIndexOf("_")) : name;
  const told = INDICATORS[plain] ?? plain.replaceAll("_", " ");
  return unit ? `${told} (${unit})` : told;
}

/** A controller's name without the folders that lead to it. */
export const brief = (name) => name.split("/").slice(-2).join("/");

/** That how things stand at a site could not be asked for, if so: what is shown of it may be old. */
export function Unasked({ site, role }) {
  const why = site.stateProblem.value;
  if (!why) return null;
  return (
    <p class="problem" role={role}>
      Who is in charge, and what is held by hand, may have changed: it could not be asked for ({why}).
    </p>
  );
}

export function Empty({ children }) {
  return <p class="empty">{children}</p>;
}
