// One site: its plant as it is, or as it was; who is in charge; what was decided and why.
import { useSignal } from "@preact/signals";
import { useEffect, useMemo } from "preact/hooks";
import { alarms, may } from "../store.js";
import { clock, plantClock } from "../time.js";
import { Age, number, Source } from "../parts/common.jsx";
import { Chart, Loop } from "../parts/chart.jsx";
import { SceneMap } from "../parts/map.jsx";
import { Timeline } from "../parts/timeline.jsx";
import { gaugesOf } from "../systems/index.js";
import { palette } from "../systems/palette.js";
import { AlarmTable } from "./alarms.jsx";
import { Overrides } from "./overrides.jsx";
import { Policies } from "./policies.jsx";
import { Structure } from "./structure.jsx";
import { History } from "../history.js";

const CHARTED = ["blue", "orange", "green", "pink"];

export function SiteView({ site }) {
  const history = useMemo(() => new History(site), [site]);
  const chosen = useSignal("");
  const problem = useSignal("");
  const frame = history.shown;
  useEffect(() => {
    site.refresh().catch(() => {});
    site.loadScene().catch((error) => (problem.value = error.message));
    return () => history.stop();
  }, [site]);
  const shown = frame.value;
  const past = history.at.value !== null;
  const stale = !past && site.stale.value;
  const mine = alarms.value.alarms.filter((a) => a.system === site.system && a.site === site.name);
  if (!site.scene.value || !site.info.value) return <p class="empty">{problem.value || "Asking for the site…"}</p>;
  return (
    <div class="site">
      <h1>
        {site.name} <small>{site.description}</small>
      </h1>
      <div class={`site-main${stale ? " is-stale" : ""}${past ? " is-past" : ""}`}>
        <section class="plant" aria-label="Plant">
          <p class="stamp" role="status">
            {past ? (
              <strong>
                As it was at {shown ? clock(shown.at_s) : "a time that is not known"}: not now
              </strong>
            ) : stale ? (
              <strong>
                Old: the last value came <Age at={shown?.at_s} stale />
              </strong>
            ) : (
              <>
                Live · tick {shown?.tick} · plant {plantClock(shown?.time_s ?? 0)} · <Age at={shown?.at_s} />
              </>
            )}
          </p>
          <SceneMap site={site} frame={frame} chosen={chosen} label={`${site.kind.title} of ${site.name}`} />
          <Legend site={site} />
        </section>
        <Charge site={site} frame={shown} past={past} chosen={chosen} />
      </div>
      <Timeline history={history} />
      <Gauges site={site} history={history} />
      {site.kind.loops && <Loops site={site} />}
      {site.kind.structure && <Structure site={site} />}
      {mine.length > 0 && <AlarmTable list={mine} caption="Alarms of this site" />}
      <Policies site={site} />
      <Decision frame={shown} site={site} />
    </div>
  );
}

function Legend({ site }) {
  const colours = palette();
  return (
    <ul class="legend">
      {site.kind.legend(colours).map((item) => (
        <li key={item.text}>
          <span class={`swatch${item.dash ? " dash" : ""}${item.round ? " round" : ""}`} style={{ color: item.color }} />
          {item.text}
        </li>
      ))}
      <li>
        <span class="swatch round" style={{ color: colours.pink }} /> by hand
      </li>
    </ul>
  );
}

function Charge({ site, frame, past, chosen }) {
  const state = site.state.value;
  return (
    <section class="charge" aria-label="In charge">
      <h2>In charge</h2>
      {frame ? (
        <>
          <p>
            <Source source={frame.source} /> <strong>{frame.controller}</strong>
            {frame.bundle && <code title={frame.bundle}>{frame.bundle.slice(0, 12)}</code>}
          </p>
          {!past && frame.source !== "fallback" && state?.in_charge?.why && <p class="hint">{state.in_charge.why}.</p>}
          {frame.fallback_reason && <p class="note">Why the fallback: {frame.fallback_reason}</p>}
          <dl class="facts">
            <div>
              <dt>answered in</dt>
              <dd>
                {number(frame.latency_ms, 1)} of {number(frame.deadline_ms, 0)} ms
              </dd>
            </div>
            <div>
              <dt>asked by</dt>
              <dd>{frame.who}</dd>
            </div>
            <div>
              <dt>guard changed</dt>
              <dd>
                {frame.interventions.length} of {Object.keys(frame.commands).length}
              </dd>
            </div>
          </dl>
          <Findings frame={frame} />
        </>
      ) : (
        <p class="empty">No plant has asked yet.</p>
      )}
      {!past && <Overrides site={site} frame={frame} state={state} chosen={chosen} may={may("operate", site)} />}
    </section>
  );
}

