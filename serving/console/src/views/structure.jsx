// What a building's health monitor has heard: how probable a loss is, every storey's stiffness, what to do.
import { now, span } from "../time.js";
import { Age, Empty } from "../parts/common.jsx";
import { Chart } from "../parts/chart.jsx";
import { useTold } from "../parts/told.js";

/** A report is old after so many times as long as reports usually take, and after so many seconds at least. */
const STALE_PERIODS = 2;
const STALE_S = 60;

const percent = (share, digits = 0) => `${(100 * share).toFixed(digits)} %`;

/** In words, as nobody knows a probability to the last digit. */
const chance = (p) => (p === null ? "not known" : p > 0.99 ? "above 99 %" : p < 0.01 ? "below 1 %" : percent(p));

const ALARMS = {
  none: { sign: "●", text: "no alarm", colour: "source-champion" },
  watch: { sign: "▲", text: "one window is unusual", colour: "priority-medium" },
  alarm: { sign: "◆", text: "alarm", colour: "priority-high" },
};

export function Structure({ site }) {
  useTold(site, () => site.loadStructure());
  const { monitor, why, windows } = site.structure.value ?? {};
  if (monitor === undefined) return null;
  return (
    <section class="structure" aria-label="Health monitor">
      <h2>Health monitor</h2>
      {!monitor ? (
        <Empty>No health monitor: {why}.</Empty>
      ) : windows.length ? (
        <Heard site={site} monitor={monitor} windows={windows} />
      ) : (
        <Empty>
          It listens, and has heard no whole window yet: one takes {span(monitor.window_s)} of the building's own time.
        </Empty>
      )}
    </section>
  );
}

/** How long from one report to the next, usually; after the first: as long as a window takes by the clock here. */
function period(site, monitor, windows) {
  const gaps = windows.slice(1).map((one, k) => one.at_s - windows[k].at_s);
  if (gaps.length) return [...gaps].sort((a, b) => a - b)[gaps.length >> 1];
  const [first, last] = [site.frames[0], site.frames.at(-1)];
  const pace = (last?.at_s - first?.at_s) / (last?.time_s - first?.time_s);
  return monitor.window_s * (pace > 0 && Number.isFinite(pace) ? pace : 1);
}

function Heard({ site, monitor, windows }) {
  const { at_s, report } = windows.at(-1);
  const stale = now.value - at_s > Math.max(STALE_PERIODS * period(site, monitor, windows), STALE_S);
  const alarm = ALARMS[report.alarm];
  const silent = report.storeys.filter((storey) => storey.deaf);
  return (
    <div class={stale ? "is-stale" : ""}>
      <p class="verdict">
        <span class={`badge ${alarm.colour}`}>
          <span aria-hidden="true">{alarm.sign}</span> {alarm.text}
        </span>
        <span class={`badge ${report.heard ? "source-champion" : "priority-medium"}`}>
          <span aria-hidden="true">{report.heard ? "◖))" : "◖ ×"}</span>{" "}
          {!report.heard
            ? "cannot hear the building"
            : silent.length
              ? `hears ${report.storeys.length - silent.length} of ${report.storeys.length} storeys`
              : "hears every storey"}
        </span>
        <span>
          probability of a loss of stiffness: <strong>{chance(report.probability)}</strong>
        </span>
        <Age at={at_s} stale={stale} />
      </p>
      <p class="recommendation">{report.recommendation}</p>
      <div class="charts">
        <figure>
          <figcaption>probability of a loss of stiffness</figcaption>
          <Chart
            label="Probability of a loss of stiffness over time"
            lines={[{ label: "probability", colour: "orange", dots: true }]}
            data={() => columns(site, (heard) => [heard.probability])}
            range={[0, 1]}
          />
        </figure>
        {report.storeys.map(({ storey }, k) => (
          <figure key={storey} class={report.alarm !== "none" && report.location === storey ? "is-suspect" : ""}>
            <figcaption>
              storey {storey} <small>{stiffness(report.storeys[k])}</small>
            </figcaption>
            <Chart
              label={`Stiffness of storey ${storey} over time, as a share of what it was`}
              lines={[
                { label: "highest", colour: "line", thin: true },
                { label: "share", colour: "blue", dots: true },
                { label: "lowest", colour: "line", thin: true },
              ]}
              band={[0, 2]}
              data={() => columns(site, (heard) => [heard.storeys[k].high, heard.storeys[k].share, heard.storeys[k].low])}
              range={[0.7, 1.1]}
            />
          </figure>
        ))}
      </div>
      <p class="hint">
        Stiffness as a share of what was learned in {monitor.learned[0] + monitor.learned[1]} windows; bands are{" "}
        {percent(monitor.interval)} intervals. It rings when {monitor.needed} of the last {monitor.of} windows are unusual; of
        healthy windows {percent(monitor.false_alarms)} may be. Silence of the monitor proves nothing.
      </p>
    </div>
  );
}

function stiffness(storey) {
  if (storey.deaf) return `(not heard: ${storey.deaf})`;
  return `${percent(storey.share, 1)} (${(100 * storey.low).toFixed(1)} to ${(100 * storey.high).toFixed(1)})`;
}

/** uPlot's arrays of the windows. */
function columns(site, of) {
  const { windows } = site.structure.value;
  const rows = windows.map((one) => of(one.report));
  return [windows.map((one) => one.at_s), ...rows[0].map((_, k) => rows.map((row) => row[k]))];
}
