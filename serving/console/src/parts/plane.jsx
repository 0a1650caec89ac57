// One quantity against another, drawn plainly with its axes: uPlot's lines go along x only.
import { useDrawing } from "./drawing.js";

const LEFT = 52;
const BELOW = 34;
const ABOVE = 10;
const RIGHT = 10;

/** Round numbers within a range, about so many. */
function rounded([low, high], count) {
  const rough = (high - low) / count;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = power * [1, 2, 2.5, 5, 10].find((one) => one * power >= rough);
  const first = Math.ceil(low / step);
  return Array.from({ length: Math.floor(high / step) - first + 1 }, (_, k) => Number(((first + k) * step).toPrecision(6)));
}

/**
 * Axes with round numbers and names around a field.
 *
 * @param field {left, top, width, height} in pixels
 * @return [x, y]: functions from values to pixels
 */
function axes(pen, field, [xs, ys], [xLabel, yLabel], colours) {
  const { left, top, width, height } = field;
  const x = (value) => left + ((value - xs[0]) / (xs[1] - xs[0])) * width;
  const y = (value) => top + height - ((value - ys[0]) / (ys[1] - ys[0])) * height;
  pen.font = "11px system-ui";
  pen.fillStyle = colours.muted;
  pen.strokeStyle = colours.faint;
  pen.lineWidth = 1;
  pen.textAlign = "center";
  for (const value of rounded(xs, width / 70)) {
    line(pen, [x(value), top], [x(value), top + height]);
    pen.fillText(signed(value), x(value), top + height + 14);
  }
  pen.fillText(xLabel, left + width / 2, top + height + 28);
  pen.textAlign = "right";
  for (const value of rounded(ys, height / 30)) {
    line(pen, [left, y(value)], [left + width, y(value)]);
    pen.fillText(signed(value), left - 6, y(value) + 4);
  }
  pen.save();
  pen.translate(12, top + height / 2);
  pen.rotate(-Math.PI / 2);
  pen.textAlign = "center";
  pen.fillText(yLabel, 0, 0);
  pen.restore();
  return [x, y];
}

const signed = (value) => String(value).replace("-", "−");

function line(pen, from, to) {
  pen.beginPath();
  pen.moveTo(...from);
  pen.lineTo(...to);
  pen.stroke();
}

/** A loop of one quantity over another, about nought. */
export function Loop({ points, label, xLabel, yLabel }) {
  const box = useDrawing((pen, { width, tall }, colours) => {
    const list = points() ?? [];
    const about = (k) => {
      const most = Math.max(...list.map((point) => Math.abs(point[k])), 1e-9) * 1.08;
      return [-most, most];
    };
    const field = { left: LEFT, top: ABOVE, width: width - LEFT - RIGHT, height: tall - ABOVE - BELOW };
    const [x, y] = axes(pen, field, [about(0), about(1)], [xLabel, yLabel], colours);
    pen.strokeStyle = colours.blue;
    pen.lineWidth = 1.3;
    pen.beginPath();
    list.forEach(([stroke, force], k) => (k ? pen.lineTo(x(stroke), y(force)) : pen.moveTo(x(stroke), y(force))));
    pen.stroke();
  });

  return <canvas class="loop" ref={box} role="img" aria-label={label} />;
}

/** Points of one quantity over another on equal axes, with the line on which both are the same. */
export function Scatter({ points, label, xLabel, yLabel }) {
  const box = useDrawing((pen, { width, tall }, colours) => {
    const list = points();
    if (!list.length) return;
    const flat = list.flat();
    const [low, high] = [Math.min(...flat), Math.max(...flat)];
    const pad = 0.06 * (high - low) || 1;
    const both = [low - pad, high + pad];
    const side = Math.min(width - LEFT - RIGHT, tall - ABOVE - BELOW);
    const field = { left: Math.max(LEFT, (width - side) / 2), top: ABOVE, width: side, height: side };
    pen.save();
    pen.translate(field.left - LEFT, 0);
    const [x, y] = axes(pen, { ...field, left: LEFT }, [both, both], [xLabel, yLabel], colours);
    pen.strokeStyle = colours.line;
    pen.setLineDash([5, 4]);
    line(pen, [x(both[0]), y(both[0])], [x(both[1]), y(both[1])]);
    pen.setLineDash([]);
    for (const point of list) {
      // Above and below the line are told apart by shape as well as by colour.
      const better = point[1] <= point[0];
      pen.strokeStyle = pen.fillStyle = better ? colours.blue : colours.orange;
      pen.lineWidth = 1.5;
      pen.beginPath();
      pen.arc(x(point[0]), y(point[1]), 4, 0, 2 * Math.PI);
      if (better) pen.fill();
      else pen.stroke();
    }
    pen.restore();
  });

  return <canvas class="scatter" ref={box} role="img" aria-label={label} />;
}
