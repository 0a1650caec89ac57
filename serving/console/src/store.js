// What the page knows: filled by the stream and by questions to the service, read by the views.
import { computed, signal } from "@preact/signals";
import { ask, refused } from "./api.js";
import { append, period } from "./course.js";
import { listen } from "./stream.js";
import { now } from "./time.js";
import { gaugesOf, SYSTEMS } from "./systems/index.js";

/** Values of whole decisions that are kept of a site; older decisions are asked for when somebody looks back. */
const KEPT_VALUES = 1_000_000;
const KEPT_FRAMES = [30, 900];
const KEPT_SHADOWS = 900;

/** Numbers of vehicles' reports that are kept of a site, three a vehicle, and reports at most. */
const KEPT_NUMBERS = 1_000_000;
const KEPT_REPORTS = 3600;

/** What was told last is shown so soon: plants may tell a hundred times a second, and nobody sees that. */
const SHOWN_MS = 100;

const KEPT_WINDOWS = 500;

/** Decisions of every site that the stream begins with: two tell how often one comes. */
const FIRST_DECISIONS = 2;

/** A site's values are old after so many of its own periods without a new one, and so many seconds at least; until two
 * ticks have told the period it is the usual one. */
const STALE_PERIODS = 2;
const STALE_S = 2;

export const me = signal(null);
export const sites = signal(new Map());
export const alarms = signal({ alarms: [], rate: 0, course: [] });

/** Alarms that nobody has acknowledged, nor put aside. */
export const unseen = computed(() => alarms.value.alarms.filter((a) => a.state !== "acknowledged" && !(a.shelved_until_s > now.value)));

export const changes = signal([]);

export class Site {
  constructor(system, row) {
    this.system = system.name;
    this.name = row.name;
    this.command = system.command;
    this.ref = `${system.name}/${row.name}`;
    this.base = `/v1/${system.name}/${row.name}`;
    this.description = system.description;
    this.agents = row.agents;
    this.frames = [];
    this.course = [];
    this.shadows = [];
    this.last = signal(null);
    this.shadow = signal(null);
    this.telemetry = signal(null);
    this.reports = [];
    this.movesPeriod_s = null;
    this.info = signal(null);
    this.scene = signal(null);
    this.state = signal(null);
    this.structure = signal(null);
    this.period = signal(null);
    this.controller = row.controller;
    this.interval_s = row.interval_s;
    this.stale = computed(() => {
      const frame = this.last.value;
      if (!frame) return true;
      return now.value - frame.at_s > this.patience.value;
    });
    this.patience = computed(() => Math.max(STALE_PERIODS * (this.period.value ?? this.interval_s), STALE_S));
  }

  /** Whether another of this name has as many agents and the same interval. */
  isLike(other) {
    return this.interval_s === other.interval_s && this.agents === other.agents;
  }

  get kind() {
    return SYSTEMS[this.system] ?? SYSTEMS.other;
  }

  add(decision) {
    const frame = frameOf(decision);
    const before = this.frames.at(-1);
    if (before && frame.at_s === before.at_s) return; // a stream that begins anew tells the last ones again
    if (before && frame.at_s >= before.at_s) this.period.value = period(this.period.value, frame.at_s - before.at_s);
    this.frames.push(frame);
    const size = Object.values(frame.readings).reduce((total, column) => total + column.length, 1);
    const [least, most] = KEPT_FRAMES;
    trim(this.frames, Math.min(Math.max(Math.floor(KEPT_VALUES / size), least), most));
    append(this.course, this.pointOf(frame), this.period.value);
    this.newest = frame;
    this.showing ||= setTimeout(() => this.show(), this.last.peek() ? SHOWN_MS : 0);
  }

  show() {
    this.showing = 0;
    this.last.value = this.newest;
  }

  /** Where vehicles are; places alone are kept, for whoever looks back. */
  addTelemetry(report) {
    const before = this.reports.at(-1);
    if (before) this.movesPeriod_s = period(this.movesPeriod_s, report.at_s - before.at_s);
    const numbers = new Float32Array(3 * report.things.length);
    report.things.forEach(({ x, y, load }, k) => numbers.set([x, y, load], 3 * k));
    this.reports.push({ at_s: report.at_s, numbers });
    trim(this.reports, Math.min(KEPT_REPORTS, Math.ceil(KEPT_NUMBERS / Math.max(numbers.length, 1))));
    this.telemetry.value = report;
  }

  /** Where vehicles were at a time, none where nothing was told shortly before: [{id, x, y, load}]. */
  movesAt(at_s, within_s) {
    const report = this.reports.findLast((one) => one.at_s <= at_s);
    if (!report || at_s - report.at_s > within_s) return [];
    const n = report.numbers;
    return Array.from({ length: n.length / 3 }, (_, k) => ({ id: k, x: n[3 * k], y: n[3 * k + 1], load: n[3 * k + 2] }));
  }

  addShadow(shadow) {
    this.shadows.push(shadow);
    trim(this.shadows, KEPT_SHADOWS);
    this.shadow.value = shadow;
  }

