// What a site was like: what came by the stream, and what the audit log tells when somebody looks back.
import { computed, effect, signal } from "@preact/signals";
import { ask } from "./api.js";
import { BACK_S, spaced } from "./course.js";
import { now, time_s } from "./time.js";
import { frameOf } from "./store.js";

/** Decisions from before that are asked for at once, spread over that time: for their course alone. */
const ASKED = 200;

/** A report of vehicles older than this, and than two of its periods, is not shown as where they are, now or then. */
const MOVES_S = 5;
const MOVES_PERIODS = 2;

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
    /** Vehicles as they are, or as they were where this page heard of them: [{id, x, y, load}]. */
    this.moves = computed(() => {
      const at = this.at.value;
      if (at !== null) return this.site.movesAt(at, this.patience);
      const report = this.site.telemetry.value;
      return report && !this.movesOld.value ? report.things : [];
    });
    this.movesOld = computed(() => now.value - (this.site.telemetry.value?.at_s ?? Infinity) > this.patience);
    this.end = effect(() => this.fetch(this.at.value));
    this.load();
  }

  get patience() {
    return Math.max(MOVES_S, MOVES_PERIODS * this.site.movesPeriod_s);
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
      const frames = await this.past(`since=${time_s() - BACK_S}&limit=${ASKED}`);
      this.older.value = spaced(frames.map((frame) => this.site.pointOf(frame)), this.site.period.peek());
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
