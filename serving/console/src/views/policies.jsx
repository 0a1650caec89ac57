// Who acts, who watches: champion, challenger, fallback; how often they differ; promote, demote, roll back.
import { useSignal } from "@preact/signals";
import { useEffect, useState } from "preact/hooks";
import { ask } from "../api.js";
import { may } from "../store.js";
import { Confirm } from "../parts/ask.jsx";
import { Chart } from "../parts/chart.jsx";
import { Unasked } from "../parts/common.jsx";

/** What may be done with roles; `of` is whom it is about, `title` asks it of them, `says` what comes of it. */
const ACTS = {
  promote: {
    of: ({ challenger }) => challenger,
    title: (name) => `Let ${name} act here?`,
    action: "Promote",
    says: "It becomes the champion at once; who was it before is remembered.",
  },
  demote: {
    of: ({ challenger }) => challenger,
    title: (name) => `Send ${name} away?`,
    action: "Demote",
    says: "The champion goes on alone.",
  },
  rollback: {
    of: ({ former }) => former.at(-1),
    title: (name) => `Go back to ${name}?`,
    action: "Roll back",
    says: "It is the champion again, at once.",
  },
};

/** What is counted of whoever is in charge, over the ticks that its watch looks back at. */
const RATES = {
  errors: "failed",
  late: "too late",
  outside: "saw what it never learned",
  guarded: "changed by the guard, everyday reasons aside",
};

/** Who a role's name stands for: “policy” is whoever is known to do no harm here. */
function named(role, site) {
  const charge = site.state.value?.in_charge;
  return role === "policy" && charge?.role === "champion" ? charge.controller : role;
}

export function Policies({ site }) {
  const [doing, setDoing] = useState(null);
  const [setting, setSetting] = useState(null);
  const roles = site.state.value?.roles;
  if (!roles) return null;
  const before = roles.former?.at(-1);
  const watched = roles.challenger || site.state.value.in_charge?.out_of_charge;
  const allowed = may("administer", site);
  const begin = (act) => setDoing({ act, name: ACTS[act].of(roles) }); // others may change the roles meanwhile
  return (
    <section class="policies" aria-label="Policies">
      <h2>
        Policies <small>as of now</small>
      </h2>
      <dl class="facts">
        <Role name="champion" of={named(roles.champion, site)} />
        <Role name={roles.mode === "canary" ? "canary" : "in the shadow"} of={roles.challenger} />
        <Role name="fallback" of={site.state.value.in_charge?.fallback} />
        <Role name="champion before" of={before} />
      </dl>
      <h3>The one in charge, of late</h3>
      <dl class="facts">
        {Object.entries(site.state.value.rates ?? {}).map(([name, share]) => (
          <Role key={name} name={RATES[name] ?? name} of={`${(100 * share).toFixed(0)} %`} />
        ))}
      </dl>
      {watched && site.shadow.value && <ShadowChart site={site} />}
      {allowed && (
        <div class="buttons">
          <button type="button" onClick={() => setSetting("shadow")}>
            Try one in the shadow…
          </button>
          {roles.challenger && (
            <>
              <button type="button" onClick={() => begin("promote")}>
                Promote the challenger…
              </button>
              <button type="button" onClick={() => begin("demote")}>
                Demote…
              </button>
            </>
          )}
          {before && (
            <button type="button" onClick={() => begin("rollback")}>
              Roll back…
            </button>
          )}
        </div>
      )}
      <Unasked site={site} />
      {doing && (
        <Confirm
          title={ACTS[doing.act].title(doing.name)}
          action={ACTS[doing.act].action}
          danger
          onClose={() => setDoing(null)}
          onDone={async ({ reason }) => {
            const body = { reason, expected: doing.name };
            await ask(`${site.base}/policies/${doing.act}`, { method: "POST", body, timeout: 60_000 });
            await site.refresh();
          }}
        >
          <p>{ACTS[doing.act].says}</p>
          <label>
            Why
            <input name="reason" required maxLength="200" />
          </label>
        </Confirm>
      )}
      {setting && (
        <Confirm
          title="Let a policy watch"
          action="Begin"
          onClose={() => setSetting(null)}
          onDone={async ({ policy, reason }) => {
            await ask(`${site.base}/policies/shadow`, { method: "POST", body: { policy, reason }, timeout: 60_000 });
            await site.refresh();
          }}
        >
          <p>It decides every tick beside the champion. Nothing of it is carried out.</p>
          <label>
            Controller's name or bundle's path
            <input name="policy" required maxLength="200" list="controllers" autocomplete="off" />
          </label>
          <Controllers site={site} />
          <label>
            Why
            <input name="reason" required maxLength="200" />
          </label>
        </Confirm>
      )}
    </section>
  );
}

/** What can be named: controllers of the system, and bundles on the service's machine. */
function Controllers({ site }) {
  const names = useSignal([]);
  useEffect(() => {
    // Whoever knows a name can write it; bundles are told to whom the key lets see the whole service.
    Promise.allSettled([ask(`${site.base}/policies`), ask("/v1/bundles")]).then(([policies, bundles]) => {
      const mine = (bundles.value?.bundles ?? []).filter((one) => one.card.system === site.system).map((one) => one.ref);
      names.value = [...new Set([...(policies.value?.known ?? []), ...mine])];
    });
  }, [site]);
  return (
    <datalist id="controllers">
      {names.value.map((name) => (
        <option value={name} />
      ))}
    </datalist>
  );
}

function Role({ name, of }) {
  if (!of) return null;
  return (
    <div>
      <dt>{name}</dt>
      <dd>{of}</dd>
    </div>
  );
}

/** A line a controller: the challenger, and the policy itself while the fallback decides. */
function ShadowChart({ site }) {
  const names = [...new Set(site.shadows.map((s) => s.controller))].slice(-2);
  const share = (name) => (s) => (s.error || s.controller !== name ? null : 100 * s.differs);
  return (
    <figure>
      <figcaption>
        commands in which {names.join(" and ")} would have differed from the champion’s <small>(%)</small>
      </figcaption>
      <Chart
        label="Share of commands in which the shadow differs, over time"
        lines={names.map((name, k) => ({ label: name, colour: ["pink", "orange"][k], gaps: true }))}
        data={() => {
          site.shadow.value;
          return [site.shadows.map((s) => s.at_s), ...names.map((name) => site.shadows.map(share(name)))];
        }}
      />
    </figure>
  );
}
