// What a site was like: the frames that came by the stream, and older ones from the audit log when somebody looks back.
import { computed, signal } from "@preact/signals";
import { ask } from "./api.js";
import { frameOf } from "./store.js";

/** How far back one may look, in seconds. */
export const BACK_S = 3600;

/** Older decisions that are asked for at once: spread over the time that is looked at. */
const ASKED = 600;

export class History {
  constructor(site) {
    this.site = site;
    this.older = signal([]);
    this.problem = signal("");
    this.loading = signal(false);
    /** The time that is looked at, null: now. */
    this.at = signal(null);
    this.frames = computed(() => {
      this.site.last.value; // whatever came last belongs to it
      const first = this.site.frames[0]?.at_s ?? Infinity;
      return [...this.older.value.filter((frame) => frame.at_s < first), ...this.site.frames];
    });
    this.shown = computed(() => {
      const at = this.at.value;
      if (at === null) return this.site.last.value;
      const list = this.frames.value;
      let found = null;
      for (const frame of list) {
        if (frame.at_s > at) break;
        found = frame;
      }
      return found ?? list[0] ?? null;
    });
    this.load();
  }

  /** Ask for the last hour. */
  async load() {
    this.loading.value = true;
    try {
      const since = Date.now() / 1000 - BACK_S;
      const { decisions } = await ask(`${this.site.base}/history?since=${since}&limit=${ASKED}`, { timeout: 30_000 });
      this.older.value = decisions.map(frameOf);
      this.problem.value = "";
    } catch (error) {
      this.problem.value = error.message;
    } finally {
      this.loading.value = false;
    }
  }

  look(at) {
    this.at.value = at;
  }

  stop() {
    this.older.value = [];
  }
}
