// The list of alarms: acknowledged, shelved, grouped by incident.
import { useState } from "preact/hooks";
import { ask } from "../api.js";
import { alarms, may, refreshAlarms } from "../store.js";
import { clock, now, span } from "../time.js";
import { Bars } from "../parts/bars.jsx";
import { Asked, Confirm } from "../parts/ask.jsx";
import { Age, Empty, Priority } from "../parts/common.jsx";

/** Incidents in the order of the first alarm of each: all of its alarms, and those among the first so many. */
function incidents(list, most) {
  const found = new Map();
  list.forEach((alarm, k) => {
    if (!found.has(alarm.incident)) found.set(alarm.incident, { incident: alarm.incident, all: [], shown: [] });
    const { all, shown } = found.get(alarm.incident);
    all.push(alarm);
    if (k < most) shown.push(alarm);
  });
  return [...found.values()].filter(({ shown }) => shown.length);
}

/** Acknowledge alarms; those that somebody else has seen to meanwhile are gone, and well. */
async function acknowledge(alarms) {
  try {
    for (const { id } of alarms) {
      await ask(`/v1/alarms/${id}/acknowledge`, { method: "POST", body: {} }).catch((error) => {
        if (error.status !== 404) throw error;
      });
    }
  } finally {
    await refreshAlarms();
  }
}

/** Whether it holds, whether somebody has acknowledged it, and since when. */
function State({ alarm }) {
  if (alarm.state === "raised") return "not acknowledged";
  const returned = alarm.state === "returned";
  return (
    <>
      {alarm.state}{" "}
      <small>
        {returned ? `${clock(alarm.returned_s)}, not acknowledged` : `by ${alarm.acknowledged_by}, ${clock(alarm.acknowledged_s)}`}
      </small>
    </>
  );
}

function Row({ alarm, sited, onShelve }) {
  const shelved = alarm.shelved_until_s > now.value;
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
      </td>
      {sited && (
        <td class="where">
          <a href={`#/site/${alarm.system}/${alarm.site}`}>{alarm.site}</a>
        </td>
      )}
      <td class="state">
        <State alarm={alarm} />
      </td>
      <td class="since">
        <Age at={alarm.raised_s} /> <small>{clock(alarm.raised_s)}</small>
      </td>
      <td>{may("operate", { system: alarm.system, name: alarm.site }) && <Acts alarm={alarm} shelved={shelved} onShelve={onShelve} />}</td>
    </tr>
  );
}

function Acts({ alarm, shelved, onShelve }) {
  const shelve = (
    <button type="button" class="second" onClick={() => onShelve(alarm)}>
      {shelved ? "Unshelve…" : "Shelve…"}
    </button>
  );
  if (alarm.state === "acknowledged") return <div class="acts">{shelve}</div>;
  return (
    <Asked action="Acknowledge" of={alarm.text} onDone={() => acknowledge([alarm])}>
      {shelve}
    </Asked>
  );
}

/** The head of alarms that came together: all of them can be acknowledged at once. */
function Incident({ group, columns, onAll }) {
  const [{ incident, site, system }] = group;
  const unseen = group.filter((alarm) => alarm.state !== "acknowledged");
  return (
    <tr class="incident-head">
      <th scope="rowgroup" colSpan={columns}>
        <div>
          <span>
            Incident {incident} at {site}: {group.length} alarms, {unseen.length ? `${unseen.length} not acknowledged` : "all acknowledged"}
          </span>
          {unseen.length > 1 && may("operate", { system, name: site }) && (
            <button type="button" onClick={() => onAll(unseen)}>
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
          {over ? `more than one in ${over} of ${course.length}` : "never more than one"})
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

/**
 * @param sited whether each alarm says where it is
 * @param most so many of them are shown; what is said of their incidents is of all
 * @return nothing to see without alarms; but a dialog that is open stays, whatever becomes of them
 */
export function AlarmTable({ list, caption, sited = true, most = Infinity }) {
  const [shelving, setShelving] = useState(null);
  const [all, setAll] = useState(null);
  const shelved = shelving && shelving.shelved_until_s > now.value;
  return (
    <>
      {list.length > 0 && (
        <div class="scroll">
          <table class="alarms">
            <caption>{caption}</caption>
            <thead>
              <tr>
                <th scope="col">Priority</th>
                <th scope="col">What</th>
                {sited && <th scope="col">Site</th>}
                <th scope="col">State</th>
                <th scope="col">Raised</th>
                <th scope="col">
                  <span class="hidden">Actions</span>
                </th>
              </tr>
            </thead>
            {incidents(list, most).map(({ incident, all, shown }) => (
              <tbody key={incident} class={all.length > 1 ? "incident" : ""}>
                {all.length > 1 && <Incident group={all} columns={sited ? 6 : 5} onAll={setAll} />}
                {shown.map((alarm) => (
                  <Row key={alarm.id} alarm={alarm} sited={sited} onShelve={setShelving} />
                ))}
              </tbody>
            ))}
          </table>
        </div>
      )}
      {all && (
        <Confirm
          title={`Acknowledge ${all.length} alarms of one incident?`}
          action="Acknowledge all"
          onClose={() => setAll(null)}
          onDone={() => acknowledge(all)}
        >
          <ul class="findings">
            {all.map((alarm) => (
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
      {!open.length && <Empty>No alarm.</Empty>}
      <AlarmTable list={open} caption="Open alarms" />
      <AlarmTable list={shelved} caption="Shelved" />
    </>
  );
}