  /** What is kept of a decision for its course: what was in charge, and what the gauges showed. */
  pointOf(frame) {
    return {
      at_s: frame.at_s,
      source: frame.source,
      latency_ms: frame.latency_ms,
      reasons: [...new Set(frame.interventions.map((change) => change.reason))],
      found: frame.findings?.length > 0,
      hand: Object.keys(frame.overridden ?? {}).length > 0,
      gauges: gaugesOf(this.kind, frame).map((gauge) => gauge.value),
    };
  }

  /** What painters need: positions along every axis, limits, and what they keep from frame to frame. */
  painting() {
    if (!this._painting && this.info.value) {
      const { axes, limits } = this.info.value;
      const index = {};
      for (const [axis, ids] of Object.entries(axes)) index[axis] = new Map(ids.map((id, k) => [id, k]));
      const heights = [...new Set((this.scene.value?.marks ?? []).flatMap((m) => m.points.map((p) => p[1])))];
      this._painting = { index, limits, heights: heights.sort((a, b) => a - b) };
    }
    return this._painting ?? { index: {}, limits: {} };
  }

  /** What its tile needs. */
  async load() {
    this.info.value ??= await ask(this.base);
  }

  /** What it looks like, for its own view. */
  async loadScene() {
    if (this.scene.value) return;
    const scene = await ask(`${this.base}/scene`);
    this._painting = null;
    this.scene.value = scene;
  }

  /** Ask what a building's health monitor has heard; from then on it comes by the stream. */
  async loadStructure() {
    this.structure.value = await ask(`${this.base}/structure?limit=${KEPT_WINDOWS}`);
  }

  addWindow(window) {
    const before = this.structure.value;
    if (before?.monitor) this.structure.value = { ...before, windows: [...before.windows, window].slice(-KEPT_WINDOWS) };
  }

  async refresh() {
    this.state.value = await ask(`${this.base}/state`);
  }
}

function trim(list, most) {
  if (list.length > most) list.splice(0, list.length - most);
}

/** One decision as the views read it: readings as arrays by column, commands by agent. */
export function frameOf(decision) {
  return { ...decision, readings: decision.request?.readings ?? {} };
}

/** Whether the caller may do what a role does at a site; without a site: to the service as a whole. */
export function may(role, site) {
  const order = ["read", "act", "operate", "administer"];
  const fits = (pattern, value) => {
    const parts = pattern.split("*").map((part) => part.replace(/[.+?^${}()|[\]\\]/g, "\\$&"));
    return new RegExp(`^${parts.join(".*")}$`).test(value);
  };
  return (me.value?.grants ?? []).some(
    (grant) =>
      order.indexOf(grant.role) >= order.indexOf(role) &&
      (!site || (fits(grant.system, site.system) && fits(grant.site, site.name))),
  );
}

export async function refreshAlarms() {
  alarms.value = await ask("/v1/alarms");
}

/** Asks for the alarms once for all that change within a moment. */
let waiting = 0;
function refreshAlarmsSoon() {
  waiting ||= setTimeout(() => {
    waiting = 0;
    refreshAlarms().catch(() => {});
  }, SHOWN_MS);
}

function onEvent(kind, content) {
  const site = sites.value.get(`${content.system}/${content.site}`);
  if (kind === "decision") site?.add(content);
  else if (kind === "shadow") site?.addShadow(content);
  else if (kind === "structure") site?.addWindow({ at_s: content.at_s, report: content.report });
  else if (kind === "telemetry") site?.addTelemetry(content);
  else if (kind === "alarm") refreshAlarmsSoon();
  else if (kind === "change") {
    changes.value = [content, ...changes.value].slice(0, 200);
    site?.refresh().catch(() => {});
  }
}

let stop = null;
let starts = 0;

/** What is served, by site; what is known of a site stays as long as the site is the same. */
async function learn() {
  const { systems } = await ask("/v1/systems");
  const found = new Map();
  for (const system of systems) {
    for (const row of system.sites) {
      const site = new Site(system, row);
      const known = sites.peek().get(site.ref);
      found.set(site.ref, known?.isLike(site) ? known : site);
    }
  }
  return found;
}

const loadAll = () => Promise.all([...sites.value.values()].map((site) => site.load()));

/** What stands, or has changed while nobody listened. */
function catchUp() {
  refreshAlarms().catch(() => {});
  for (const site of sites.value.values()) {
    site.refresh().catch(() => {});
    if (site.structure.peek()) site.loadStructure().catch(() => {});
  }
}

/** A service that was started again may serve other sites. */
async function learnAgain() {
  sites.value = await learn();
  await loadAll();
  catchUp();
}

/** Log in, learn what is served, and listen; what keeps the page out is said by `refused`. */
export async function start() {
  const turn = ++starts;
  const overtaken = () => turn !== starts; // with another key
  stop?.();
  try {
    const caller = await ask("/v1/me");
    if (overtaken()) return;
    me.value = caller;
    refused.value = null;
    sites.value = new Map();
    const served = await learn();
    if (overtaken()) return;
    sites.value = served;
    let again = false;
    stop = listen(`/v1/events?last=${FIRST_DECISIONS}`, onEvent, () => {
      if (again) learnAgain().catch(() => {});
      else catchUp();
      again = true;
    });
    await loadAll();
  } catch (error) {
    if (!overtaken()) refused.value = error;
  }
}
