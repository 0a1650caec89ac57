// The stream of events, kept open: it is read with fetch, as EventSource cannot send a key.
import { signal } from "@preact/signals";
import { createParser } from "eventsource-parser";
import { contentOf, headers, key, refused } from "./api.js";
import { hear, time_s } from "./time.js";

/** `state`: connecting, live or lost; `at`: when something was last heard, heartbeats included (seconds since 1970). */
export const link = signal({ state: "connecting", at: 0 });

/** After so many seconds without even a heartbeat the stream counts as lost. */
export const LOST_S = 12;

const RETRY_MS = 2000;

/** A key that has expired, or was taken back: asking again does not help. */
export const REFUSALS = new Set([401, 403]);

/**
 * @param onOpen told that it has begun, and whether it goes on from the last event that was heard
 * @return ends it
 */
export function listen(path, onEvent, onOpen) {
  let lastId = "";
  let stopped = false;
  let abort = null;
  let heard = { at_s: 0, ms: 0 }; // by the service's clock, and by one that nobody sets

  const hears = () => (heard = { at_s: time_s(), ms: performance.now() });
  const tell = (state) => {
    if (!stopped) link.value = { state, at: heard.at_s };
  };

  const parser = createParser({
    onEvent(event) {
      if (event.id) lastId = event.id;
      let content;
      try {
        content = JSON.parse(event.data);
      } catch {
        return;
      }
      onEvent(event.event ?? "message", content);
    },
  });

  async function read() {
    abort = new AbortController();
    const extra = lastId ? { "last-event-id": lastId } : {};
    const asked_s = Date.now() / 1000;
    const asker = key.peek();
    const answer = await fetch(path, { headers: { ...headers(), ...extra }, signal: abort.signal });
    if (!answer.ok) await contentOf(answer, asker);
    hear(answer, asked_s);
    parser.reset();
    hears();
    tell("live");
    onOpen(lastId !== "");
    const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
    for (;;) {
      const { done, value } = await reader.read();
      if (done) return;
      hears();
      if (link.value.state !== "live" || heard.at_s - link.value.at > 1) tell("live");
      parser.feed(value);
    }
  }

  async function loop() {
    while (!stopped) {
      try {
        await read();
      } catch (error) {
        // What else failed is said by the state of the link.
        if (!stopped && REFUSALS.has(error.status)) {
          refused.value = error;
          return stop();
        }
      }
      tell("lost");
      await new Promise((done) => setTimeout(done, RETRY_MS));
    }
  }

  const guard = setInterval(() => {
    if (heard.at_s && performance.now() - heard.ms > 1000 * LOST_S) {
      tell("lost");
      abort?.abort();
    }
  }, 1000);

  function stop() {
    stopped = true;
    clearInterval(guard);
    abort?.abort();
  }

  loop();
  return stop;
}
