// Lines over time, or one quantity against another.
import uPlot from "uplot";
import { effect } from "@preact/signals";
import { useEffect, useRef } from "preact/hooks";
import { theme } from "../theme.js";
import { clock } from "../time.js";
import { palette } from "../systems/palette.js";
import { useDrawing } from "./drawing.js";

const HEIGHT = 120;

function axes(colours, time) {
  const one = { stroke: colours.muted, grid: { stroke: colours.faint, width: 1 }, ticks: { show: false }, font: "11px system-ui" };
  const times = (_, splits) => splits.map((at) => clock(at));
  return [{ ...one, space: 70, size: 24, ...(time ? { values: times } : {}) }, { ...one, size: 46 }];
}

const FROM_ZERO = { min: { pad: 0.1, soft: 0, mode: 2 }, max: { pad: 0.1, soft: 1e-6, mode: 2 } };

/** A range of y that holds some values whatever the data, and grows with it. */
const shown = ([low, high]) => (_, least, most) => [Math.min(low, least ?? low), Math.max(high, most ?? high)];

/**
 * @param data a function → uPlot's arrays [x, ...ys]; read in an effect, so signals in it are followed
 * @param lines [{label, colour, dash, gaps, thin, dots}], a line each of the ys; gaps: it is drawn across what is missing;
 *   dots: points are drawn too, as one alone is no line
 * @param mark a function → x of an upright line, or null
 * @param band [above, below]: lines between which it is filled; there is no legend then
 * @param range [low, high] that y shows at least; else from zero
 */
export function Chart({ data, lines, time = true, mark, height = HEIGHT, label, band, range }) {
  const box = useRef(null);

  useEffect(() => {
    const host = box.current;
    let plot = null;

    function make() {
      const colours = palette();
      const series = lines.map((line) => ({
        label: line.label,
        stroke: colours[line.colour] ?? line.colour,
        width: line.thin ? 0.6 : 1.6,
        dash: line.dash,
        points: { show: Boolean(line.dots), size: 4, fill: colours[line.colour] ?? line.colour },
        spanGaps: Boolean(line.gaps),
        value: (_, value) => (value === null || value === undefined ? "–" : Number(value.toPrecision(4)).toString()),
      }));
      const upright = {
        hooks: {
          draw: [
            (u) => {
              const x = mark?.();
              if (x === null || x === undefined) return;
              const left = u.valToPos(x, "x", true);
              u.ctx.save();
              u.ctx.strokeStyle = colours.pink;
              u.ctx.lineWidth = 2;
              u.ctx.beginPath();
              u.ctx.moveTo(left, u.bbox.top);
              u.ctx.lineTo(left, u.bbox.top + u.bbox.height);
              u.ctx.stroke();
              u.ctx.restore();
            },
          ],
        },
      };
      return new uPlot(
        {
          mode: 1,
          width: host.clientWidth,
          height,
          legend: { show: lines.length > 1 && !band, live: true },
          bands: band ? [{ series: [band[0] + 1, band[1] + 1], fill: `${colours.blue}33` }] : [],
          cursor: { points: { size: 5 }, drag: { x: false, y: false } },
          scales: { x: { time }, y: { range: range ? shown(range) : FROM_ZERO } },
          axes: axes(colours, time),
          series: [{ value: (_, x) => (x === null || x === undefined ? "–" : time ? clock(x) : x) }, ...series],
          plugins: [upright],
        },
        data(),
        host,
      );
    }

    const ends = [
      effect(() => {
        theme.value;
        plot?.destroy();
        plot = make();
      }),
      effect(() => {
        const fresh = data();
        mark?.();
        plot.setData(fresh);
      }),
    ];
    const resized = new ResizeObserver(() => plot?.setSize({ width: host.clientWidth, height }));
    resized.observe(host);
    return () => {
      for (const end of ends) end();
      resized.disconnect();
      plot?.destroy();
    };
  }, [lines.map((line) => line.label).join()]);

  return <div class="chart" ref={box} role="img" aria-label={label} />;
}

