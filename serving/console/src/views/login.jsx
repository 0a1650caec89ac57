// Asks for a key where the service wants one.
import { useState } from "preact/hooks";
import { key, keyOf, useKey } from "../api.js";
import { start } from "../store.js";
import { REFUSALS } from "../stream.js";

const UNFIT = "No key holds such characters: letters without accents, digits and plain signs are all. Copy it once more.";

export function Login({ problem }) {
  const [unfit, setUnfit] = useState(false);
  const enter = (event) => {
    event.preventDefault();
    const given = keyOf(new FormData(event.target).get("key"));
    setUnfit(given === null);
    if (given === null) return;
    useKey(given);
    start();
  };
  const wanted = REFUSALS.has(problem.status);
  const said = problem.status === 401 ? "That key is not known here, or no longer." : `That key is not let in: ${problem.message}`;
  return (
    <main class="login" id="view">
      <form onSubmit={enter}>
        <h1>
          <img src="/console/icon.svg" width="32" height="32" alt="" /> Cityloop
        </h1>
        {wanted ? (
          <>
            <label>
              Your key or token
              <input name="key" type="password" autocomplete="off" required autofocus />
            </label>
            <p class="hint">It stays in this tab. Who runs the service makes keys with “cityloop keys create”.</p>
            {(unfit || key.value) && (
              <p class="problem" role="alert">
                {unfit ? UNFIT : said}
              </p>
            )}
            <button class="primary">Enter</button>
          </>
        ) : (
          <>
            <p class="problem" role="alert">
              {problem.message}
            </p>
            <p class="hint">It is tried again every few seconds.</p>
            <button type="button" class="primary" onClick={() => location.reload()}>
              Try now
            </button>
          </>
        )}
      </form>
    </main>
  );
}
