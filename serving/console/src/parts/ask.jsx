// Asks once before something is done, and says who does it: in a dialog, or in place where nothing is to be filled in.
import { useEffect, useLayoutEffect, useRef, useState } from "preact/hooks";
import { me } from "../store.js";

/** Something that may fail: → [do it (→ whether it was done), whether that is under way, what went wrong]. */
function useDoing(what) {
  const [problem, setProblem] = useState("");
  const [busy, setBusy] = useState(false);
  const go = async (...how) => {
    setBusy(true);
    setProblem("");
    try {
      await what(...how);
      return true;
    } catch (error) {
      setProblem(error.message);
      return false;
    } finally {
      setBusy(false);
    }
  };
  return [go, busy, problem];
}

function Problem({ children }) {
  if (!children) return null;
  return (
    <p class="problem" role="alert">
      {children}
    </p>
  );
}

/**
 * A dialog before something is done.
 *
 * @param title what is going to happen; children may hold more to fill in
 * @param action what the button says that does it
 * @param onDone does it, with what was filled in by name
 */
export function Confirm({ title, children, action, onDone, onClose, danger }) {
  const box = useRef(null);
  const [go, busy, problem] = useDoing(onDone);
  useEffect(() => box.current?.showModal(), []);
  const send = async (event) => {
    event.preventDefault();
    if (await go(Object.fromEntries(new FormData(event.target)))) onClose();
  };
  return (
    <dialog ref={box} class="confirm" onClose={onClose} aria-labelledby="confirm-title">
      <form onSubmit={send}>
        <h2 id="confirm-title">{title}</h2>
        {children}
        <p class="hint">
          As <strong>{me.value.name}</strong>; {me.value.audit ? "it stands in the audit log." : "no audit log is kept here."}
        </p>
        <Problem>{problem}</Problem>
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

/**
 * A button that turns into the question whether that is meant.
 *
 * “Cancel” comes where the button was: neither a double click nor a key that is held down answers for anybody.
 *
 * @param action what the button says, and what is asked
 * @param of what is acted on, for those who hear the page
 * @param onDone does it
 * @param children what stands beside the button as long as nothing is asked
 */
export function Asked({ action, of, onDone, children }) {
  const [asking, setAsking] = useState(false);
  const [go, busy, problem] = useDoing(onDone);
  const box = useRef(null);
  const back = useRef(false);
  const cancel = () => {
    back.current = true;
    setAsking(false);
  };
  useLayoutEffect(() => {
    if (asking) box.current.querySelector(".primary").focus();
    else if (back.current) box.current.querySelector("button").focus();
    back.current = false;
  }, [asking]);
  if (!asking) {
    return (
      <div class="acts" ref={box}>
        <button type="button" onClick={() => setAsking(true)}>
          {action}
        </button>
        {children}
      </div>
    );
  }
  const keys = (event) => {
    if (event.key === "Escape") cancel();
    else if (event.repeat && event.key !== "Tab") event.preventDefault();
  };
  return (
    <div class="acts" ref={box} role="group" aria-label={`${action} as ${me.value.name}? ${of}`} onKeyDown={keys}>
      <span class="hint">
        {action} as <strong>{me.value.name}</strong>?
      </span>
      <button type="button" onClick={cancel}>
        Cancel
      </button>
      <button type="button" class="primary" disabled={busy} onClick={async () => (await go()) && setAsking(false)}>
        Yes
      </button>
      <Problem>{problem}</Problem>
    </div>
  );
}
