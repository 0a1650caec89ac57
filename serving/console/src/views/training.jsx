// Runs with their curves and tables, bundles with their cards, and two policies side by side.
import { signal } from "@preact/signals";
import { useEffect } from "preact/hooks";
import { ask } from "../api.js";
import { date } from "../time.js";
import { Empty, number } from "../parts/common.jsx";
import { Chart } from "../parts/chart.jsx";
import { Beside } from "./beside.jsx";

const runs = signal(null);
const run = signal(null);
const bundles = signal([]);
const pair = signal(["", ""]);
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
        <Bundles />
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

function Bundles() {
  const list = bundles.value;
  if (!list.length) return <Empty>None ships, and none was exported here.</Empty>;
  const [a, b] = pair.value.map((ref) => list.find((one) => one.ref === ref));
  const choose = (k) => (event) => (pair.value = pair.value.map((old, i) => (i === k ? event.target.value : old)));
  return (
    <>
      <div class="scroll">
        <table>
          <caption class="hidden">Bundles</caption>
          <thead>
            <tr>
              <th scope="col">Name</th>
              <th scope="col">System</th>
              <th scope="col">Made</th>
              <th scope="col">Algorithm</th>
              <th scope="col">Decisions</th>
              <th scope="col">SHA-256</th>
            </tr>
          </thead>
          <tbody>
            {list.map((one) => (
              <tr key={one.ref}>
                <th scope="row">{one.card.name}</th>
                <td>{one.card.system}</td>
                <td>{one.card.created}</td>
                <td>{one.card.training.algorithm}</td>
                <td class="number">{one.card.training.decisions.toLocaleString()}</td>
                <td>
                  <code title={one.card.sha256}>{one.card.sha256.slice(0, 12)}</code>
                </td>
              </tr>
            ))}
          </tbody>
        </table>
      </div>
      <div class="pair">
        {[0, 1].map((k) => (
          <label key={k}>
            {k ? "beside" : "Look at"}
            <select value={pair.value[k]} onChange={choose(k)}>
              <option value="">{k ? "none" : "choose a policy"}</option>
              {list.map((one) => (
                <option value={one.ref}>
                  {one.card.system}/{one.card.name}
                </option>
              ))}
            </select>
          </label>
        ))}
      </div>
      {a && <Cards a={a} b={b} />}
    </>
  );
}

/** What two policies reached on the same seeds: rows that both cards have, side by side. */
function Cards({ a, b }) {
  const rows = Object.entries(a.card.evaluation).filter(([, table]) => typeof table === "object");
  return (
    <>
      {rows.map(([name, table]) => (
        <Reached key={name} name={name} one={table} other={b?.card.evaluation[name]} a={a} b={b} />
      ))}
      <p class="hint">
        Made with <code>{a.card.training.command}</code>
      </p>
    </>
  );
}

function Reached({ name, one, other, a, b }) {
  const columns = [...new Set(Object.values(one).flatMap((row) => (typeof row === "object" ? Object.keys(row) : [])))];
  if (!columns.length) {
    return (
      <div class="scroll">
        <table>
          <caption>{name}</caption>
          <thead>
            <tr>
              <th />
              <th scope="col">{a.card.name}</th>
              {b && <th scope="col">{b.card.name}</th>}
            </tr>
          </thead>
          <tbody>
            {Object.entries(one).map(([key, value]) => (
              <tr key={key}>
                <th scope="row">{key}</th>
                <td class="number">{said(value)}</td>
                {b && <td class="number">{said(other?.[key])}</td>}
              </tr>
            ))}
          </tbody>
        </table>
      </div>
    );
  }
  const rows = [
    ...Object.entries(one).map(([key, row]) => [key === "this policy" ? a.card.name : key, row]),
    ...(other ? Object.entries(other).filter(([key]) => key === "this policy" || !(key in one)).map(([key, row]) => [key === "this policy" ? b.card.name : key, row]) : []),
  ];
  return (
    <div class="scroll">
      <table>
        <caption>
          {name}
          {b && !other && <span class="hint"> ({b.card.name} was not evaluated on these)</span>}
        </caption>
        <thead>
          <tr>
            <th />
            {columns.map((column) => (
              <th scope="col">{column}</th>
            ))}
          </tr>
        </thead>
        <tbody>
          {rows.map(([key, row]) => (
            <tr key={key}>
              <th scope="row">{key}</th>
              {columns.map((column) => (
                <td class="number">{said(row?.[column])}</td>
              ))}
            </tr>
          ))}
        </tbody>
      </table>
    </div>
  );
}

const said = (value) => (typeof value === "number" ? Number(value.toPrecision(4)).toLocaleString() : (value ?? "–"));

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
              <th scope="col">Updates</th>
              <th scope="col">Best score</th>
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
                <td class="number">{one.updates}</td>
                <td class="number">{number(one.best, 3)}</td>
                <td class="when">{date(one.written_s)}</td>
              </tr>
            ))}
          </tbody>
        </table>
      </div>
      {run.value && <Curves />}
    </>
  );
}

const SHOWN = 6;

/** The first names of many. */
const some = (names) =>
  names.length > SHOWN + 1 ? `${names.slice(0, SHOWN).join(", ")} and ${names.length - SHOWN} more` : names.join(", ");

function Curves() {
  const { name, curves } = run.value;
  return (
    <section class="charts" aria-label={`Curves of ${name}`}>
      {Object.entries(curves).map(([title, { x, y }]) => (
        <figure key={`${name}${title}`}>
          <figcaption>
            {name}: {title}
          </figcaption>
          <Chart label={`${title} of ${name}`} time={false} lines={[{ label: title, colour: "blue" }]} data={() => [x, y]} />
        </figure>
      ))}
    </section>
  );
}
