// What a site was like: what came by the stream, and what the audit log tells when somebody looks back.
import { computed, effect, signal } from "@preact/signals";
import { ask } from "./api.js";
import { BACK_S, spaced } from "./course.js";
import { now, time_s } from "./time.js";
import { frameOf, me } from "./store.js";

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
    /** Times of which it could not be learned what was decided: [{from_s, until_s}]. */
    this.unknown = signal([]);
    this.fetched = signal(null);
    this.problem = signal("");
    this.loading = signal(false);
    /** The time that is looked at, null: now. */
    this.at = signal(null);
    this.course = computed(() => {
      this.site.last.value; // whatever came last belongs to it
      const first = this.site.course[0]?.at_s ?? Infinity;
      const older = this.older.value.filter(({ at_s }) => at_s < first || this.site.misses(at_s));
      const all = [...older, ...this.site.course];
      return older.at(-1)?.at_s > first ? all.sort((a, b) => a.at_s - b.at_s) : all;
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
    this.asked = new Set();
    this.full = effect(() => site.holes.value.forEach((hole) => this.fill(hole)));
    this.load();
  }

  get patience() {
    return Math.max(MOVES_S, MOVES_PERIODS * this.site.movesPeriod_s);
  }

  /** The decision that held at a time, if it is still here. */
  kept(at) {
    const list = this.site.frames;
    if (!list.length || at < list[0].at_s || this.site.misses(at)) return null;
    return list.findLast((frame) => frame.at_s <= at) ?? list[0];
  }

  /** Decisions of a time, and from when on they are: the log may hold too many to read. */
  async past(query) {
    const { decisions, since } = await ask(`${this.site.base}/history?${query}`, { timeout: 30_000 });
    return { frames: decisions.map(frameOf), since };
  }

  /** Ask for the course of the last hour. */
  async load() {
    this.loading.value = true;
    try {
      await this.learn(`since=${time_s() - BACK_S}`);
      this.problem.value = "";
    } catch (error) {
      this.problem.value = error.message;
    } finally {
      this.loading.value = false;
    }
  }

  /** Ask for the course of a time, up to `end_s` or now, and keep it; gives from when on it is known. */
  async learn(query, end_s = Infinity) {
    const { frames, since } = await this.past(`${query}&limit=${ASKED}`);
    const found = spaced(frames.map((frame) => this.site.pointOf(frame)), this.site.period.peek());
    for (const point of found) point.until_s = Math.min(point.until_s, end_s);
    const known = new Map([...this.older.value, ...found].map((point) => [point.at_s, point]));
    this.older.value = [...known.values()].sort((a, b) => a.at_s - b.at_s);
    return since;
  }

  /** Ask for what the stream left out, once it is known until when. */
  async fill(hole) {
    if (hole.until_s === Infinity || this.asked.has(hole)) return;
    this.asked.add(hole);
    const { from_s } = hole;
    let { until_s } = hole;
    try {
      const asked_s = Math.max(from_s, until_s - BACK_S);
      const since_s = await this.learn(`since=${asked_s}&until=${until_s}`, until_s);
      if (me.peek().audit && !(since_s > asked_s)) return;
      if (me.peek().audit) until_s = since_s;
    } catch {
      // It is said of that time alone.
    }
    this.unknown.value = [...this.unknown.value, { from_s, until_s }];
  }

  /** Ask for the decision that held at a time, once nobody drags any further. */
  fetch(at) {
    clearTimeout(this.resting);
    if (at === null || this.kept(at)) return;
    this.resting = setTimeout(async () => {
      try {
        const { frames } = await this.past(`since=${at - BACK_S}&until=${at + 0.001}&limit=1`);
        if (this.at.peek() === at) this.fetched.value = frames.at(-1) ?? null;
      } catch (error) {
        if (this.at.peek() === at) this.fetched.value = null;
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
    this.full();
  }
}
