// How each system is drawn and what is told of it first; one that is not known here is drawn plainly.
import { known } from "./palette.js";
import dampers from "./dampers.js";
import drainage from "./drainage.js";
import intersections from "./intersections.js";
import transit from "./transit.js";

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

export const SYSTEMS = { intersections, drainage, dampers, transit, other };
