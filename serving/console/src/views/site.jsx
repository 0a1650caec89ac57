// One site: its plant as it is, or as it was; who is in charge; what was decided and why.
import { useSignal } from "@preact/signals";
import { useEffect, useMemo } from "preact/hooks";
import { alarms, may } from "../store.js";
import { clock, plantClock } from "../time.js";
import { Age, number, Source, taken, Unasked } from "../parts/common.jsx";
import { Chart } from "../parts/chart.jsx";
import { SceneMap } from "../parts/map.jsx";
import { Loop } from "../parts/plane.jsx";
import { Timeline } from "../parts/timeline.jsx";
import { useTold } from "../parts/told.js";
import { commandText, gaugesOf, reasonText } from "../systems/index.js";
import { known, palette } from "../systems/palette.js";
import { AlarmTable } from "./alarms.jsx";
import { Overrides } from "./overrides.jsx";
import { Policies } from "./policies.jsx";
import { Structure } from "./structure.jsx";
import { History } from "../history.js";

const CHARTED = ["blue", "orange", "green", "pink"];

/** Sources of decisions of which it is told why their controller makes them. */
const DECIDES = new Set(["champion", "canary"]);

/** How often a site that is looked at is asked what the stream does not tell: how whoever is in charge has done. */
const REFRESHED_MS = 5000;

export function SiteView({ site }) {
  const history = useMemo(() => new History(site), [site]);
  const chosen = useSignal("");
  const problem = useTold(site, () => site.loadScene());
  const frame = history.shown;
  useEffect(() => {
    site.refresh();
    const again = setInterval(() => site.refresh(), REFRESHED_MS);
    return () => {
      clearInterval(again);
      history.stop();
    };
  }, [site]);
  const shown = frame.value;
  const past = history.at.value !== null;
  const stale = !past && site.stale.value;
  const mine = alarms.value.alarms.filter((a) => a.system === site.system && a.site === site.name);
  if (!site.scene.value || !site.info.value) return <p class="empty">{problem || "Asking for the site…"}</p>;
  return (
    <div class="site">
      <h1>
        {site.name} <small>{site.description}</small>
      </h1>
      <div class={`site-main${stale ? " is-stale" : ""}${past ? " is-past" : ""}`}>
        <section class="plant" aria-label="Plant">
          <Stamp site={site} history={history} />
          <SceneMap site={site} history={history} chosen={chosen} label={`${site.kind.title} of ${site.name}`} />
          <Readouts site={site} frame={shown} />
          <Legend site={site} />
        </section>
        <Charge site={site} frame={shown} past={past} chosen={chosen} />
      </div>
      <Timeline site={site} history={history} />
      <Gauges site={site} history={history} />
      {site.kind.loops && <Loops site={site} />}
      {site.kind.structure && <Structure site={site} />}
      <AlarmTable list={mine} caption={past ? "Alarms of this site, as of now" : "Alarms of this site"} sited={false} />
      <Policies site={site} />
      <Decision frame={shown} site={site} />
    </div>
  );
}

/** Whether what is shown is now, and how old it is. */
function Stamp({ site, history }) {
  const shown = history.shown.value;
  const past = history.at.value !== null;
  if (past) {
    const moves = site.telemetry.value?.things.length > 0 && !history.moves.value.length;
    return (
      <p class="stamp" role="status">
        <strong>{shown ? `As it was at ${clock(shown.at_s)}: not now` : "How it was then is not known here"}</strong>
        {moves && " · where vehicles were then is not known"}
      </p>
    );
  }
  if (!shown) {
    return (
      <p class="stamp" role="status">
        No plant has asked yet: this is where it stands, not how.
      </p>
    );
  }
  return (
    <p class="stamp" role="status">
      {site.stale.value ? (
        <strong>
          Old: the last value came <Age at={shown.at_s} stale />
        </strong>
      ) : (
        <>
          Live · tick {shown.tick} · the plant’s clock {plantClock(shown.time_s)} · <Age at={shown.at_s} />
          {history.movesOld.value && (
            <>
              {" "}
              · vehicles were last heard of <Age at={site.telemetry.value.at_s} stale />
            </>
          )}
        </>
      )}
    </p>
  );
}

