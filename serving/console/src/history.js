// What a site was like: what came by the stream, and what the audit log tells when somebody looks back.
import { computed, effect, signal } from "@preact/signals";
import { ask } from "./api.js";
import { frameOf } from "./store.js";

/** How far back one may look, in seconds. */
const BACK_S = 3600;

/** Decisions from before that are asked for at once, spread over that time: for their course alone. */
const ASKED = 200;

/** Dragging asks for a decision when it rests for so long. */
const RESTS_MS = 150;

export class History {
  constructor(site) {
    this.site = site;
    this.older = signal([]);
    this.fetched = signal(null);
    this.problem = signal("");
    this.loading = signal(false);
    /** The time that is looked at, null: now. */
    this.at = signal(null);
    this.course = computed(() => {
      this.site.last.value; // whatever came last belongs to it
      const first = this.site.course[0]?.at_s ?? Infinity;
      return [...this.older.value.filter((point) => point.at_s < first), ...this.site.course];
    });
    this.shown = computed(() => {
      const at = this.at.value;
      return at === null ? this.site.last.value : (this.kept(at) ?? this.fetched.value);
    });
    this.end = effect(() => this.fetch(this.at.value));
    this.load();
  }

  /** The decision that held at a time, if it is still here. */
  kept(at) {
    const list = this.site.frames;
    if (!list.length || at < list[0].at_s) return null;
    return list.findLast((frame) => frame.at_s <= at) ?? list[0];
  }

  async past(query) {
    const { decisions } = await ask(`${this.site.base}/history?${query}`, { timeout: 30_000 });
    return decisions.map(frameOf);
  }

  /** Ask for the course of the last hour. */
  async load() {
    this.loading.value = true;
    try {
      const frames = await this.past(`since=${Date.now() / 1000 - BACK_S}&limit=${ASKED}`);
      this.older.value = frames.map((frame) => this.site.pointOf(frame));
      this.problem.value = "";
    } catch (error) {
      this.problem.value = error.message;
    } finally {
      this.loading.value = false;
    }
  }

  /** Ask for the decision that held at a time, once nobody drags any further. */
  fetch(at) {
    clearTimeout(this.resting);
    if (at === null || this.kept(at)) return;
    this.resting = setTimeout(async () => {
      try {
        const found = await this.past(`since=${at - BACK_S}&until=${at + 0.001}&limit=1`);
        if (this.at.peek() === at) this.fetched.value = found.at(-1) ?? null;
      } catch (error) {
        this.problem.value = error.message;
      }
    }, RESTS_MS);
  }

  look(at) {
    this.at.value = at;
  }

  stop() {
    clearTimeout(this.resting);
    this.end();
  }
}
