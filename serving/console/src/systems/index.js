// How each system is drawn and what is told of it first; one that is not known here is drawn plainly.
import dampers from "./dampers.js";
import drainage from "./drainage.js";
import intersections from "./intersections.js";
import transit from "./transit.js";

const other = {
  title: "Plant",
  gauges: (frame) => [{ key: "agents", label: "commands", unit: "", value: Object.keys(frame.commands).length, digits: 0 }],
  paint: (kind, id, frame, info, colours) => ({ color: colours.ink, fill: colours.surface, weight: 2, radius: 6, tip: id }),
  legend: () => [],
};

export const SYSTEMS = { intersections, drainage, dampers, transit, other };
