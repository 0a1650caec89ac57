// Asks for a key where the service wants one.
import { useKey } from "../api.js";
import { start } from "../store.js";

export function Login({ problem }) {
  const enter = (event) => {
    event.preventDefault();
    useKey(new FormData(event.target).get("key").trim());
    start();
  };
  const wanted = problem.status === 401 || problem.status === 403;
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
            {sessionStorage.getItem("cityloop.key") && (
              <p class="problem" role="alert">
                {problem.status === 401 ? "That key is not known here, or no longer." : `That key is not let in: ${problem.message}`}
              </p>
            )}
            <button class="primary">Enter</button>
          </>
        ) : (
          <>
            <p class="problem" role="alert">
              {problem.message}
            </p>
            <button type="button" class="primary" onClick={() => location.reload()}>
              Try again
            </button>
          </>
        )}
      </form>
    </main>
  );
}
