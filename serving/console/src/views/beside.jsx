// Two controllers side by side on the seeds that both have met, from evaluations on this machine.
import { signal } from "@preact/signals";
import { useEffect } from "preact/hooks";
import { ask } from "../api.js";
import { date } from "../time.js";
import { brief, Empty, figure, indicator, unitOf } from "../parts/common.jsx";
import { Scatter } from "../parts/plane.jsx";

const evaluations = signal(null);
const place = signal("");
const pair = signal([0, 1]);
const found = signal(null);
const problem = signal("");

async function load() {
  evaluations.value = (await ask("/v1/evaluations", { timeout: 30_000 })).evaluations;
}

/** Scenario, protocol and seeds' split → every controller that was evaluated there, the newest first. */
function groups(list) {
  const found = new Map();
  for (const one of list) {
    const label = one.scenario.endsWith(`/${one.label}`) ? "" : ` · ${one.label}`;
    const key = `${one.scenario}${label} · ${one.hash.slice(0, 8)}${one.split === "test" ? "" : ` · ${one.split}`}`;
    if (!found.has(key)) found.set(key, []);
    for (const [controller, reached] of Object.entries(one.controllers)) {
      const { name, seeds, written_s, kpi } = one;
      found.get(key).push({ name, controller, seeds, written_s, kpi, ...reached });
    }
  }
  return new Map([...found].filter(([, members]) => members.length > 1));
}

async function compare(members) {
  const [a, b] = pair.value.map((k) => members[k]);
  if (!a || !b) return;
  const query = new URLSearchParams({ first: a.name, controller: a.controller, second: b.name, beside: b.controller });
  try {
    found.value = { ...(await ask(`/v1/evaluations/beside?${query}`)), a: a.controller, b: b.controller };
    problem.value = "";
  } catch (error) {
    found.value = null;
    problem.value = error.message;
  }
}

export function Beside() {
  useEffect(() => {
    load().catch((error) => (problem.value = error.message));
  }, []);
  const all = groups(evaluations.value ?? []);
  const chosen = all.has(place.value) ? place.value : ([...all.keys()][0] ?? "");
  const members = all.get(chosen) ?? [];
  useEffect(() => {
    compare(members);
  }, [chosen, members.length, pair.value]);
  if (problem.value && !evaluations.value) return <Empty>{problem.value}</Empty>;
  if (!evaluations.value) return <Empty>Asking…</Empty>;
  if (!all.size) {
    return (
      <Empty>
        Nothing to compare yet: <code>cityloop evaluate intersections/cologne8 -c policy -c actuated --seeds 20</code>
      </Empty>
    );
  }
  const choose = (k) => (event) => (pair.value = pair.value.map((old, i) => (i === k ? Number(event.target.value) : old)));
  return (
    <>
      <div class="pair">
        <label>
          Scenario
          <select
            value={chosen}
            onChange={(event) => {
              place.value = event.target.value;
              pair.value = [0, 1];
            }}
          >
            {[...all.keys()].map((key) => (
              <option value={key}>{key}</option>
            ))}
          </select>
        </label>
        {["Compare", "with"].map((name, k) => (
          <label key={name}>
            {name}
            <select value={pair.value[k]} onChange={choose(k)}>
              {members.map((one, i) => (
                <option value={i}>
                  {brief(one.controller)}, {one.seeds} seeds, {date(one.written_s)}
                </option>
              ))}
            </select>
          </label>
        ))}
      </div>
      {problem.value && (
        <p class="problem" role="alert">
          {problem.value}
        </p>
      )}
      {found.value && <Compared {...found.value} />}
      <Reached members={members} />
    </>
  );
}

/** Everything that was evaluated there. */
function Reached({ members }) {
  return (
    <div class="scroll">
      <table>
        <caption>
          All that was evaluated there: {indicator(members[0].kpi)}, less is better
        </caption>
        <thead>
          <tr>
            <th scope="col">Controller</th>
            {["Seeds", "Median", "90th percentile", "Worst", "Failures"].map((name) => (
              <th scope="col" class="number">
                {name}
              </th>
            ))}
            <th scope="col">Evaluated</th>
          </tr>
        </thead>
        <tbody>
          {members.map((one) => (
            <tr key={`${one.name} ${one.controller}`}>
              <th scope="row" title={one.controller}>
                {brief(one.controller)}
              </th>
              <td class="number">{one.seeds}</td>
              <td class="number">{figure(one.median)}</td>
              <td class="number">{figure(one.p90)}</td>
              <td class="number">{figure(one.worst)}</td>
              <td class="number">{one.failures}</td>
              <td class="when">{date(one.written_s)}</td>
            </tr>
          ))}
        </tbody>
      </table>
    </div>
  );
}

function Compared({ kpi, seeds, first, second, paired, ...names }) {
  const [a, b] = [brief(names.a), brief(names.b)];
  const rows = [
    [a, first],
    [b, second],
  ];
  const verdict = paired.high < 0 ? `${a} is better` : paired.low > 0 ? `${b} is better` : "no difference is shown";
  return (
    <div class="beside">
      <div class="scroll">
        <table>
          <caption>
            {indicator(kpi)} on {seeds.length} common seeds; less is better
          </caption>
          <thead>
            <tr>
              <td />
              <th scope="col" class="number">
                median
              </th>
              <th scope="col" class="number">
                mean
              </th>
              <th scope="col" class="number">
                90th percentile
              </th>
              <th scope="col" class="number">
                worst
              </th>
            </tr>
          </thead>
          <tbody>
            {rows.map(([name, one], k) => (
              <tr key={k}>
                <th scope="row">{name}</th>
                <td class="number">{figure(one.median)}</td>
                <td class="number">{figure(one.mean)}</td>
                <td class="number">{figure(one.p90)}</td>
                <td class="number">{figure(one.worst)}</td>
              </tr>
            ))}
          </tbody>
        </table>
        <p class="paired">
          Seed by seed {a} differs from {b} by{" "}
          <strong>
            {figure(paired.difference)} {unitOf(kpi)}
          </strong>{" "}
          in the median, 95 % interval {figure(paired.low)} to {figure(paired.high)}: <strong>{verdict}</strong>. It is better on {paired.wins} of{" "}
          {seeds.length} seeds; the median ratio is {figure(paired.ratio)}.
        </p>
      </div>
      <figure>
        <figcaption>
          every seed: {a} over {b} <small>(below the line {a} is better)</small>
        </figcaption>
        <Scatter
          label={`${kpi} of ${a} over that of ${b}, a point a seed`}
          xLabel={`${indicator(kpi)} of ${b}`}
          yLabel={`${indicator(kpi)} of ${a}`}
          points={() => (found.value ? found.value.first.values.map((y, k) => [found.value.second.values[k], y]) : [])}
        />
      </figure>
    </div>
  );
}
