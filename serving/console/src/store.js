// What the page knows: filled by the stream and by questions to the service, read by the views.
import { computed, signal } from "@preact/signals";
import { ask, refused } from "./api.js";
import { append, BACK_S, Pace } from "./course.js";
import { listen, REFUSALS } from "./stream.js";
import { now } from "./time.js";
import { gaugesOf, SYSTEMS } from "./systems/index.js";
import { compare, urgencyOf } from "./urgency.js";

/** Values of whole decisions that are kept of a site; older decisions are asked for when somebody looks back. */
const KEPT_VALUES = 1_000_000;
const KEPT_FRAMES = [30, 900];
const KEPT_SHADOWS = 900;

/** Numbers of vehicles' reports that are kept of a site, three a vehicle, and reports at most. */
const KEPT_NUMBERS = 1_000_000;
const KEPT_REPORTS = 3600;

/** What could not be asked is asked again after so long; who has asked too often rests longer. */
export const againMs = (error) => (error.status === 429 ? 10_000 : 2000);

/** What was told last is shown so soon: plants may tell a hundred times a second, and nobody sees that. */
const SHOWN_MS = 100;

const KEPT_WINDOWS = 500;

/** Decisions of every site that the stream begins with: two tell how often one comes. */
const FIRST_DECISIONS = 2;

/** A site's values are old after so many of its own periods without a new one, and so many seconds at least; until its
 * ticks have told the period it is the usual one. */
const STALE_PERIODS = 2;
const STALE_S = 2;

export const me = signal(null);
export const sites = signal(new Map());
export const alarms = signal({ alarms: [], rate: 0, course: [] });

/** What could not be asked, and is asked again: {what: why}. */
export const unasked = signal({});

