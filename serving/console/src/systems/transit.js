// The fleet: zones by who waits and what stands idle, vehicles where they are.
import { mix } from "./palette.js";

export default {
  title: "Fleet",
  gauges: [
    { key: "waiting", label: "parties waiting", unit: "", digits: 0 },
    { key: "aboard", label: "parties aboard", unit: "", digits: 0 },
    { key: "idle_veh", label: "idle vehicles", unit: "veh", digits: 0 },
    { key: "refused", label: "refused of late", unit: "", digits: 0 },
  ],
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
      text: `${idle?.[k] ?? "?"}`,
      tip: `zone ${id}: ${idle?.[k]} idle, ${waiting?.[k]} waiting, ${frame.readings.requests?.[k]} asked of late`,
    };
  },
  thing: (thing, colours) => (thing.load > 0 ? colours.ink : colours.green),
  legend: (colours) => [
    { color: colours.blue, round: true, text: "zone, with its idle vehicles" },
    { color: colours.orange, round: true, text: "many wait" },
    { color: colours.green, round: true, text: "vehicle, free" },
    { color: colours.ink, round: true, text: "vehicle, with riders" },
  ],
};
