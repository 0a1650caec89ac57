// Who did what: overrides, promotions, rollbacks, from the audit log and as they happen.
import { signal } from "@preact/signals";
import { useEffect } from "preact/hooks";
import { ask } from "../api.js";
import { changes, may, me, missed, sites } from "../store.js";
import { date, span } from "../time.js";
import { Empty } from "../parts/common.jsx";

/** A key that reaches this reaches the service as a whole. */
const EVERYWHERE = { system: "*", name: "*" };

const older = signal([]);
const problem = signal("");

/** Why what happened before cannot be asked for; empty: it can. */
function refusal() {
  if (!me.value.audit) return "no audit log is kept here.";
  return may("operate") ? "" : "reading the audit log takes the role operate.";
}

/** What is asked of the log: all of it, or where the key does not reach so far, each site that it reaches. */
function queries() {
  if (may("operate", EVERYWHERE)) return [{}];
  const mine = [...sites.peek().values()].filter((site) => may("operate", site));
  return mine.map((site) => ({ system: site.system, site: site.name }));
}

async function load() {
  problem.value = refusal();
  if (problem.value) return;
  const asked = queries().map((query) => ask(`/v1/audit?${new URLSearchParams({ what: "change", limit: 200, ...query })}`));
  const answers = await Promise.allSettled(asked);
  older.value = answers.flatMap((answer) => answer.value?.records ?? []);
  problem.value = answers.find((answer) => answer.reason)?.reason.message ?? "";
}

/** What people and rules changed, the newest first: what the audit log knows, and what came since. */
function listed() {
  const seen = new Set();
  return [...changes.value, ...older.value]
    .filter((change) => {
      const key = `${change.at_s}${change.what}${change.site}`;
      return !seen.has(key) && seen.add(key);
    })
    .sort((a, b) => b.at_s - a.at_s);
}

const all = (agents) => (agents.length > 3 ? `${agents.length} agents` : agents.join(", "));

/** What was done, by the name that the audit log has for it; what is not here is told by that name. */
const DEEDS = {
  override: ({ agents, expires_s }) => `took over ${all(agents)} for ${span(expires_s)}`,
  release: ({ agents }) => `handed back ${all(agents)}`,
  acknowledge: (_, alarm) => `acknowledged: ${alarm}`,
  shelve: ({ seconds, text = "an alarm" }) => `shelved for ${span(seconds)}: ${text}`,
  unshelve: ({ text = "an alarm" }) => `brought back into sight: ${text}`,
  shadow: ({ after }) => `let ${after.challenger} watch in the shadow`,
  canary: ({ after }) => `let ${after.challenger} decide as a canary`,
  promote: ({ after }) => `made ${after.champion} champion`,
  demote: ({ before }) => `sent ${before.challenger} away`,
  rollback: ({ after, from, to }) => (after ? `went back to ${after.champion}` : `let ${to} decide instead of ${from}`),
  return: ({ to }) => `let ${to} decide again`,
};

const deed = ({ what, detail, reason }) => DEEDS[what]?.(detail, reason) ?? what;

/** Deeds that nobody has to give a reason for. */
const PLAIN = new Set(["acknowledge", "unshelve", "release"]);

/** @param most lines that are shown; all if not given */
export function ChangeTable({ most, caption }) {
  useEffect(() => {
    load();
  }, [missed.value]);
  const list = listed().slice(0, most);
  return (
    <>
      {list.length ? (
        <div class="scroll">
          <table class="changes">
            <caption class={most ? "" : "hidden"}>{caption}</caption>
            <thead>
              <tr>
                <th scope="col">When</th>
                <th scope="col">Who</th>
                <th scope="col">What</th>
                <th scope="col">Where</th>
                <th scope="col">Why</th>
              </tr>
            </thead>
            <tbody>
              {list.map((change) => (
                <tr key={`${change.at_s}${change.what}${change.site}`}>
                  <td class="when">{date(change.at_s)}</td>
                  <td>{change.who}</td>
                  <td>{deed(change)}</td>
                  <td>{change.site ? <a href={`#/site/${change.system}/${change.site}`}>{change.site}</a> : "the service"}</td>
                  <td class="why">{PLAIN.has(change.what) ? "" : change.reason}</td>
                </tr>
              ))}
            </tbody>
          </table>
        </div>
      ) : (
        <Empty>{problem.value ? "Nobody has changed anything since." : "Nobody has changed anything."}</Empty>
      )}
      {problem.value && (
        <p class="hint">
          {older.value.length ? "Not all that happened" : "What happened"} before this page was opened is {older.value.length ? "" : "not "}shown:{" "}
          {problem.value}
        </p>
      )}
      {!problem.value && !may("operate", EVERYWHERE) && (
        <p class="hint">What happened before this page was opened is shown of the sites that this key may operate.</p>
      )}
    </>
  );
}

export function Activity() {
  return (
    <>
      <h1>
        Activity <small>what people and rules changed, and why</small>
      </h1>
      <ChangeTable caption="What people and rules changed" />
    </>
  );
}
