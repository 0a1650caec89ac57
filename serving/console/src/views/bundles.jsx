// Policies that can be served: their cards, and what two of them reached on the same seeds.
import { signal } from "@preact/signals";
import { useEffect, useRef } from "preact/hooks";
import { Empty, figure, indicator } from "../parts/common.jsx";

const pair = signal(["", ""]);

/** What stands for the bundle itself in the tables of its card. */
const ITSELF = "this policy";

/** Where a bundle lies: one that ships is called by its name, any other by its folder. */
const from = (ref) => (ref.includes("/") ? ref : "shipped");

/** A bundle's card, its name with where it lies if another has the same. */
const called = ({ ref, card }, other) => (other?.card.name === card.name ? { ...card, name: `${card.name}, ${from(ref)}` } : card);

const Figure = ({ children }) => <td class="number">{figure(children)}</td>;

export function Bundles({ list }) {
  if (!list.length) return <Empty>None ships, and none was exported here.</Empty>;
  const [a, b] = pair.value.map((ref) => list.find((one) => one.ref === ref));
  const choose = (k) => (event) => (pair.value = k ? [pair.value[0], event.target.value] : [event.target.value, ""]);
  return (
    <>
      <div class="scroll">
        <table>
          <caption class="hidden">Bundles</caption>
          <thead>
            <tr>
              <th scope="col">Name</th>
              <th scope="col">From</th>
              <th scope="col">System</th>
              <th scope="col">Made</th>
              <th scope="col">Algorithm</th>
              <th scope="col" class="number">
                Decisions
              </th>
              <th scope="col" class="rare">
                SHA-256
              </th>
            </tr>
          </thead>
          <tbody>
            {list.map(({ ref, card }) => (
              <tr key={ref}>
                <th scope="row">
                  <button type="button" class="link-button" onClick={() => (pair.value = [ref, ""])}>
                    {card.name}
                  </button>
                </th>
                <td>{from(ref)}</td>
                <td>{card.system}</td>
                <td class="when">{card.created}</td>
                <td>{card.training.algorithm}</td>
                <td class="number">{card.training.decisions.toLocaleString("en-GB")}</td>
                <td class="rare">
                  <code title={card.sha256}>{card.sha256.slice(0, 12)}</code>
                </td>
              </tr>
            ))}
          </tbody>
        </table>
      </div>
      <div class="pair">
        {["The card of", "beside"].map((name, k) => (
          <label key={name}>
            {name}
            <select value={pair.value[k]} onChange={choose(k)}>
              <option value="">{k ? "none" : "choose a policy"}</option>
              {list
                .filter((one) => !k || (one !== a && one.card.system === a?.card.system))
                .map((one) => (
                  <option value={one.ref}>
                    {one.card.system}/{one.card.name}, {from(one.ref)}
                  </option>
                ))}
            </select>
          </label>
        ))}
      </div>
      {a && <Card a={called(a, b)} b={b && called(b, a)} />}
    </>
  );
}

/** Tables of a card: indicator and seeds → controller → figures; without those that hold numbers alone. */
const tables = (card) =>
  Object.entries(card.evaluation).filter(([, table]) => Object.values(table).some((row) => typeof row === "object"));

/** `test: delay_s on 30 seeds of intersections/cologne1` → where, seeds and indicator; where: all of it, if it is another. */
function titled(title) {
  const [, kpi, seeds, where] = title.match(/^test: (\w+) on (\d+) seeds? of [\w-]+\/(.+)$/) ?? [];
  return where ? { where, seeds: Number(seeds), kpi: indicator(kpi) } : { where: title };
}

