// How each system is drawn and what is told of it first; one that is not known here is drawn plainly.
import { known } from "./palette.js";
import dampers from "./dampers.js";
import drainage from "./drainage.js";
import intersections from "./intersections.js";
import transit from "./transit.js";

/*
 * A kind has `title`, `paint` and `legend`; it may have
 *   labelled   mark → on which side its name stands if there is room; false: it has none
 *   prepare    (frame, info): what is reckoned once of a frame, before its marks are painted
 *   shape      (mark, frame, info) → where its points are now
 *   thing      (load, colours) → how a vehicle looks
 *   gauges, readouts, loops   what is told beside the drawing
 *   choices, fields, reasons  what people may set, and why the guard changes it, in words
 */
const other = {
  title: "Plant",
  paint: (kind, id, frame, info, colours) => ({ color: colours.ink, fill: colours.surface, weight: 2, radius: 6, tip: id }),
  legend: () => [],
};


const plainly = (key) => ({ key, label: key.replaceAll("_", " "), unit: "", digits: 1 });

/** What a decision's readings add up to: the service reckons it, a kind says in which words, all of it if it says nothing. */
export function gaugesOf(kind, frame) {
  const told = frame.gauges ?? {};
  const shown = kind.gauges ?? Object.keys(told).map(plainly);
  return shown.map((gauge) => ({ ...gauge, value: known(told[gauge.key]) ? told[gauge.key] * (gauge.scale ?? 1) : null }));
}

/**
 * What a person sets of an agent, a field a number of its command: a choice, or a range with the words for a value.
 *
 * @param agent its name; empty: of all agents at once
 * @return [{label, choices: [{value, text}]} or {label, low, high, step, said}]; `fixed`: what it is, as nobody sets it
 */
export function fieldsOf(site, agent) {
  const info = site.info.value;
  const { choices, low = [0], high = [1], name } = info.command;
  if (choices) {
    const plain = Array.from({ length: choices }, (_, value) => ({ value, text: `${name} ${value}` }));
    return [{ label: name, choices: site.kind.choices?.(agent, info) ?? plain }];
  }
  const fields = site.kind.fields?.(info, agent) ?? low.map((_, k) => ({ label: low.length > 1 ? `${name} ${k + 1}` : name }));
  return fields.map((field, k) => ({
    low: low[k],
    high: high[k],
    step: (high[k] - low[k]) / 100,
    said: (value) => value.toFixed(2),
    ...field,
  }));
}

/** A command in words, whoever gave it. */
export function commandText(site, command) {
  if (command === null || command === undefined) return "nothing that exists";
  const { choices, name } = site.info.value.command;
  const values = [command].flat();
  if (choices || values.some((value) => typeof value !== "number")) return `${choices ? `${name} ` : ""}${values.join(", ")}`;
  return fieldsOf(site, "")
    .slice(0, values.length)
    .map((field, k) => (values.length > 1 ? `${field.short ?? field.label} ${field.said(values[k])}` : field.said(values[k])))
    .join(", ");
}

const REASONS = { no_request: "nothing was asked for", range: "beyond what can be set" };

/** Why the guard changed something, in words. */
export const reasonText = (kind, reason) => kind.reasons?.[reason] ?? REASONS[reason] ?? reason.replaceAll("_", " ");

export const SYSTEMS = { intersections, drainage, dampers, transit, other };
