// All sites as tiles, what needs a person first.
import { alarms, sites, unseen } from "../store.js";
import { now } from "../time.js";
import { Spark } from "../parts/chart.jsx";
import { Age, Empty, number, Priority, Source, taken } from "../parts/common.jsx";
import { gaugesOf } from "../systems/index.js";
import { ChangeTable } from "./activity.jsx";
import { AlarmTable } from "./alarms.jsx";
import { compare, RANK } from "../urgency.js";

const at = (site) => (alarm) => alarm.system === site.system && alarm.site === site.name;

/** Lower comes first: alarms that nobody has acknowledged by priority, silence, fallback or a hand on it, then the rest. */
function urgency(site) {
  const [first] = unseen.value.filter(at(site)); // the service tells the most urgent first
  const worst = first ? RANK[first.priority] + (first.state === "returned" ? 0.5 : 0) : 9;
  const source = site.last.value?.source;
  const calm = site.last.value === null ? 3 : site.stale.value ? 0 : source === "fallback" ? 1 : source === "manual" ? 2 : 3;
  return [worst, calm, site.ref];
}

function Tile({ site }) {
  const frame = site.last.value;
  const stale = site.stale.value;
  const open = alarms.value.alarms.filter(at(site)).filter((a) => !(a.shelved_until_s > now.value));
  const waiting = unseen.value.filter(at(site));
  const [worst] = waiting;
  const telemetry = site.telemetry.value;
  const byHand = Object.keys(frame?.overridden ?? {}).length;
  return (
    <a class={`tile${stale ? " is-stale" : ""}${worst ? ` alarm-${worst.priority}` : ""}`} href={`#/site/${site.ref}`}>
      <div class="tile-head">
        <h2>{site.name}</h2>
        <span class="kind">{site.kind.title ?? site.system}</span>
      </div>
      <div class="tile-charge">
        {frame ? <Source frame={frame} /> : <span class="badge">waiting for its plant</span>}
        {byHand > 0 && frame.source !== "manual" && (
          <span class="badge source-manual">
            <span aria-hidden="true">✍</span> {byHand} by hand
          </span>
        )}
        <span class="controller">
          {frame?.source === "manual" && "instead of "}
          {frame?.controller ?? site.controller}
        </span>
      </div>
      <dl class="gauges">
        {frame &&
          gaugesOf(site.kind, frame)
            .slice(0, 3)
            .map((gauge) => (
              <div key={gauge.key}>
                <dt>{gauge.label}</dt>
                <dd>
                  {number(gauge.value, gauge.digits)} <small>{gauge.unit}</small>
                </dd>
              </div>
            ))}
      </dl>
      {frame && <Trend site={site} />}
      {frame && !stale && <Health frame={frame} />}
      {telemetry?.twin && telemetry.twin.controller !== frame?.controller && <Twin telemetry={telemetry} />}
      <div class="tile-foot">
        {worst ? (
          <span class="tile-alarm">
            <Priority priority={worst.priority} /> {worst.state === "returned" && <em>returned: </em>}
            {worst.text}
            {waiting.length > 1 && <> and {waiting.length - 1} more</>}
          </span>
        ) : (
          <span>{open.length ? `${open.length} alarm${open.length > 1 ? "s" : ""}, acknowledged` : frame ? "no alarm" : ""}</span>
        )}
        <Age at={frame?.at_s} stale={stale} />
      </div>
    </a>
  );
}

/** Whether readings can be trusted, and answers come in time. */
function Health({ frame }) {
  const found = frame.findings?.length ?? 0;
  return (
    <p class="health">
      {found ? (
        <span class="problem">
          <span aria-hidden="true">▲</span> {found} finding{found === 1 ? "" : "s"} in the readings
        </span>
      ) : (
        <span>
          <span aria-hidden="true">✓</span> readings trusted
        </span>
      )}
      <span>
        answered in {taken(frame)}
      </span>
    </p>
  );
}

/** Ticks that a trend goes back. */
const TREND = 120;

function Trend({ site }) {
  const [first] = gaugesOf(site.kind, site.last.value);
  if (!first) return null;
  return (
    <Spark
      label={`Trend of ${first.label}, ${TREND} ticks at most`}
      values={() => {
        site.last.value;
        return site.course.slice(-TREND).map((point) => point.gauges[0]);
      }}
    />
  );
}

/** The cost so far beside what the fallback has cost in the same plant, run beside it. */
function Twin({ telemetry }) {
  const { value, label } = telemetry.cost;
  const twin = telemetry.twin.value;
  if (!(twin > 0)) {
    if (value > 0) return null;
    return (
      <p class="twin">
        {label}: none yet, nor under {telemetry.twin.controller}, the fallback, simulated beside it
      </p>
    );
  }
  const share = value / twin - 1;
  const much = Math.abs(share * 100).toFixed(0);
  return (
    <p class="twin">
      {label}: <strong>{much === "0" ? "as much as" : `${much} % ${share < 0 ? "less than" : "more than"}`}</strong>{" "}
      under {telemetry.twin.controller}, the fallback, simulated beside it
    </p>
  );
}

const LATEST = 5;

/** Alarms that nobody has acknowledged yet, the most urgent first. */
function Needs() {
  const list = unseen.value;
  const more = list.length - LATEST;
  return (
    <section aria-label={list.length ? "Alarms to acknowledge" : undefined}>
      <AlarmTable list={list} most={LATEST} caption="Alarms that nobody has acknowledged yet" />
      {more > 0 && (
        <p class="hint">
          <a href="#/alarms">{more} more in the list of alarms</a>
        </p>
      )}
    </section>
  );
}

export function City() {
  const list = [...sites.value.values()].sort((a, b) => compare(urgency(a), urgency(b)));
  const waiting = list.filter((site) => site.last.value === null).length;
  const needy = list.filter((site) => urgency(site)[0] < 9 || (site.last.value && urgency(site)[1] < 2)).length;
  return (
    <>
      <h1>
        City{" "}
        <small>
          {list.length} site{list.length === 1 ? "" : "s"},{" "}
          {needy ? `${needy} need${needy === 1 ? "s" : ""} a look` : "none needs a person"}
          {waiting ? ` · ${waiting} wait${waiting === 1 ? "s for its plant" : " for their plants"}` : ""} · {alarms.value.rate} alarm
          {alarms.value.rate === 1 ? "" : "s"} in ten minutes
        </small>
      </h1>
      {list.length ? (
        <div class="tiles">
          {list.map((site) => (
            <Tile key={site.ref} site={site} />
          ))}
        </div>
      ) : (
        <Empty>No site of yours is served here.</Empty>
      )}
      <Needs />
      <section aria-label="Changes of late">
        <ChangeTable most={LATEST} caption="Changed last" />
      </section>
    </>
  );
}