function Card({ a, b }) {
  const proven = Object.entries(a.proven ?? {});
  const box = useRef(null);
  useEffect(() => box.current.scrollIntoView({ block: "nearest" }), [a.sha256]);
  return (
    <section class="card" ref={box} aria-label={`Card of ${a.name}`}>
      <h3>{a.name}</h3>
      <dl class="facts">
        <Fact name="trained on">{counted(Object.keys(a.training.scenarios ?? {}))}</Fact>
        <Fact name="no worse than the rule of practice at">
          {counted(proven.filter(([, fine]) => fine).map(([site]) => (site === "*" ? "sites it had never seen" : site)))}
        </Fact>
        <Fact name="worse at">{counted(proven.filter(([, fine]) => !fine).map(([site]) => site))}</Fact>
        <Fact name="made with">
          {Object.entries(a.versions)
            .map(([name, version]) => `${name} ${shortened(version)}`)
            .join(", ")}
        </Fact>
      </dl>
      <p class="hint">Made again with</p>
      <pre>{a.training.command}</pre>
      <Overview a={a} b={b} />
      {tables(a).map(([title, table]) => (
        <details key={title}>
          <summary>{titled(title).where}: everybody</summary>
          <Reached title={title} table={table} other={b?.evaluation[title]} a={a} b={b} />
        </details>
      ))}
    </section>
  );
}

/** A commit by its first twelve digits; other versions as they are. */
const shortened = (version) => version.replace(/^([0-9a-f]{12})[0-9a-f]{28}/, "$1");

function Fact({ name, children }) {
  if (!children) return null;
  return (
    <div>
      <dt>{name}</dt>
      <dd>{children}</dd>
    </div>
  );
}

const MOST = 8;

const counted = (names) =>
  names.length > MOST ? `${names.slice(0, MOST).join(", ")} and ${names.length - MOST} more` : names.join(", ");

/** Medians of the policy and of the best of the others, a line a scenario; beside them those of the other policy. */
function Overview({ a, b }) {
  const rows = tables(a);
  if (!rows.length) return null;
  return (
    <div class="scroll">
      <table>
        <caption>What it reached on test seeds: medians, less is better</caption>
        <thead>
          <tr>
            <th scope="col">At</th>
            <th scope="col">Indicator</th>
            <th scope="col" class="number">
              Seeds
            </th>
            <th scope="col" class="number">
              {a.name}
            </th>
            {b && (
              <th scope="col" class="number">
                {b.name}
              </th>
            )}
            <th scope="col">Best of the others</th>
            <th scope="col" class="number">
              Ratio
            </th>
            <th scope="col" class="number">
              Failures
            </th>
          </tr>
        </thead>
        <tbody>
          {rows.map(([title, table]) => {
            const others = Object.entries(table).filter(([name]) => name !== ITSELF);
            const [best, reached] = others.reduce((x, y) => (y[1].median < x[1].median ? y : x), others[0] ?? ["", {}]);
            return (
              <tr key={title}>
                <th scope="row">{titled(title).where}</th>
                <td>{titled(title).kpi}</td>
                <Figure>{titled(title).seeds}</Figure>
                <Figure>{table[ITSELF]?.median}</Figure>
                {b && <Figure>{b.evaluation[title]?.[ITSELF]?.median}</Figure>}
                <td>{best && `${best}: ${figure(reached.median)}`}</td>
                <Figure>{table[ITSELF]?.median / reached.median}</Figure>
                <Figure>{table[ITSELF]?.failures}</Figure>
              </tr>
            );
          })}
        </tbody>
      </table>
    </div>
  );
}

/** What everybody reached on some seeds: rows that both cards have, side by side. */
function Reached({ title, table, other, a, b }) {
  const named = (card, rows, wanted) => Object.entries(rows ?? {}).filter(wanted).map(([name, row]) => [name === ITSELF ? card.name : name, row]);
  const rows = [
    ...named(a, table, () => true),
    ...named(b, other, ([name]) => name === ITSELF || !(name in table)),
  ];
  const columns = [...new Set(rows.flatMap(([, row]) => Object.keys(row)))];
  return (
    <div class="scroll">
      <table>
        <caption class="hidden">{title}</caption>
        <thead>
          <tr>
            <th scope="col">Controller</th>
            {columns.map((column) => (
              <th scope="col" class="number">
                {column}
              </th>
            ))}
          </tr>
        </thead>
        <tbody>
          {rows.map(([name, row]) => (
            <tr key={name}>
              <th scope="row">{name}</th>
              {columns.map((column) => (
                <Figure key={column}>{row[column]}</Figure>
              ))}
            </tr>
          ))}
        </tbody>
      </table>
    </div>
  );
}
