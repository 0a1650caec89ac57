// What is kept of a site's course: a point a decision, and where these are too many, one for several that are alike.

/** How far back one may look, in seconds; points that are kept of it: a second each. */
export const BACK_S = 3600;
const MOST = 3600;

/** Decisions so many times as far apart as usual had a silence between them. */
const RESTED = 3;

/** Gaps that tell how long it is from one to the next, at least and at most: a single one may be a pause. */
const GAPS = [2, 9];

/** How long it is from one to the next, usually. */
export class Pace {
  gaps = [];

  /** Add a gap in seconds → the lower median of the last ones; null: they do not tell yet. */
  add(gap_s) {
    const [least, most] = GAPS;
    this.gaps = [...this.gaps, gap_s].slice(-most);
    if (this.gaps.length < least) return null;
    return [...this.gaps].sort((a, b) => a - b)[(this.gaps.length - 1) >> 1];
  }
}

/** Add a point, in place. A decision holds until the next, unless that was long in coming, or is not known, as others
 * are missing between the two.
 */
export function append(points, point, period_s, missing) {
  const before = points.at(-1);
  if (before) before.until_s = missing ? before.at_s : Math.min(point.at_s, before.at_s + RESTED * period_s);
  points.push({ ...point, until_s: point.at_s + period_s });
  const old = points.findIndex((one) => one.at_s >= point.at_s - BACK_S);
  if (old > 0) points.splice(0, old);
  if (points.length > MOST) thin(points);
}

/** Make one of two neighbours that are alike, in the older half, in place; where none are, the oldest go. */
function thin(points) {
  const half = points.length >> 1;
  const kept = [];
  for (const point of points.splice(0, half)) {
    const last = kept.at(-1);
    if (last && !last.pair && last.source === point.source && last.until_s >= point.at_s) {
      kept[kept.length - 1] = {
        ...last,
        pair: true,
        until_s: point.until_s,
        reasons: [...new Set([...last.reasons, ...point.reasons])],
        found: last.found || point.found,
        hand: last.hand || point.hand,
      };
    } else kept.push({ ...point, pair: false });
  }
  points.unshift(...kept.slice(-0.8 * half));
}

/** Points of decisions that were thinned evenly, each holding until the next, unless that was long in coming. */
export function spaced(points, period_s) {
  const gaps = points.slice(1).map((point, k) => point.at_s - points[k].at_s);
  const usual = [...gaps].sort((a, b) => a - b)[gaps.length >> 1];
  return points.map((point, k) => ({
    ...point,
    until_s: point.at_s + (gaps[k] <= RESTED * usual ? gaps[k] : period_s),
  }));
}
