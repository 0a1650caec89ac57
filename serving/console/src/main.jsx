// The page: a bar with where one can go, and the view that the address names.
import "leaflet/dist/leaflet.css";
import "uplot/dist/uPlot.min.css";
import "./style.css";
import { effect, signal } from "@preact/signals";
import { Component, render } from "preact";
import { useEffect } from "preact/hooks";
import { me, sites, start, unasked, unseen } from "./store.js";
import { link } from "./stream.js";
import { set, theme } from "./theme.js";
import { refused, useKey } from "./api.js";
import { Age } from "./parts/common.jsx";
import { Activity } from "./views/activity.jsx";
import { AlarmList } from "./views/alarms.jsx";
import { City } from "./views/city.jsx";
import { Login } from "./views/login.jsx";
import { SiteView } from "./views/site.jsx";
import { Training } from "./views/training.jsx";

const address = signal(location.hash.slice(1) || "/");
addEventListener("hashchange", () => {
  address.value = location.hash.slice(1) || "/";
  document.getElementById("view")?.focus({ preventScroll: true });
  scrollTo(0, 0); // the bar would hide what a view begins with
});

const PLACES = [
  ["/", "City"],
  ["/alarms", "Alarms"],
  ["/activity", "Activity"],
  ["/training", "Training"],
];

function Bar() {
  const open = unseen.value.length;
  const here = address.value;
  return (
    <header class="bar">
      <a class="skip" href="#view" onClick={(event) => skip(event)}>
        Skip to content
      </a>
      <a class="brand" href="#/">
        <img src="/console/icon.svg" width="26" height="26" alt="" /> Cityloop
      </a>
      <nav aria-label="Views">
        {PLACES.map(([to, name]) => (
          <a href={`#${to}`} aria-current={here === to || (to === "/" && here.startsWith("/site")) ? "page" : undefined}>
            {name}
            {to === "/alarms" && open > 0 && <span class="count">{open}</span>}
          </a>
        ))}
      </nav>
      <span class={`link link-${link.value.state}`} role="status">
        <span aria-hidden="true">{link.value.state === "live" ? "●" : "○"}</span> {LINK[link.value.state]}
        {link.value.state === "lost" && link.value.at > 0 && (
          <>
            {" "}
            · heard <Age at={link.value.at} stale />
          </>
        )}
      </span>
      <button type="button" class="plain" onClick={() => set(theme.value === "dark" ? "light" : "dark")}>
        {theme.value === "dark" ? "Light" : "Dark"}
      </button>
      {me.value && (
        <span class="who">
          {me.value.name}
          {me.value.name !== "anonymous" && (
            <button
              type="button"
              class="plain"
              onClick={() => {
                useKey("");
                location.reload();
              }}
            >
              Leave
            </button>
          )}
        </span>
      )}
    </header>
  );
}

const LINK = { live: "live", connecting: "connecting", lost: "connection lost: nothing here is current" };

function skip(event) {
  event.preventDefault();
  document.getElementById("view").focus();
}

function View() {
  const [, first, system, name] = address.value.split("/");
  if (first === "site") {
    const site = sites.value.get(`${system}/${name}`); // another one where it has changed: its view begins anew
    return site ? <SiteView key={site} site={site} /> : <p class="empty">No site of that name is served here.</p>;
  }
  if (first === "alarms") return <AlarmList />;
  if (first === "activity") return <Activity />;
  if (first === "training") return <Training />;
  return <City />;
}

/** What the views show that may be old, and why. */
function Old() {
  const asked = Object.entries(unasked.value);
  if (!asked.length) return null;
  return (
    <p class="problem old" role="alert">
      {asked.map(([what, why]) => `The list of ${what} may be old, or lack some: it could not be asked for (${why}). `)}
      It is tried again every few seconds.
    </p>
  );
}

/** A view that failed is tried again after so long. */
const AGAIN_MS = 3000;

/** A view that fails says so, and leaves the bar alone. */
class Boundary extends Component {
  state = { error: null };

  static getDerivedStateFromError(error) {
    return { error };
  }

  componentDidCatch(error) {
    console.error(error);
    clearTimeout(this.again);
    this.again = setTimeout(() => this.setState({ error: null }), AGAIN_MS);
  }

  componentWillUnmount() {
    clearTimeout(this.again);
  }

  render() {
    if (!this.state.error) return this.props.children;
    return (
      <p class="problem" role="alert">
        This view failed ({this.state.error.message}). It is tried again every few seconds; what is shown elsewhere is not affected.
      </p>
    );
  }
}

function App() {
  useEffect(() => {
    start();
  }, []);
  if (refused.value) return <Login problem={refused.value} />;
  return (
    <>
      <Bar />
      <main id="view" tabIndex="-1" class={link.value.state === "lost" ? "lost" : ""}>
        {me.value ? (
          <Boundary key={address.value}>
            <View />
          </Boundary>
        ) : (
          <p class="empty">Asking the service…</p>
        )}
      </main>
      <Old />
    </>
  );
}

/** The tab's name: how many alarms wait, as it may lie behind others, and the view. */
effect(() => {
  const [, first, , name] = address.value.split("/");
  const view = first === "site" ? name : PLACES.find(([to]) => to === `/${first}`)?.[1];
  const open = unseen.value.length;
  document.title = `${open ? `(${open}) ` : ""}${view ?? "City"} · Cityloop`;
});

render(<App />, document.getElementById("app"));