/** What surrounds the plant: rain, shaking, the speed of streets. */
function Readouts({ site, frame }) {
  const list = frame ? (site.kind.readouts?.(frame, site.painting()) ?? []) : [];
  if (!list.length) return null;
  return (
    <dl class="readouts">
      {list.map(({ label, value, unit, digits }) => (
        <div key={label}>
          <dt>{label}</dt>
          <dd>
            {known(value) ? number(value, digits) : "silent"} <small>{unit}</small>
          </dd>
        </div>
      ))}
    </dl>
  );
}

function Legend({ site }) {
  const colours = palette();
  return (
    <ul class="legend">
      {site.kind.legend(colours).map((item) => (
        <li key={item.text}>
          <span class={`swatch${["dash", "round", "dot"].map((shape) => (item[shape] ? ` ${shape}` : "")).join("")}`} style={{ color: item.color }} />
          {item.text}
        </li>
      ))}
      <li>
        <span class="swatch block tall" style={{ color: colours.pink }} /> by hand
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
            <Source frame={frame} /> {frame.source === "manual" && "instead of "}
            <strong>{frame.controller}</strong>
            {frame.bundle && <code title={frame.bundle}>{frame.bundle.slice(0, 12)}</code>}
          </p>
          {!past && DECIDES.has(frame.source) && state?.in_charge?.why && <p class="hint">{state.in_charge.why}.</p>}
          {frame.fallback_reason && <p class="note">Why the fallback: {frame.fallback_reason}</p>}
          <dl class="facts">
            <div>
              <dt>answered in</dt>
              <dd>{taken(frame)}</dd>
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
        </>
      ) : (
        <p class="empty">{past ? "Not known of that time." : "Nobody yet: no plant has asked."}</p>
      )}
      {!past && <Overrides site={site} state={state} chosen={chosen} may={may("operate", site)} />}
      {!past && <Unasked site={site} role="alert" />}
      {frame && <Findings frame={frame} />}
    </section>
  );
}

/** Below what one sets by hand, in room that does not grow: findings come and go, and nothing is to move under a hand. */
function Findings({ frame }) {
  if (!frame.findings?.length) return null;
  return (
    <>
      <h2>What the input checks found</h2>
      <ul class="findings" tabIndex="0" aria-label="Findings of the input checks">
        {frame.findings.map((text) => (
          <li key={text}>{text}</li>
        ))}
      </ul>
    </>
  );
}

function Gauges({ site, history }) {
  const last = site.last.value;
  if (!last) return null;
  const gauges = gaugesOf(site.kind, last);
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
  if (!site.last.value) return null;
  return (
    <section class="charts" aria-label="Force over stroke">
      {ids.map((id, k) => (
        <figure key={id}>
          <figcaption>
            {id}: force over stroke <small>(the last {LOOPED} ticks)</small>
          </figcaption>
          <Loop
            label={`Force over stroke of damper ${id}`}
            xLabel="stroke (mm)"
            yLabel="force (N)"
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
              <th scope="col">Commanded</th>
              <th scope="col">Asked for, if the guard changed it</th>
              <th scope="col">Why</th>
            </tr>
          </thead>
          <tbody>
            {rows.map(([agent, command]) => {
              const change = changed.get(agent);
              return (
                <tr key={agent}>
                  <th scope="row">{agent}</th>
                  <td>{command.program ?? commandText(site, command[site.command])}</td>
                  <td>{change ? commandText(site, change.requested) : ""}</td>
                  <td>
                    {frame.overridden?.[agent]
                      ? `by hand: ${frame.overridden[agent]}`
                      : change && reasonText(site.kind, change.reason)}
                  </td>
                </tr>
              );
            })}
          </tbody>
        </table>
      </div>
    </details>
  );
}
