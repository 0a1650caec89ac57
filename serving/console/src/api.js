// Asks the service. Every address is on this page's own origin.
import { signal } from "@preact/signals";
import { hear } from "./time.js";

const KEY = "cityloop.key";

/** A key as somebody gave it, without spaces and what nobody sees; null: it holds what no key does, and cannot be sent. */
export function keyOf(text) {
  const plain = text.replace(/[\p{Z}\p{C}]/gu, "");
  return /^[!-~]*$/.test(plain) ? plain : null;
}

/** The caller's key or token, kept for this tab only; empty where the service is open. */
export const key = signal(keyOf(sessionStorage.getItem(KEY) ?? "") ?? "");

export function useKey(value) {
  key.value = value;
  if (value) sessionStorage.setItem(KEY, value);
  else sessionStorage.removeItem(KEY);
}

/** What the service said is wrong: `status`, and its own words. */
export class Refused extends Error {
  constructor(status, problem) {
    super(problem ? `${problem.field}: ${problem.mend}` : `the service answered ${status}`);
    this.status = status;
    this.problem = problem;
  }
}

/** Why the service lets nobody in with this key, or could not be asked at the start; `null` while all is well. */
export const refused = signal(null);

export function headers() {
  return key.value ? { authorization: `Bearer ${key.value}` } : {};
}

/** What is said where a change was asked for and no whole answer came. */
const UNSURE = "; what was asked for may have been done";

/** @param changes whether what is asked for changes anything */
export async function ask(path, { method = "GET", body, timeout = 10_000, changes = method !== "GET" } = {}) {
  const asked_s = Date.now() / 1000;
  const asker = key.peek();
  let answer;
  try {
    answer = await fetch(path, {
      method,
      headers: body === undefined ? headers() : { ...headers(), "content-type": "application/json" },
      body: body === undefined ? undefined : JSON.stringify(body),
      signal: AbortSignal.timeout(timeout),
    });
  } catch {
    throw new Refused(0, { field: "service", mend: changes ? `it gave no answer${UNSURE}` : "it cannot be reached; is it running?" });
  }
  hear(answer, asked_s);
  return contentOf(answer, asker, changes);
}

/** What an answer holds; a key that is not known, or no longer, is asked for again, unless another was given since.
 *
 * @throws Refused where it is a refusal, or breaks off
 */
export async function contentOf(answer, asker, changes = false) {
  const content = await answer.json().catch(() => {
    if (answer.ok) throw new Refused(0, { field: "service", mend: `its answer broke off${changes ? UNSURE : ""}` });
    return null;
  });
  if (answer.ok) return content;
  const refusal = new Refused(answer.status, content?.error);
  if (answer.status === 401 && asker === key.peek()) refused.value = refusal;
  throw refusal;
}
