// A strip of the last hour: who was in charge, where the guard stepped in; drag it to look back.
import { me } from "../store.js";
import { clock, now, span } from "../time.js";
import { useDrawing } from "./drawing.js";

const COLOUR = { champion: "blue", canary: "sky", fallback: "orange", manual: "pink" };
const TALL = 44;
const UNKEPT = "No audit log is kept here: what was before this page was opened is not known.";

export function Timeline({ history }) {
  const points = history.course.value;
  const first = points[0]?.at_s ?? now.value - 60;
  const last = Math.max(points.at(-1)?.at_s ?? now.value, first + 1);
  const at = history.at.value;

  const box = useDrawing((pen, { width }, colours) => {
    const list = history.course.value;
    if (!list.length) return;
    const from = list[0].at_s;
    const to = Math.max(list.at(-1).at_s, from + 1);
    const x = (time) => ((time - from) / (to - from)) * (width - 2) + 1;
    const gaps = list.slice(1).map((point, k) => point.at_s - list[k].at_s);
    const usual = [...gaps].sort((a, b) => a - b)[gaps.length >> 1] ?? 1;
    list.forEach((point, k) => {
      const left = x(point.at_s);
      // A decision holds until the next, unless that never came.
      const right = x(point.at_s + Math.min(gaps[k] ?? usual, 3 * usual));
      pen.fillStyle = colours[COLOUR[point.source]] ?? colours.muted;
      pen.globalAlpha = 0.85;
      // Fallback and manual stand higher: told apart without colour, too.
      const high = point.source === "champion" || point.source === "canary" ? 10 : 18;
      pen.fillRect(left, TALL - 12 - high, Math.max(right - left, 1), high);
      pen.globalAlpha = 1;
      if (point.guarded) {
        pen.fillStyle = colours.red;
        pen.fillRect(left, TALL - 11, 1.5, 4);
      }
      if (point.found) {
        pen.fillStyle = colours.ink;
        pen.fillRect(left, TALL - 5, 1.5, 4);
      }
    });
    const here = history.at.value;
    if (here !== null) {
      pen.fillStyle = colours.ink;
      pen.fillRect(x(Math.min(Math.max(here, from), to)) - 1, 0, 2, TALL);
    }
  }, [history]);

  return (
    <section class="timeline" aria-label="Time line">
      <canvas ref={box} height={TALL} aria-hidden="true" />
      <div class="timeline-row">
        <label>
          <span class="hidden">Look back: time</span>
          <input
            type="range"
            min={first}
            max={last}
            step="any"
            value={at ?? last}
            aria-valuetext={at === null ? "now" : clock(at)}
            onInput={(event) => {
              const value = Number(event.target.value);
              history.look(value >= last - (last - first) * 0.002 ? null : value);
            }}
          />
        </label>
        <button type="button" onClick={() => history.look(null)} disabled={at === null}>
          Back to now
        </button>
      </div>
      <p class="hint">
        {history.loading.value ? "Asking for what was before… " : ""}
        {me.value && !me.value.audit ? `${UNKEPT} ` : ""}
        {history.problem.value ? `What was before this page was opened is not shown: ${history.problem.value}. ` : ""}
        {span(last - first)} · policy low, fallback and hand high · red: the guard changed something · black: a check found
        something
      </p>
    </section>
  );
}
