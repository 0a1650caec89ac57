// A building from the side: floors where they are by estimate, much enlarged; dampers by their command.
import { number } from "../parts/common.jsx";
import { known, mix } from "./palette.js";

/** The largest drift that was seen is drawn as this share of a storey. */
const SHOWN = 0.3;

function offsets(frame, info, height) {
  const drifts = frame?.readings.drift_est_mm ?? [];
  const most = Math.max(info.largest ?? 0, ...drifts.map((d) => Math.abs(d ?? 0)), 0.5);
  info.largest = Math.max(most, (info.largest ?? 0) * 0.998);
  let x = 0;
  return [0, ...drifts.map((d) => (x += ((d ?? 0) / most) * SHOWN * height))];
}

export default {
  title: "Building",
  /** Dampers by their command, storeys by their drift, beside the column on the right. */
  labelled: (mark) => (mark.kind === "damper" ? "center" : mark.kind === "storey" && mark.points[0][0] > 0 && "right"),
  /** Its structure is listened to. */
  structure: true,
  gauges: [
    { key: "drift_peak_mm", label: "peak drift", unit: "mm", digits: 2 },
    { key: "accel_peak_m_s2", label: "peak acceleration", unit: "m/s²", digits: 2 },
    { key: "level", label: "highest command", unit: "%", scale: 100, digits: 0 },
  ],
  shape(mark, frame, info) {
    const ys = info.heights ?? [];
    const shifts = offsets(frame, info, ys[1] ?? 1);
    return mark.points.map(([x, y]) => {
      let k = 0;
      while (k < ys.length - 1 && Math.abs(ys[k] - y) > 1e-6) k++;
      return [x + (shifts[k] ?? 0), y];
    });
  },
  paint(kind, id, frame, info, colours) {
    if (kind === "ground") return { color: colours.ink, weight: 5 };
    if (kind === "floor") return { color: colours.ink, weight: 6, tip: id };
    if (!frame) return { color: colours.muted, weight: 3 };
    if (kind === "storey") {
      const drift = frame.readings.drift_est_mm?.[info.index.storey.get(id)];
      const text = known(drift) ? `${number(drift, 2)} mm` : "?";
      return { color: colours.muted, weight: 4, text, tip: `${id} drifts by ${text}, an estimate` };
    }
    const k = info.index.damper.get(id);
    const level = frame.readings.level?.[k] ?? 0;
    const heard = known(frame.readings.force_n?.[k]);
    const manual = id in (frame.overridden ?? {});
    return {
      color: manual ? colours.pink : mix(colours.sky, colours.blue, level),
      weight: 3 + 6 * level,
      dash: heard ? null : "2 6",
      text: `${(100 * level).toFixed(0)} %`,
      tip: `${id}: ${(100 * level).toFixed(0)} %, ${heard ? `${number(frame.readings.force_n[k], 0)} N` : "silent"}`,
    };
  },
  legend: (colours) => [
    { color: colours.blue, text: "damper with its command, wider with it" },
    { color: colours.muted, text: "storey with its drift; the sway is drawn much enlarged" },
  ],
  readouts: (frame) => [{ label: "ground", value: frame.readings.ground_m_s2?.[0], unit: "m/s²", digits: 2 }],
  fields: () => [{ label: "share of full voltage", said: (value) => `${(100 * value).toFixed(0)} %` }],
  reasons: {
    no_request: "nothing was asked for: the safe level",
    in_doubt: "its sensors are in doubt: the safe level",
    stroke: "near the end of its stroke: full voltage",
    force: "near its rated force: no more voltage",
    slew: "voltage changes no faster",
  },
  loops: (frames, k) =>
    frames
      .map((frame) => [frame.readings.stroke_mm?.[k], frame.readings.force_n?.[k]])
      .filter(([x, y]) => known(x) && known(y)),
};
