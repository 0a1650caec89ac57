// Taking over by hand: what, why, until when; what the guard would do with it is said before it is sent.
import { useComputed } from "@preact/signals";
import { useEffect, useMemo, useState } from "preact/hooks";
import { ask } from "../api.js";
import { now, span } from "../time.js";
import { Confirm } from "../parts/ask.jsx";
import { commandText, fieldsOf, reasonText } from "../systems/index.js";

const EXPIRIES = [
  [60, "1 minute"],
  [300, "5 minutes"],
  [900, "15 minutes"],
  [3600, "1 hour"],
  [14400, "4 hours"],
];

export function Overrides({ site, state, chosen, may }) {
  const [releasing, setReleasing] = useState(null);
  const live = grouped(Object.entries(state?.overrides ?? {}), site.agents).filter((one) => one.until_s > now.value);
  return (
    <>
      <h2>By hand</h2>
      {live.length === 0 && <p class="empty">Nothing is held by hand.</p>}
      <ul class="overrides">
        {live.map((one) => (
          <li key={one.agent}>
            <strong>{one.agent || "the whole site"}</strong> at {commandText(site, one.command)} for {span(one.until_s - now.value)} more, by{" "}
            {one.who}: {one.reason}
            {may && (
              <button type="button" onClick={() => setReleasing(one)}>
                Hand back
              </button>
            )}
          </li>
        ))}
      </ul>
      {may && site.info.value && <TakeOver site={site} chosen={chosen} />}
      {releasing && (
        <Confirm
          title="Hand back?"
          action="Hand back"
          onClose={() => setReleasing(null)}
          onDone={async () => {
            const to = releasing.agent ? `/${encodeURIComponent(releasing.agent)}` : "";
            await ask(`${site.base}/overrides${to}`, { method: "DELETE" });
            await site.refresh();
          }}
        >
          <p>
            {releasing.agent || "The whole site"} goes back to {state?.in_charge?.controller ?? "the policy"} with the next tick.
          </p>
        </Confirm>
      )}
    </>
  );
}

/** Overrides in a list; one that was given to all agents at once is told once. */
function grouped(entries, agents) {
  const list = entries.map(([agent, one]) => ({ ...one, agent }));
  const same = new Set(list.map((one) => `${one.since_s} ${JSON.stringify(one.command)}`));
  if (agents > 1 && list.length === agents && same.size === 1) return [{ ...list[0], agent: "" }];
  return list;
}

function TakeOver({ site, chosen }) {
  const info = site.info.value;
  const agent = info.agents.includes(chosen.value) ? chosen.value : "";
  const fields = fieldsOf(site, agent);
  const known = useComputed(() => site.last.value !== null).value;
  // It begins where the plant is and stays there: what is shown is what is checked and sent, wherever the plant goes.
  const begun = useMemo(() => present(site, agent ? [agent] : info.agents, fields), [agent, known]);
  const [set, setSet] = useState(null);
  const command = set?.agent === agent ? set.command : begun;
  const choose = (k, value) => setSet({ agent, command: replaced(command, k, value) });
  /** What is asked about, {agent, command, guard: what that makes of it}; null: nothing. */
  const [asked, setAsked] = useState(null);
  useEffect(() => setSet(null), [agent]);

  async function check() {
    const plain = command.length === 1 ? command[0] : command;
    const body = { command: plain, ...(agent ? { agent } : {}) };
    const how = { method: "POST", body, changes: false };
    const guard = await ask(`${site.base}/overrides/check`, how).catch((error) => ({ problem: error.message }));
    setAsked({ agent, command: plain, guard });
  }

  return (
    <form
      class="takeover"
      onSubmit={(event) => {
        event.preventDefault();
        check();
      }}
    >
      <h3>Take over</h3>
      <label>
        What
        <select value={agent} onChange={(event) => (chosen.value = event.target.value)}>
          <option value="">the whole site</option>
          {info.agents.map((name) => (
            <option value={name}>{name}</option>
          ))}
        </select>
      </label>
      {fields.map((field, k) => field.fixed === undefined && (
        <label key={k}>
          {field.label}
          {field.choices ? (
            <select value={command[k]} onChange={(event) => choose(k, Number(event.target.value))}>
              {field.choices.map((choice) => (
                <option value={choice.value}>{choice.text}</option>
              ))}
            </select>
          ) : (
            <span class="slider">
              <input
                type="range"
                min={field.low}
                max={field.high}
                step={field.step}
                value={command[k]}
                onInput={(event) => choose(k, Number(event.target.value))}
              />
              <output>{field.said(command[k])}</output>
            </span>
          )}
        </label>
      ))}
      <button type="submit">Check and take over…</button>
      {asked && (
        <Confirm
          title={`Hold ${asked.agent || "the whole site"} at ${commandText(site, asked.command)}?`}
          action="Take over"
          danger
          onClose={() => setAsked(null)}
          onDone={async ({ reason, seconds }) => {
            const to = asked.agent ? `/${encodeURIComponent(asked.agent)}` : "";
            const what = { command: asked.command, reason, expires_s: Number(seconds) };
            await ask(`${site.base}/overrides${to}`, { method: "PUT", body: what });
            await site.refresh();
          }}
        >
          <Verdict site={site} guard={asked.guard} />
          <label>
            Why
            <input name="reason" required maxLength="200" />
          </label>
          <label>
            For
            <select name="seconds">
              {EXPIRIES.map(([seconds, text]) => (
                <option value={seconds} selected={seconds === 300}>
                  {text}
                </option>
              ))}
            </select>
          </label>
        </Confirm>
      )}
    </form>
  );
}

/** What agents are commanded now, in the mean, so that nothing jumps where somebody only looks; else the least. */
function present(site, agents, fields) {
  const commands = agents.map((agent) => [site.last.peek()?.commands[agent]?.[site.command]].flat());
  return fields.map(({ choices, low, fixed }, k) => {
    if (fixed !== undefined) return fixed;
    const now = commands.map((command) => command[k]).filter((one) => typeof one === "number");
    if (!choices) return now.length ? now.reduce((sum, one) => sum + one, 0) / now.length : low;
    return choices.some((choice) => choice.value === now[0]) ? now[0] : choices[0].value;
  });
}

function replaced(list, k, value) {
  return list.map((old, i) => (i === k ? value : old));
}

/** What the guard says before anything is sent. */
function Verdict({ site, guard }) {
  if (guard.problem) return <p class="note">The guard was not asked: {guard.problem}</p>;
  const changes = guard.interventions ?? [];
  const when = guard.tick === null ? "on example readings, as no plant has asked yet" : "now";
  if (!changes.length) return <p>The guard would let it through {when}.</p>;
  return (
    <div class="note">
      The guard would change it {when}:
      <ul>
        {changes.slice(0, 8).map((change) => (
          <li key={change.agent}>
            {change.agent}: {commandText(site, change.commanded)} instead, as {reasonText(site.kind, change.reason)}
          </li>
        ))}
      </ul>
    </div>
  );
}
