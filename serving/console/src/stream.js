// The stream of events, kept open: it is read with fetch, as EventSource cannot send a key.
import { signal } from "@preact/signals";
import { createParser } from "eventsource-parser";
import { headers } from "./api.js";

/** `state`: connecting, live or lost; `at`: when something was last heard, heartbeats included (seconds since 1970). */
export const link = signal({ state: "connecting", at: 0 });

/** After so many seconds without even a heartbeat the stream counts as lost. */
export const LOST_S = 12;

const RETRY_MS = 2000;

export function listen(path, onEvent, onOpen) {
  let lastId = "";
  let stopped = false;
  let abort = null;
  let heard = 0;

  const tell = (state) => {
    if (!stopped) link.value = { state, at: heard / 1000 };
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
    const answer = await fetch(path, { headers: { ...headers(), ...extra }, signal: abort.signal });
    if (!answer.ok) throw new Error(String(answer.status));
    parser.reset();
    heard = Date.now();
    tell("live");
    onOpen();
    const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
    for (;;) {
      const { done, value } = await reader.read();
      if (done) return;
      heard = Date.now();
      if (link.value.state !== "live" || heard / 1000 - link.value.at > 1) tell("live");
      parser.feed(value);
    }
  }

  async function loop() {
    while (!stopped) {
      try {
        await read();
      } catch {
        /* said by the state of the link */
      }
      tell("lost");
      await new Promise((done) => setTimeout(done, RETRY_MS));
    }
  }

  const guard = setInterval(() => {
    if (heard && Date.now() - heard > LOST_S * 1000) {
      tell("lost");
      abort?.abort();
    }
  }, 1000);
  loop();
  return () => {
    stopped = true;
    clearInterval(guard);
    abort?.abort();
  };
}
