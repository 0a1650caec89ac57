// Light or dark: as the machine says, until somebody chooses.
import { signal } from "@preact/signals";

const KEPT = "cityloop.theme";
const dark = matchMedia("(prefers-color-scheme: dark)");

/** What holds now: "light" or "dark". */
export const theme = signal(localStorage.getItem(KEPT) ?? (dark.matches ? "dark" : "light"));

function apply() {
  document.documentElement.dataset.theme = theme.value;
}
apply();

dark.addEventListener("change", () => {
  if (!localStorage.getItem(KEPT)) set(dark.matches ? "dark" : "light", false);
});

export function set(value, keep = true) {
  theme.value = value;
  if (keep) localStorage.setItem(KEPT, value);
  apply();
}