function Findings({ frame }) {
  if (!frame.findings?.length) return null;
  return (
    <details open>
      <summary>What the input checks found ({frame.findings.length})</summary>
      <ul class="findings">
        {frame.findings.slice(0, 12).map((text) => (
          <li key={text}>{text}</li>
        ))}
      </ul>
    </details>
  );
}

function Gauges({ site, history }) {
  const last = site.last.value;
  const gauges = last ? gaugesOf(site.kind, last) : [];
  return (
    <section class="charts" aria-label="Course of the plant">
      {gauges.map((gauge, k) => (
        <figure key={gauge.key}>
          <figcaption>
            {gauge.label} {gauge.unit && <small>({gauge.unit})</small>}
          </figcaption>
          <Chart
            label={`${gauge.label} over time`}
            lines={[{ label: gauge.label, colour: CHARTED[k % 4] }]}
            data={() => [history.course.value.map((p) => p.at_s), history.course.value.map((p) => p.gauges[k])]}
            mark={() => history.at.value}
          />
        </figure>
      ))}
      <figure>
        <figcaption>
          answered in <small>(ms)</small>
        </figcaption>
        <Chart
          label="Latency over time"
          lines={[{ label: "latency", colour: "muted" }]}
          data={() => [history.course.value.map((p) => p.at_s), history.course.value.map((p) => p.latency_ms)]}
          mark={() => history.at.value}
        />
      </figure>
    </section>
  );
}

const LOOPED = 400;

function Loops({ site }) {
  const info = site.painting();
  const ids = [...info.index.damper.keys()];
  return (
    <section class="charts" aria-label="Force over stroke">
      {ids.map((id, k) => (
        <figure key={id}>
          <figcaption>
            {id}: force over stroke <small>(the last {LOOPED} ticks)</small>
          </figcaption>
          <Loop
            label={`Force over stroke of damper ${id}`}
            xLabel="mm"
            yLabel="N"
            points={() => site.last.value && site.kind.loops(site.frames.slice(-LOOPED), k)}
          />
        </figure>
      ))}
    </section>
  );
}

function Decision({ frame, site }) {
  if (!frame) return null;
  const changed = new Map(frame.interventions.map((change) => [change.agent, change]));
  const rows = Object.entries(frame.commands);
  return (
    <details class="decision">
      <summary>
        Commands of tick {frame.tick} ({rows.length})
      </summary>
      <div class="scroll">
        <table>
          <thead>
            <tr>
              <th scope="col">Agent</th>
              <th scope="col">Command</th>
              <th scope="col">Asked for</th>
              <th scope="col">Why it was changed</th>
            </tr>
          </thead>
          <tbody>
            {rows.map(([agent, command]) => {
              const change = changed.get(agent);
              return (
                <tr key={agent}>
                  <th scope="row">{agent}</th>
                  <td>{said(command[site.command] ?? command.program)}</td>
                  <td>{change ? said(change.requested) : ""}</td>
                  <td>{frame.overridden?.[agent] ? `by hand: ${frame.overridden[agent]}` : change?.reason}</td>
                </tr>
              );
            })}
          </tbody>
        </table>
      </div>
    </details>
  );
}

function said(value) {
  if (Array.isArray(value)) return value.map(said).join(", ");
  if (typeof value === "number") return Number.isInteger(value) ? String(value) : value.toFixed(3);
  return value === null || value === undefined ? "nothing that exists" : String(value);
}
