// Drainage: tanks by how full they are, gates by how far they are open, rain and tide beside them.
import { number } from "../parts/common.jsx";
import { known, mix } from "./palette.js";

const fullM = (info, id) => info.limits.tanks?.[id]?.full_m ?? Infinity;

export default {
  title: "Gates and tanks",
  labelled: (mark) => (mark.kind === "gate" ? "center" : (mark.kind === "tank" || mark.kind === "tide") && "right"),
  gauges: [
    { key: "fullest", label: "fullest tank", unit: "%", scale: 100, digits: 0 },
    { key: "rain_mmh", label: "most rain", unit: "mm/h", digits: 1 },
    { key: "flow_cms", label: "through gates", unit: "m³/s", digits: 2 },
  ],
  paint(kind, id, frame, info, colours) {
    if (kind === "pipe") return { color: colours.line, weight: 2 };
    if (kind === "junction") return { color: colours.line, fill: colours.surface, weight: 1, radius: 3 };
    if (kind === "outfall") return { color: colours.muted, fill: colours.surface, weight: 2, radius: 6, text: "" };
    if (!frame) return { color: colours.muted, fill: colours.surface, weight: 2, radius: 9 };
    if (kind === "tide") {
      const level = frame.readings.tide_m?.[info.index.tide.get(id)];
      return { color: colours.sky, fill: colours.sky, weight: 2, radius: 8, text: text(level, "m"), tip: `${id}: ${text(level, "m")}` };
    }
    if (kind === "tank") {
      const k = info.index.tank.get(id);
      const depth = frame.readings.depth_m?.[k];
      if (!known(depth)) return { color: colours.muted, fill: colours.surface, dash: "2 4", radius: 11, text: "?" };
      const share = depth / fullM(info, id);
      const color = share >= 0.95 ? colours.red : share > 0.7 ? colours.orange : colours.blue;
      return {
        color,
        fill: mix(colours.surface, color, 0.15 + 0.8 * share),
        weight: 2.5,
        radius: 12,
        text: `${(100 * share).toFixed(0)} %`,
        tip: `${id}: ${depth.toFixed(2)} m`,
      };
    }
    const setting = frame.readings.setting?.[info.index.gate.get(id)];
    const manual = id in (frame.overridden ?? {});
    return {
      color: manual ? colours.pink : setting < 0.02 ? colours.red : colours.green,
      weight: 3 + 6 * (setting ?? 0),
      dash: setting < 0.02 ? "2 6" : null,
      text: known(setting) ? `${(100 * setting).toFixed(0)} %` : "?",
      tip: `${id}: ${(100 * setting).toFixed(0)} % open, ${text(frame.readings.flow_cms?.[info.index.gate.get(id)], "m³/s")}`,
    };
  },
  legend: (colours) => [
    { color: colours.green, text: "gate, wider the more it is open" },
    { color: colours.red, dash: true, text: "gate shut" },
    { color: colours.blue, round: true, text: "tank, with its filling" },
    { color: colours.orange, round: true, text: "above 70 %" },
    { color: colours.red, round: true, text: "full" },
    { color: colours.muted, round: true, text: "outfall" },
    { color: colours.sky, dot: true, text: "tide, with its level" },
  ],
  readouts: (frame, info) =>
    [...(info.index.gauge?.keys() ?? [])].map((id, k) => ({
      label: `rain ${id}`,
      value: frame.readings.rain_mmh?.[k],
      unit: "mm/h",
      digits: 1,
    })),
  fields: () => [{ label: "opening", said: (value) => `${(100 * value).toFixed(0)} % open` }],
  reasons: {
    no_request: "nothing was asked for: it stays",
    no_level: "the level is not known: its safe position",
    dwell: "it has just moved, and rests",
    moves: "its movements of the day are used up",
    rate: "it moves no faster",
    deadband: "too small a change to wear the gear",
    tide: "the tide stands too high",
    dry: "its tank is nearly empty",
    all_shut: "a full tank keeps one gate open",
  },
};

function text(value, unit) {
  return known(value) ? `${number(value, 2)} ${unit}` : "not known";
}
