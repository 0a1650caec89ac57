// Runs with their curves and tables, bundles with their cards, and two policies side by side.
import { signal } from "@preact/signals";
import { useEffect, useRef } from "preact/hooks";
import { ask } from "../api.js";
import { date } from "../time.js";
import { Empty, figure, indicator, number } from "../parts/common.jsx";
import { Chart } from "../parts/chart.jsx";
import { Beside } from "./beside.jsx";
import { Bundles } from "./bundles.jsx";

const runs = signal(null);
const run = signal(null);
const bundles = signal([]);
const problem = signal("");

async function load() {
  try {
    const [a, b] = await Promise.all([ask("/v1/runs"), ask("/v1/bundles")]);
    runs.value = a;
    bundles.value = b.bundles;
    problem.value = "";
  } catch (error) {
    problem.value = error.message;
  }
}

async function open(name) {
  run.value = await ask(`/v1/runs/${encodeURIComponent(name)}`);
}

export function Training() {
  useEffect(() => {
    load();
  }, []);
  if (problem.value) return <Empty>{problem.value}</Empty>;
  return (
    <>
      <h1>
        Training <small>what was trained here, and what it reached</small>
      </h1>
      <section aria-label="Bundles">
        <h2>Policies that can be served</h2>
        <Bundles list={bundles.value} />
      </section>
      <section aria-label="Two side by side">
        <h2>Two policies on the same seeds</h2>
        <Beside />
      </section>
      <section aria-label="Runs">
        <h2>Runs</h2>
        <Runs />
      </section>
    </>
  );
}

function Runs() {
  const found = runs.value;
  if (!found) return <Empty>Asking…</Empty>;
  if (!found.runs.length) {
    return (
      <Empty>
        None in {found.folder}. Start one: <code>cityloop train intersections/cologne1 --minutes 5</code>
      </Empty>
    );
  }
  return (
    <>
      <p class="hint">
        Everything about them: <code>tensorboard --logdir {found.folder}</code>
        {found.tensorboard && (
          <>
            {" "}
            or{" "}
            <a href={found.tensorboard} target="_blank" rel="noreferrer">
              the TensorBoard that runs
            </a>
          </>
        )}
      </p>
      <div class="scroll">
        <table>
          <caption class="hidden">Runs</caption>
          <thead>
            <tr>
              <th scope="col">Run</th>
              <th scope="col">Scenarios</th>
              <th scope="col">Algorithm</th>
              <th scope="col" class="number">
                Updates
              </th>
              <th scope="col" class="number">
                Best score
              </th>
              <th scope="col">Last written</th>
            </tr>
          </thead>
          <tbody>
            {found.runs.map((one) => (
              <tr key={one.name}>
                <th scope="row">
                  <button type="button" class="link-button" onClick={() => open(one.name)}>
                    {one.name}
                  </button>
                </th>
                <td>{some([...new Set(one.scenarios)])}</td>
                <td>{one.algorithm}</td>
                <td class="number">{figure(one.updates, 7)}</td>
                <td class="number">{number(one.best, 3)}</td>
                <td class="when">{date(one.written_s)}</td>
              </tr>
            ))}
          </tbody>
        </table>
      </div>
      <p class="hint">
        The score of a run is its mean indicator on validation seeds beside that of the best rule: 1 is as good as it, less is
        better.
      </p>
      {run.value && <Curves />}
    </>
  );
}

const SHOWN = 4;

/** The first of many scenarios, their system told once where it is the same. */
function some(names) {
  const systems = new Set(names.map((name) => name.split("/")[0]));
  const list = systems.size === 1 ? names.map((name) => name.split("/").slice(1).join("/")) : names;
  const told = list.length > SHOWN + 1 ? `${list.slice(0, SHOWN).join(", ")} and ${list.length - SHOWN} more` : list.join(", ");
  return systems.size === 1 ? `${[...systems][0]}: ${told}` : told;
}

const CURVES = {
  "eval/score": "score on validation seeds",
  "rollout/return_mean": "mean return of training episodes",
  "rollout/action_change_rate": "share of decisions that change something",
  "safety/shield_rate": "share of requests that the guard changed",
};

/** What a curve shows, in words: `eval/cologne1/delay_s` is an indicator at a scenario. */
function curve(tag) {
  const parts = tag.split("/").slice(1);
  return CURVES[tag] ?? `${indicator(parts.at(-1))}${parts.length > 1 ? ` at ${parts[0]}` : ""}`;
}

function Curves() {
  const { name, curves } = run.value;
  const box = useRef(null);
  useEffect(() => box.current.scrollIntoView({ block: "nearest" }), [name]);
  return (
    <section class="curves" ref={box} aria-label={`Curves of ${name}`}>
      <h3>
        Curves of {name} <small>over decisions of agents; indicators are of validation seeds</small>
      </h3>
      <div class="charts">
        {Object.entries(curves).map(([title, { x, y }]) => (
          <figure key={`${name}${title}`}>
            <figcaption>{curve(title)}</figcaption>
            <Chart label={`${title} of ${name}`} time={false} lines={[{ label: title, colour: "blue" }]} data={() => [x, y]} />
          </figure>
        ))}
      </div>
    </section>
  );
}