/** How often the stream left something out, so that whoever lists what it tells asks again. */
export const missed = signal(0);

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
    this.pace = new Pace();
    this.movesPace = new Pace();
    this.movesPeriod_s = null;
    /** Times between decisions of which others may be missing: [{from_s, until_s}], the latest last. */
    this.holes = signal([]);
    this.info = signal(null);
    this.scene = signal(null);
    this.state = signal(null);
    /** Why the state could not be asked for, so that it may be old; empty: it could. */
    this.stateProblem = signal("");
    this.structure = signal(null);
    this.interval_s = row.interval_s;
    this.period = signal(this.interval_s);
    this.controller = row.controller;
    this.stale = computed(() => {
      const frame = this.last.value;
      if (!frame) return true;
      return now.value - frame.at_s > this.patience.value;
    });
    this.patience = computed(() => Math.max(STALE_PERIODS * this.period.value, STALE_S));
  }

  /** Whether another of this name is the same site, once both are loaded. */
  isLike(other) {
    return this.interval_s === other.interval_s && this.info.peek()?.site_hash === other.info.peek().site_hash;
  }

  get kind() {
    return SYSTEMS[this.system] ?? SYSTEMS.other;
  }

  add(decision) {
    const frame = frameOf(decision);
    const before = this.frames.at(-1);
    const again = this.frames.slice(-FIRST_DECISIONS).some((one) => one.at_s === frame.at_s);
    if (again) return; // a stream that begins anew tells the last ones again
    const missing = this.reach(frame.at_s);
    if (before && !missing && frame.at_s >= before.at_s) {
      this.period.value = this.pace.add(frame.at_s - before.at_s) ?? this.interval_s;
    }
    this.frames.push(frame);
    const size = Object.values(frame.readings).reduce((total, column) => total + column.length, 1);
    const [least, most] = KEPT_FRAMES;
    trim(this.frames, Math.min(Math.max(Math.floor(KEPT_VALUES / size), least), most));
    append(this.course, this.pointOf(frame), this.period.value, missing);
    this.newest = frame;
    this.showing ||= setTimeout(() => this.show(), this.last.peek() ? SHOWN_MS : 0);
  }

  /** The stream has left something out: what came since the last decision is not here. */
  miss() {
    const holes = this.holes.peek();
    if (holes.at(-1)?.until_s === Infinity) return;
    this.holes.value = [...holes, { from_s: this.newest?.at_s ?? 0, until_s: Infinity }];
  }

  /** A decision has come: what was missed was missed until then → whether something was. */
  reach(at_s) {
    const holes = this.holes.peek();
    if (holes.at(-1)?.until_s !== Infinity) return false;
    const within = holes.slice(0, -1).filter((hole) => hole.until_s > at_s - BACK_S);
    this.holes.value = [...within, { ...holes.at(-1), until_s: at_s }];
    return true;
  }

  /** Whether decisions may be missing at a time. */
  misses(at_s) {
    return this.holes.peek().some((hole) => hole.from_s < at_s && at_s < hole.until_s);
  }

  show() {
    this.showing = 0;
    this.last.value = this.newest;
  }

  /** Where vehicles are; places alone are kept, for whoever looks back. */
  addTelemetry(report) {
    const before = this.reports.at(-1);
    if (before) this.movesPeriod_s = this.movesPace.add(report.at_s - before.at_s);
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

  /** They were of roles that have changed. */
  forgetShadows() {
    this.shadows = [];
    this.shadow.value = null;
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

  /** Ask how things stand; where that fails `stateProblem` says so. */
  async refresh() {
    try {
      this.state.value = await ask(`${this.base}/state`);
      this.stateProblem.value = "";
    } catch (error) {
      this.stateProblem.value = error.message;
    }
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

/** Note whether something could be asked; `problem`: why not. */
function note(what, problem) {
  const { [what]: _, ...others } = unasked.value;
  unasked.value = problem ? { ...others, [what]: problem } : others;
}

let later = 0;

/** Ask for the alarms; where that fails `unasked` says so, and they are asked for again. */
export async function refreshAlarms() {
  clearTimeout(later);
  try {
    alarms.value = await ask("/v1/alarms");
    note("alarms", "");
  } catch (error) {
    note("alarms", error.message);
    if (!refused.peek()) later = setTimeout(refreshAlarms, againMs(error));
  }
}

/** Asks for the alarms once for all that change within a moment. */
let waiting = 0;
function refreshAlarmsSoon() {
  waiting ||= setTimeout(() => {
    waiting = 0;
    refreshAlarms();
  }, SHOWN_MS);
}

/** Take an alarm as it is told; one that is over and was seen to has left the list. */
function takeAlarm(alarm) {
  const list = alarms.value.alarms.filter((one) => one.id !== alarm.id);
  if (alarm.returned_s === null || alarm.acknowledged_s === null) list.push(alarm);
  alarms.value = { ...alarms.value, alarms: list.sort((x, y) => compare(urgencyOf(x), urgencyOf(y))) };
  refreshAlarmsSoon(); // it does not tell how often alarms came
}

/** Changes of who has which role. */
const OF_ROLES = new Set(["shadow", "canary", "promote", "demote", "rollback", "return", "configure"]);

function takeChange(change, site) {
  changes.value = [change, ...changes.value].slice(0, 200);
  if (OF_ROLES.has(change.what)) site?.forgetShadows();
  site?.refresh();
}

/** The stream has left something out: at a site, or none is named, at any of them. */
function takeGap({ system, site }) {
  const hit = [...sites.value.values()].filter((one) => system === undefined || one.ref === `${system}/${site}`);
  for (const one of hit) one.miss();
  if (system !== undefined) for (const one of hit) one.refresh(); // else the stream began anew: see `learnAgain`
  refreshAlarmsSoon();
  missed.value++;
}

function onEvent(kind, content) {
  const site = sites.value.get(`${content.system}/${content.site}`);
  if (kind === "decision") site?.add(content);
  else if (kind === "shadow") site?.addShadow(content);
  else if (kind === "structure") site?.addWindow({ at_s: content.at_s, report: content.report });
  else if (kind === "telemetry") site?.addTelemetry(content);
  else if (kind === "alarm") takeAlarm(content);
  else if (kind === "change") takeChange(content, site);
  else if (kind === "gap") takeGap(content);
}

let stop = null;
let starts = 0;

/** What is served, a site each. */
async function learn() {
  const { systems } = await ask("/v1/systems");
  return systems.flatMap((system) => system.sites.map((row) => new Site(system, row)));
}

const byRef = (list) => new Map(list.map((site) => [site.ref, site]));
const loadAll = (list) => Promise.all(list.map((site) => site.load()));

/** Load what is served, and again what was not told, unless the page has begun anew meanwhile. */
async function loadUntilTold(list, turn) {
  try {
    await loadAll(list);
    note("sites", "");
  } catch (error) {
    if (turn !== starts || refused.peek()) return;
    note("sites", error.message);
    learning = setTimeout(() => turn === starts && loadUntilTold(list, turn), againMs(error));
  }
}

/** What stands, or has changed while nobody listened. */
function catchUp() {
  refreshAlarms();
  for (const site of sites.value.values()) {
    site.refresh();
    if (site.structure.peek()) site.loadStructure().catch(() => {});
  }
}

let learning = 0;

/** A service that was started again may serve other sites, or others by the same names; what is known of one stays as
 * long as it is the same. Asked until it is told, unless the page has begun anew meanwhile.
 */
async function learnAgain(turn) {
  clearTimeout(learning);
  try {
    const found = await learn();
    await loadAll(found);
    if (turn !== starts) return;
    const known = sites.peek();
    sites.value = byRef(found.map((site) => (known.get(site.ref)?.isLike(site) ? known.get(site.ref) : site)));
    note("sites", "");
    catchUp();
  } catch (error) {
    if (turn !== starts || refused.peek()) return;
    note("sites", error.message);
    learning = setTimeout(() => turn === starts && learnAgain(turn), againMs(error));
  }
}

/** Log in, learn what is served, and listen; what keeps the page out is said by `refused`, and tried again unless it is
 * the key.
 */
export async function start() {
  const turn = ++starts;
  const overtaken = () => turn !== starts; // with another key
  stop?.();
  try {
    const caller = await ask("/v1/me");
    if (overtaken()) return;
    const served = await learn();
    if (overtaken()) return;
    me.value = caller;
    refused.value = null;
    unasked.value = {};
    sites.value = byRef(served);
    let again = false;
    stop = listen(`/v1/events?last=${FIRST_DECISIONS}`, onEvent, (goesOn) => {
      if (again && !goesOn) takeGap({});
      if (again) learnAgain(turn);
      else catchUp();
      again = true;
    });
    await loadUntilTold(served, turn);
  } catch (error) {
    if (overtaken()) return;
    refused.value = error;
    if (!REFUSALS.has(error.status)) setTimeout(() => !overtaken() && start(), againMs(error));
  }
}
