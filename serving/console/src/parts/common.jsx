// Small parts that every view uses.
import { useEffect, useRef, useState } from "preact/hooks";
import { me } from "../store.js";
import { age, date, now } from "../time.js";

const SOURCES = {
  champion: { text: "policy", sign: "●" },
  canary: { text: "canary", sign: "◐" },
  fallback: { text: "fallback", sign: "▲" },
  manual: { text: "manual", sign: "✍" },
};

/** Who is in charge of a decision, by shape and word as well as by colour: a champion without a bundle is a rule. */
export function Source({ frame }) {
  const { text, sign } = SOURCES[frame.source] ?? { text: "unknown", sign: "?" };
  return (
    <span class={`badge source-${frame.source ?? "unknown"}`}>
      <span aria-hidden="true">{sign}</span> {frame.source === "champion" && !frame.bundle ? "rule" : text}
    </span>
  );
}

const PRIORITIES = { high: "◆", medium: "▲", low: "■" };

export function Priority({ priority }) {
  return (
    <span class={`badge priority-${priority}`}>
      <span aria-hidden="true">{PRIORITIES[priority]}</span> {priority}
    </span>
  );
}

/** How old a value is; always said beside it. */
export function Age({ at, stale }) {
  if (!at) return <span class="age">no value yet</span>;
  return (
    <time class={stale ? "age stale" : "age"} dateTime={new Date(at * 1000).toISOString()} title={date(at)}>
      {age(now.value - at)}
    </time>
  );
}

export const number = (value, digits = 1) =>
  value === null || value === undefined || !Number.isFinite(value) ? "–" : value.toFixed(digits);

/** A figure of a table: four digits, with a real minus; a dash where there is none. */
export const figure = (value) =>
  Number.isFinite(value) ? Number(value.toPrecision(4)).toLocaleString("en-GB").replace("-", "−") : "–";

const UNITS = { s: "s", min: "min", pct: "%", veh: "vehicles", m: "m", mm: "mm", m3: "m³", km: "km" };

/** An indicator with its unit: `wait_min` → wait (min). */
export function indicator(name) {
  const cut = name.lastIndexOf("_");
  const unit = cut > 0 && UNITS[name.slice(cut + 1)];
  return unit ? `${name.slice(0, cut).replaceAll("_", " ")} (${unit})` : name.replaceAll("_", " ");
}

/** A controller's name without the folders that lead to it. */
export const brief = (name) => name.split("/").slice(-2).join("/");

/** Asks once before something is done. `ask` is what is going to happen; children may hold more to fill in. */
export function Confirm({ title, children, action, onDone, onClose, danger }) {
  const box = useRef(null);
  const [problem, setProblem] = useState("");
  const [busy, setBusy] = useState(false);
  useEffect(() => box.current?.showModal(), []);
  const go = async (event) => {
    event.preventDefault();
    setBusy(true);
    setProblem("");
    try {
      await onDone(Object.fromEntries(new FormData(event.target)));
      onClose();
    } catch (error) {
      setProblem(error.message);
    } finally {
      setBusy(false);
    }
  };
  return (
    <dialog ref={box} class="confirm" onClose={onClose} aria-labelledby="confirm-title">
      <form onSubmit={go}>
        <h2 id="confirm-title">{title}</h2>
        {children}
        <p class="hint">
          As <strong>{me.value.name}</strong>; {me.value.audit ? "it stands in the audit log." : "no audit log is kept here."}
        </p>
        {problem && (
          <p class="problem" role="alert">
            {problem}
          </p>
        )}
        <div class="buttons">
          <button type="button" onClick={() => box.current.close()}>
            Cancel
          </button>
          <button type="submit" class={danger ? "danger" : "primary"} disabled={busy}>
            {action}
          </button>
        </div>
      </form>
    </dialog>
  );
}

export function Empty({ children }) {
  return <p class="empty">{children}</p>;
}
