// The fleet: zones by who waits and what stands idle, vehicles where they are.
import { mix } from "./palette.js";

/** Vehicles that should stand in every zone: its share, by the scores of all, of those that are idle or soon will be. */
function wanted(frame, info) {
  const { idle_veh: idle = [], inbound_veh: inbound = [], soon_veh: soon = [] } = frame.readings;
  const vehicles = [idle, inbound, soon].flat().reduce((sum, count) => sum + (count ?? 0), 0);
  const scores = [...info.index.zone.keys()].map((id) => frame.commands[id]?.target?.[0]);
  if (scores.some((score) => score === undefined)) return [];
  const most = Math.max(...scores);
  const powers = scores.map((score) => Math.exp(info.limits.targets.range * (score - most)));
  const total = powers.reduce((sum, power) => sum + power, 0);
  return powers.map((power) => (vehicles * power) / total);
}

export default {
  title: "Fleet",
  labelled: (mark) => mark.kind === "zone" && "right",
  gauges: [
    { key: "waiting", label: "parties waiting", unit: "", digits: 0 },
    { key: "aboard", label: "parties aboard", unit: "", digits: 0 },
    { key: "idle_veh", label: "idle vehicles", unit: "veh", digits: 0 },
    { key: "refused", label: "requests refused", unit: "", digits: 0 },
  ],
  /** What a whole frame says once, before its marks are painted. */
  prepare: (frame, info) => (info.wanted = wanted(frame, info)),
  paint(kind, id, frame, info, colours) {
    if (kind === "road") return { color: colours.line, weight: 1.5 };
    if (kind === "stop") return { color: colours.muted, fill: colours.surface, weight: 1, radius: 2.5 };
    if (!frame) return { color: colours.muted, fill: colours.surface, weight: 2, radius: 12 };
    const k = info.index.zone.get(id);
    const { waiting, idle_veh: idle } = frame.readings;
    const manual = id in (frame.overridden ?? {});
    const share = Math.min((waiting?.[k] ?? 0) / 6, 1);
    return {
      color: manual ? colours.pink : share > 0.5 ? colours.orange : colours.blue,
      fill: mix(colours.surface, share > 0.5 ? colours.orange : colours.blue, 0.12 + 0.5 * share),
      weight: manual ? 4 : 2,
      radius: 14,
      text: `${idle?.[k] ?? "?"} / ${info.wanted[k]?.toFixed(1) ?? "?"}`,
      tip: `zone ${id}: ${idle?.[k]} idle, ${waiting?.[k]} waiting, ${frame.readings.requests?.[k]} requests of late`,
    };
  },
  thing: (load, colours) => ({ fill: load > 0 ? colours.ink : colours.green, radius: 4 + Math.min(load, 4) / 2 }),
  legend: (colours) => [
    { color: colours.blue, round: true, text: "zone: idle vehicles / wanted there; deeper: more parties wait" },
    { color: colours.orange, round: true, text: "four parties and more wait" },
    { color: colours.green, dot: true, text: "vehicle, empty" },
    { color: colours.ink, dot: true, text: "vehicle with riders, larger with more" },
  ],
  readouts: (frame) => [{ label: "speed on the streets", value: 100 * frame.readings.speed?.[0], unit: "% of free flow", digits: 0 }],
  /** Of all zones at once no share is set: they would have equal ones, whatever it is. */
  fields(info, agent) {
    const { range, faster } = info.limits.targets;
    return [
      {
        label: "share of idle vehicles, beside a usual zone’s",
        short: "share",
        ...(agent ? {} : { fixed: 0 }),
        said: (value) => `× ${Number(Math.exp(range * value).toPrecision(2))}`,
      },
      { label: "how much a wait counts here", short: "a wait counts", said: (value) => `× ${(faster ** value).toFixed(2)}` },
    ];
  },
  reasons: { no_request: "nothing was asked for: the rule of practice", closed: "no vehicle may stand there" },
};
