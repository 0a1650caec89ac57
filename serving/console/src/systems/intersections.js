// Junctions: lanes by their queues, paths across by their signal, the stage at the middle.
import { known, mix } from "./palette.js";

const FULL_VEH = 12;

function signal(frame, info, id) {
  const cut = id.lastIndexOf(":");
  const junction = id.slice(0, cut);
  const j = info.index.junction.get(junction);
  const stage = frame.readings.stage?.[j];
  const state = info.limits.stages?.[junction]?.[stage]?.[Number(id.slice(cut + 1))];
  const clearing = frame.readings.clearing_s?.[j] > 0;
  return { green: state === "G", permissive: state === "g", clearing };
}

export default {
  title: "Junctions",
  labelled: (mark) => mark.kind === "junction" && "right",
  gauges: [
    { key: "queue_veh", label: "standing vehicles", unit: "veh", digits: 0 },
    { key: "count_veh", label: "vehicles in sight", unit: "veh", digits: 0 },
    { key: "longest_red_s", label: "longest red", unit: "s", digits: 0 },
  ],
  paint(kind, id, frame, info, colours) {
    if (kind === "street") return { color: colours.faint, weight: 2 };
    if (kind === "exit") return { color: colours.line, weight: 3 };
    if (!frame) return { color: colours.line, weight: kind === "junction" ? 1 : 2, fill: colours.surface, radius: 9 };
    if (kind === "approach") {
      const queue = frame.readings.queue_veh?.[info.index.approach.get(id)];
      if (!known(queue)) return { color: colours.muted, weight: 3, dash: "2 5", tip: `${id}: silent` };
      const share = Math.min(queue / FULL_VEH, 1);
      const color = queue < 0.5 ? colours.green : mix(colours.yellow, colours.red, share);
      return { color, weight: 4 + 5 * share, tip: `${id}: ${queue.toFixed(0)} standing` };
    }
    if (kind === "movement") {
      const { green, permissive, clearing } = signal(frame, info, id);
      if (!green && !permissive) return { color: colours.red, weight: 1, opacity: 0.35 };
      if (clearing) return { color: colours.orange, weight: 2.5, dash: "3 3" };
      return { color: colours.green, weight: green ? 3.5 : 2.5, dash: permissive ? "6 4" : null };
    }
    const j = info.index.junction.get(id);
    const clearing = frame.readings.clearing_s?.[j] > 0;
    const manual = id in (frame.overridden ?? {});
    return {
      color: manual ? colours.pink : clearing ? colours.orange : colours.ink,
      weight: manual ? 4 : 2,
      fill: colours.surface,
      radius: 10,
      text: `stage ${frame.readings.stage?.[j] ?? "?"}`,
      tip: `${id}: stage ${frame.readings.stage?.[j]}, green for ${(frame.readings.green_s?.[j] ?? 0).toFixed(0)} s`,
    };
  },
  thing: (load, colours) => ({ fill: colours.blue, radius: 4 }),
  legend: (colours) => [
    { color: colours.green, text: "green" },
    { color: colours.green, dash: true, text: "gives way" },
    { color: colours.orange, dash: true, text: "clearing" },
    { color: colours.yellow, text: "queue" },
    { color: colours.red, text: "long queue" },
    { color: colours.blue, dot: true, text: "vehicle" },
  ],
  /** Of all junctions at once only the stages that every one of them has. */
  choices(agent, info) {
    const all = Object.values(info.limits.stages ?? {});
    if (!agent) return Array.from({ length: Math.min(...all.map((one) => one.length)) }, (_, value) => ({ value, text: `stage ${value}` }));
    return info.limits.stages[agent].map((state, value) => {
      const green = [...state].filter((signal) => signal === "G" || signal === "g").length;
      return { value, text: `stage ${value}: ${green} of ${state.length} ways green` };
    });
  },
  reasons: {
    invalid: "there is no such stage",
    clearing: "the junction is being cleared",
    min_green: "its shortest green is not over",
    max_red: "somebody has waited as long as is allowed",
  },
};
