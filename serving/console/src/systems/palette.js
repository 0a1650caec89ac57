// Colours of drawings, from the style sheet, so that light and dark are one decision. Okabe and Ito's set underneath.
const NAMES = ["ink", "muted", "line", "faint", "surface", "blue", "sky", "green", "orange", "red", "pink", "yellow"];

export function palette() {
  const style = getComputedStyle(document.documentElement);
  return Object.fromEntries(NAMES.map((name) => [name, style.getPropertyValue(`--${name}`).trim()]));
}

/** A colour between two, `t` from 0 to 1; both as #rrggbb. */
export function mix(a, b, t) {
  const at = Math.min(Math.max(t, 0), 1);
  const part = (text, k) => parseInt(text.slice(1 + 2 * k, 3 + 2 * k), 16);
  const one = (k) => Math.round(part(a, k) + (part(b, k) - part(a, k)) * at);
  return `#${[0, 1, 2].map((k) => one(k).toString(16).padStart(2, "0")).join("")}`;
}

export const known = (value) => value !== null && value !== undefined && Number.isFinite(value);
