// The list of alarms: seen to, shelved, grouped by incident.
import { useState } from "preact/hooks";
import { ask } from "../api.js";
import { alarms, may, refreshAlarms } from "../store.js";
import { clock, now, span } from "../time.js";
import { Bars } from "../parts/bars.jsx";
import { Age, Confirm, Empty, Priority } from "../parts/common.jsx";

const STATES = { raised: "unseen", acknowledged: "seen", returned: "gone, unseen" };

function groups(list) {
  const found = new Map();
  for (const alarm of list) {
    if (!found.has(alarm.incident)) found.set(alarm.incident, []);
    found.get(alarm.incident).push(alarm);
  }
  return [...found.values()];
}

export async function acknowledge(alarm) {
  await ask(`/v1/alarms/${alarm.id}/acknowledge`, { method: "POST", body: {} });
  await refreshAlarms();
}

function Row({ alarm, onShelve }) {
  const [problem, setProblem] = useState("");
  const where = { system: alarm.system, name: alarm.site };
  const shelved = alarm.shelved_until_s > now.value;
  const seen = async () => {
    try {
      await acknowledge(alarm);
    } catch (error) {
      setProblem(error.message);
    }
  };
  return (
    <tr class={`state-${alarm.state}${shelved ? " shelved" : ""}`}>
      <td>
        <Priority priority={alarm.priority} />
      </td>
      <td class="what">
        {alarm.text}
        {alarm.count > 1 && <span class="hint"> · {alarm.count} times</span>}
        {shelved && (
          <span class="hint">
            {" "}
            · shelved by {alarm.shelved_by} for {span(alarm.shelved_until_s - now.value)}: {alarm.shelved_for}
          </span>
        )}
        {problem && (
          <span class="problem" role="alert">
            {problem}
          </span>
        )}
      </td>
      <td>
        <a href={`#/site/${alarm.system}/${alarm.site}`}>{alarm.site}</a>
      </td>
      <td>
        {STATES[alarm.state]}
        {alarm.state === "acknowledged" && <span class="hint"> by {alarm.acknowledged_by}</span>}
      </td>
      <td class="since">
        <Age at={alarm.raised_s} /> <small>{clock(alarm.raised_s)}</small>
      </td>
      <td>
        {may("operate", where) && (
          <div class="acts">
            {alarm.state !== "acknowledged" && (
              <button type="button" onClick={seen}>
                Acknowledge
              </button>
            )}
            <button type="button" onClick={() => onShelve(alarm)}>
              {shelved ? "Unshelve" : "Shelve"}
            </button>
          </div>
        )}
      </td>
    </tr>
  );
}

/** The head of alarms that came together: all of them can be seen to at once. */
function Incident({ group, onSeen }) {
  const [{ incident, site, system }] = group;
  const unseen = group.filter((alarm) => alarm.state !== "acknowledged");
  return (
    <tr class="incident-head">
      <th scope="rowgroup" colSpan="6">
        <div>
          <span>
            Incident {incident} at {site}: {group.length} alarms, {unseen.length ? `${unseen.length} unseen` : "all seen"}
          </span>
          {unseen.length > 1 && may("operate", { system, name: site }) && (
            <button type="button" onClick={() => onSeen(unseen)}>
              Acknowledge all {unseen.length}…
            </button>
          )}
        </div>
      </th>
    </tr>
  );
}

/** How often alarms came: a bar every ten minutes, beside the one that a control room should hear at most. */
function Rate() {
  const { course } = alarms.value;
  const hours = course.length / 6;
  const over = course.filter((count) => count > 1).length;
  return (
    <figure class="rate">
      <figcaption>
        alarms in every ten minutes{" "}
        <small>
          ({course.reduce((a, b) => a + b, 0)} in the last {hours < 1.5 ? `${10 * course.length} minutes` : `${hours.toFixed(0)} hours`};{" "}
          {over ? `more than one in ${over} of ${course.length} times ten minutes` : "never more than one"})
        </small>
      </figcaption>
      <Bars
        label={`Alarms in every ten minutes of the last ${hours.toFixed(1)} hours: ${course.join(", ")}`}
        values={() => alarms.value.course}
        limit={1}
      />
    </figure>
  );
}

export function AlarmTable({ list, caption }) {
  const [shelving, setShelving] = useState(null);
  const [seeing, setSeeing] = useState(null);
  const shelved = shelving && shelving.shelved_until_s > now.value;
  return (
    <>
      <div class="scroll">
        <table class="alarms">
          <caption>{caption}</caption>
          <thead>
            <tr>
              <th scope="col">Priority</th>
              <th scope="col">What</th>
              <th scope="col">Site</th>
              <th scope="col">State</th>
              <th scope="col">Since</th>
              <th scope="col">
                <span class="hidden">Actions</span>
              </th>
            </tr>
          </thead>
          {groups(list).map((group) => (
            <tbody key={group[0].incident} class={group.length > 1 ? "incident" : ""}>
              {group.length > 1 && <Incident group={group} onSeen={setSeeing} />}
              {group.map((alarm) => (
                <Row key={alarm.id} alarm={alarm} onShelve={setShelving} />
              ))}
            </tbody>
          ))}
        </table>
      </div>
      {seeing && (
        <Confirm
          title={`Acknowledge ${seeing.length} alarms of one incident?`}
          action="Acknowledge all"
          onClose={() => setSeeing(null)}
          onDone={async () => {
            for (const alarm of seeing) await ask(`/v1/alarms/${alarm.id}/acknowledge`, { method: "POST", body: {} });
            await refreshAlarms();
          }}
        >
          <ul class="findings">
            {seeing.map((alarm) => (
              <li key={alarm.id}>{alarm.text}</li>
            ))}
          </ul>
        </Confirm>
      )}
      {shelving && (
        <Confirm
          title={shelved ? "Bring it back into sight?" : "Shelve this alarm?"}
          action={shelved ? "Unshelve" : "Shelve"}
          onClose={() => setShelving(null)}
          onDone={async ({ reason, minutes }) => {
            const body = shelved ? { reason: "", seconds: 0 } : { reason, seconds: 60 * Number(minutes) };
            await ask(`/v1/alarms/${shelving.id}/shelve`, { method: "POST", body });
            await refreshAlarms();
          }}
        >
          <p>{shelving.text}</p>
          {!shelved && (
            <>
              <label>
                Why
                <input name="reason" required maxLength="200" />
              </label>
              <label>
                For
                <select name="minutes">
                  <option value="10">10 minutes</option>
                  <option value="30">half an hour</option>
                  <option value="120">two hours</option>
                  <option value="480">a shift (8 hours)</option>
                </select>
              </label>
            </>
          )}
        </Confirm>
      )}
    </>
  );
}

export function AlarmList() {
  const list = alarms.value.alarms;
  const open = list.filter((alarm) => !(alarm.shelved_until_s > now.value));
  const shelved = list.filter((alarm) => alarm.shelved_until_s > now.value);
  const rate = alarms.value.rate;
  return (
    <>
      <h1>
        Alarms{" "}
        <small class={rate > 1 ? "over" : ""}>
          {rate} in the last ten minutes; a control room should hear less than one (EEMUA 191)
        </small>
      </h1>
      <Rate />
      {open.length ? <AlarmTable list={open} caption="Open alarms" /> : <Empty>No alarm.</Empty>}
      {shelved.length > 0 && <AlarmTable list={shelved} caption="Shelved" />}
    </>
  );
}
