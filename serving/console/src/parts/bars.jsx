// How often something happened: a bar for each stretch of time, and a line that it should stay below.
import { useDrawing } from "./drawing.js";

const LEFT = 26;
const BELOW = 18;
const ABOVE = 8;

/** Room that a number takes, one above the other. */
const NAME_PX = 12;

/** Bars of an hour, and hours between two names of times. */
const HOUR = 6;
const NAMED = [1, 2, 3, 6];

/**
 * @param values a function → counts in every ten minutes until now, the oldest first
 * @param limit what they should not exceed
 */
export function Bars({ values, limit, label }) {
  const box = useDrawing((pen, { width, tall }, colours) => {
    const list = values();
    const shown = Math.max(list.length, HOUR);
    const most = Math.max(...list, 2 * limit);
    const wide = (width - LEFT - 8) / shown;
    const y = (count) => tall - BELOW - (count / most) * (tall - BELOW - ABOVE);
    const left = (back) => width - 8 - back * wide;
    pen.font = "11px system-ui";
    list.forEach((count, k) => {
      pen.fillStyle = count > limit ? colours.orange : colours.blue;
      pen.fillRect(left(list.length - k), y(count), Math.max(wide - 1, 0.5), y(0) - y(count));
    });
    pen.strokeStyle = colours.line;
    pen.beginPath();
    pen.moveTo(LEFT, y(0));
    pen.lineTo(width - 8, y(0));
    pen.stroke();
    pen.strokeStyle = colours.red;
    pen.setLineDash([5, 4]);
    pen.beginPath();
    pen.moveTo(LEFT, y(limit));
    pen.lineTo(width - 8, y(limit));
    pen.stroke();
    pen.setLineDash([]);
    pen.fillStyle = colours.muted;
    pen.textAlign = "right";
    let above = -Infinity;
    for (const count of [most, limit, 0]) {
      if (y(count) - above < NAME_PX) continue;
      pen.fillText(count, LEFT - 5, y(count) + 4);
      above = y(count);
    }
    const hours = Math.floor(shown / HOUR);
    const step = NAMED.find((one) => hours / one <= 8) ?? 12;
    pen.textAlign = "center";
    for (let hour = step; hour < hours; hour += step) pen.fillText(`${hour} h ago`, left(hour * HOUR), tall - 4);
    pen.textAlign = "right";
    pen.fillText("now", width - 8, tall - 4);
  });

  return <canvas class="bars" ref={box} role="img" aria-label={label} />;
}