/** A loop of one quantity over another, drawn plainly: uPlot's lines go along x only. */
export function Loop({ points, label, xLabel, yLabel }) {
  const box = useDrawing((pen, { width, tall }, colours) => {
    const list = points() ?? [];
    const span = (k) => Math.max(...list.map((p) => Math.abs(p[k])), 1e-9) * 1.08;
    const [sx, sy] = [span(0), span(1)];
    pen.strokeStyle = colours.faint;
    pen.beginPath();
    pen.moveTo(0, tall / 2);
    pen.lineTo(width, tall / 2);
    pen.moveTo(width / 2, 0);
    pen.lineTo(width / 2, tall);
    pen.stroke();
    pen.strokeStyle = colours.blue;
    pen.lineWidth = 1.3;
    pen.beginPath();
    list.forEach(([x, y], k) => {
      const at = [width / 2 + (x / sx) * (width / 2), tall / 2 - (y / sy) * (tall / 2)];
      if (k) pen.lineTo(...at);
      else pen.moveTo(...at);
    });
    pen.stroke();
    pen.fillStyle = colours.muted;
    pen.font = "11px system-ui";
    pen.fillText(`${yLabel} ±${sy.toPrecision(2)}`, 4, 12);
    pen.textAlign = "right";
    pen.fillText(`${xLabel} ±${sx.toPrecision(2)}`, width - 4, tall - 4);
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
    const left = 48;
    const side = Math.min(width - left - 8, tall - 34);
    const at = (value) => ((value - low + pad) / (high - low + 2 * pad)) * side;
    const spot = ([x, y]) => [left + at(x), 8 + side - at(y)];
    pen.strokeStyle = colours.line;
    pen.strokeRect(left, 8, side, side);
    pen.setLineDash([5, 4]);
    pen.beginPath();
    pen.moveTo(left, 8 + side);
    pen.lineTo(left + side, 8);
    pen.stroke();
    pen.setLineDash([]);
    for (const point of list) {
      // Above and below the line are told apart by shape as well as by colour.
      const better = point[1] <= point[0];
      pen.strokeStyle = pen.fillStyle = better ? colours.blue : colours.orange;
      pen.beginPath();
      pen.arc(...spot(point), 4, 0, 2 * Math.PI);
      if (better) pen.fill();
      else pen.stroke();
    }
    pen.fillStyle = colours.muted;
    pen.font = "11px system-ui";
    for (const value of [low, (low + high) / 2, high]) {
      pen.textAlign = "center";
      pen.fillText(Number(value.toPrecision(3)), left + at(value), side + 22);
      pen.textAlign = "right";
      pen.fillText(Number(value.toPrecision(3)), left - 6, 12 + side - at(value));
    }
    pen.textAlign = "right";
    pen.fillText(`${xLabel} →`, left + side - 4, side + 2);
    pen.textAlign = "left";
    pen.fillText(`↑ ${yLabel}`, left + 6, 20);
  });

  return <canvas class="scatter" ref={box} role="img" aria-label={label} />;
}

/** The course of one quantity in a few pixels, without axes: a trend, not a reading. */
export function Spark({ values, colour = "blue", label }) {
  const box = useDrawing((pen, { width, tall }, colours) => {
    const list = values();
    const found = list.filter((v) => v !== null && Number.isFinite(v));
    if (found.length < 2) return;
    const low = Math.min(...found, 0);
    const high = Math.max(...found, low + 1e-9);
    pen.strokeStyle = colours[colour];
    pen.lineWidth = 1.5;
    pen.beginPath();
    let down = false;
    list.forEach((value, k) => {
      if (value === null || !Number.isFinite(value)) {
        down = false;
        return;
      }
      const x = (k / (list.length - 1)) * width;
      const y = tall - 2 - ((value - low) / (high - low)) * (tall - 4);
      if (down) pen.lineTo(x, y);
      else pen.moveTo(x, y);
      down = true;
    });
    pen.stroke();
  });

  return <canvas class="spark" ref={box} role="img" aria-label={label} />;
}
