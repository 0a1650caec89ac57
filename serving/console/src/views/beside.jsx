// Two controllers side by side on the seeds that both have met, from evaluations on this machine.
import { signal } from "@preact/signals";
import { useEffect } from "preact/hooks";
import { ask } from "../api.js";
import { date } from "../time.js";
import { Empty } from "../parts/common.jsx";
import { Scatter } from "../parts/chart.jsx";

const evaluations = signal(null);
const place = signal("");
const pair = signal([0, 1]);
const found = signal(null);
const problem = signal("");

const said = (value) => (Number.isFinite(value) ? Number(value.toPrecision(4)).toLocaleString() : "–");

async function load() {
  evaluations.value = (await ask("/v1/evaluations", { timeout: 30_000 })).evaluations;
}

/** Scenario, protocol and seeds' split → every controller that was evaluated there, the newest first. */
function groups(list) {
  const found = new Map();
  for (const one of list) {
    const key = `${one.scenario} · ${one.label} · ${one.hash.slice(0, 8)}${one.split === "test" ? "" : ` · ${one.split}`}`;
    if (!found.has(key)) found.set(key, []);
    for (const [controller, reached] of Object.entries(one.controllers)) {
      found.get(key).push({ name: one.name, controller, seeds: one.seeds, written_s: one.written_s, ...reached });
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
        {["One", "beside"].map((name, k) => (
          <label key={name}>
            {name}
            <select value={pair.value[k]} onChange={choose(k)}>
              {members.map((one, i) => (
                <option value={i}>
                  {one.controller}, {one.seeds} seeds, {date(one.written_s)}
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
    </>
  );
}

function Compared({ kpi, seeds, first, second, paired, a, b }) {
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
            {kpi} on {seeds.length} common seeds; less is better
          </caption>
          <thead>
            <tr>
              <th />
              <th scope="col">median</th>
              <th scope="col">mean</th>
              <th scope="col">90th percentile</th>
              <th scope="col">worst</th>
            </tr>
          </thead>
          <tbody>
            {rows.map(([name, one], k) => (
              <tr key={k}>
                <th scope="row">{name}</th>
                <td class="number">{said(one.median)}</td>
                <td class="number">{said(one.mean)}</td>
                <td class="number">{said(one.p90)}</td>
                <td class="number">{said(one.worst)}</td>
              </tr>
            ))}
          </tbody>
        </table>
        <p class="paired">
          Seed by seed {a} differs from {b} by <strong>{said(paired.difference)}</strong> in the median, 95 % interval{" "}
          {said(paired.low)} to {said(paired.high)}: <strong>{verdict}</strong>. It is better on {paired.wins} of{" "}
          {seeds.length} seeds; the median ratio is {said(paired.ratio)}.
        </p>
      </div>
      <figure>
        <figcaption>
          every seed: {a} over {b} <small>(below the line {a} is better)</small>
        </figcaption>
        <Scatter
          label={`${kpi} of ${a} over that of ${b}, a point a seed`}
          xLabel={b}
          yLabel={a}
          points={() => (found.value ? found.value.first.values.map((y, k) => [found.value.second.values[k], y]) : [])}
        />
      </figure>
    </div>
  );
}
