// A strip of the last hour: who was in charge, where and why the guard stepped in; drag it to look back.
import { me } from "../store.js";
import { clock, now, span } from "../time.js";
import { commandText, reasonText } from "../systems/index.js";
import { palette } from "../systems/palette.js";
import { useDrawing } from "./drawing.js";

const COLOUR = { champion: "blue", canary: "sky", fallback: "orange", manual: "pink" };
const TALL = 58;
const BASE = 30;

/** How high a policy's decisions stand; what stands above them where some agents are held by hand. */
const LOW = 12;
const SOME = 4;
const UNKEPT = "No audit log is kept here: what was before this page was opened is not known.";

/** Room that a time takes below the strip, and steps from one to the next that people count in, in seconds. */
const TIME_PX = 90;
const STEPS = [5, 10, 15, 30, 60, 120, 300, 600, 900];

/** Changes by the guard that are told of a decision. */
const TOLD = 4;

function times(pen, from, to, x, width, colours) {
  const least = ((to - from) * TIME_PX) / width;
  const step = STEPS.find((one) => one >= least) ?? 1800;
  pen.fillStyle = colours.muted;
  pen.font = "11px system-ui";
  pen.textAlign = "center";
  for (let at = Math.ceil(from / step) * step; at <= to; at += step) {
    const left = x(at);
    if (left < TIME_PX / 3 || left > width - TIME_PX / 3) continue;
    pen.fillRect(left, BASE + 11, 1, 3);
    pen.fillText(clock(at), left, TALL - 2);
  }
}

export function Timeline({ site, history }) {
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
    for (const point of list) {
      // Whole pixels: between halves the ground would shine through.
      const left = Math.floor(x(point.at_s));
      const wide = Math.max(Math.ceil(x(Math.min(point.until_s, to))) - left, 1);
      pen.fillStyle = colours[COLOUR[point.source]] ?? colours.muted;
      // Fallback and manual stand higher: told apart without colour, too.
      const high = point.source === "champion" || point.source === "canary" ? LOW : 2 * LOW;
      pen.fillRect(left, BASE - high, wide, high);
      if (point.hand && high === LOW) {
        pen.fillStyle = colours.pink;
        pen.fillRect(left, BASE - LOW - SOME, wide, SOME);
      }
      if (point.reasons.length) {
        pen.fillStyle = colours.red;
        pen.fillRect(left, BASE + 1, 1.5, 4);
      }
      if (point.found) {
        pen.fillStyle = colours.ink;
        pen.fillRect(left, BASE + 6, 1.5, 4);
      }
    }
    times(pen, from, to, x, width, colours);
    const here = history.at.value;
    if (here !== null) {
      pen.fillStyle = colours.ink;
      pen.fillRect(x(Math.min(Math.max(here, from), to)) - 1, 0, 2, BASE + 10);
    }
  }, [history]);

  return (
    <section class="timeline" aria-label="Time line">
      <h2>
        What was decided <small>in {points.length ? `the last ${span(last - first)}` : "the last hour: nothing yet"}</small>
      </h2>
      <canvas ref={box} style={{ height: `${TALL}px` }} aria-hidden="true" />
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
      <p class="decided">
        <Decided site={site} frame={history.shown.value} past={at !== null} />
      </p>
      <Key />
      <p class="hint">
        {history.loading.value ? "Asking for what was before… " : ""}
        {me.value && !me.value.audit ? `${UNKEPT} ` : ""}
        {history.problem.value ? `What was before this page was opened is not shown: ${history.problem.value}. ` : ""}
        {history.unknown.value.map(({ from_s, until_s }) => (
          <>Decisions {from_s ? `after ${clock(from_s)} and ` : ""}before {clock(until_s)} may be missing here. </>
        ))}
        <Reasons site={site} points={points} />
      </p>
    </section>
  );
}

/** Who decided what is shown, and what the guard made of it. */
function Decided({ site, frame, past }) {
  if (!frame) return past ? "What was decided then is not known here." : "Nobody has decided anything yet.";
  const changes = frame.interventions;
  return (
    <>
      <strong>{clock(frame.at_s)}</strong> {frame.source === "manual" ? "everything was held by hand" : `${frame.controller} decided`}
      {changes.length ? ", and the guard changed: " : "; the guard let everything through."}
      {changes
        .slice(0, TOLD)
        .map((one) => `${one.agent} to ${commandText(site, one.commanded)} (${reasonText(site.kind, one.reason)})`)
        .join("; ")}
      {changes.length > TOLD && `; and ${changes.length - TOLD} more`}
    </>
  );
}

function Key() {
  const colours = palette();
  return (
    <ul class="legend">
      {[
        ["blue", "block", "policy or rule"],
        ["sky", "block", "canary"],
        ["orange", "block tall", "fallback"],
        ["pink", "block tall", "by hand; thin: some agents"],
        ["red", "tick", "the guard changed something"],
        ["ink", "tick", "a check found something"],
      ].map(([colour, shape, text]) => (
        <li key={text}>
          <span class={`swatch ${shape}`} style={{ color: colours[colour] }} />
          {text}
        </li>
      ))}
    </ul>
  );
}

/** The guard's reasons in all that the strip shows; of long ago it shows some decisions, and others may be missing. */
function Reasons({ site, points }) {
  const counts = new Map();
  for (const reason of points.flatMap((point) => point.reasons)) counts.set(reason, (counts.get(reason) ?? 0) + 1);
  if (!points.length || !counts.size) return points.length ? "The guard changed nothing in any decision shown here." : "";
  const told = [...counts].sort((a, b) => b[1] - a[1]).map(([reason]) => reasonText(site.kind, reason));
  return `Why the guard changed something in the decisions shown here, the most frequent first: ${told.join("; ")}.`;
}
