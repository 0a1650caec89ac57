// Lines over time, or one quantity against another.
import uPlot from "uplot";
import { effect } from "@preact/signals";
import { useEffect, useRef } from "preact/hooks";
import { theme } from "../theme.js";
import { clock } from "../time.js";
import { palette } from "../systems/palette.js";
import { useDrawing } from "./drawing.js";

const HEIGHT = 120;

/** Steps from one time that is named to the next, in seconds: none below a second, as names end there. */
const STEPS = [1, 2, 5, 10, 15, 30, ...[1, 2, 5, 10, 15, 30].map((minutes) => 60 * minutes), 3600, 7200, 14400, 28800, 86400];

function axes(colours, time) {
  const one = { stroke: colours.muted, grid: { stroke: colours.faint, width: 1 }, ticks: { show: false }, font: "11px system-ui" };
  const times = (_, splits) => splits.map((at) => clock(at));
  return [{ ...one, space: 70, size: 24, ...(time ? { values: times, incrs: STEPS } : {}) }, { ...one, size: 46 }];
}

/** A range of y that begins or ends at zero unless the data crosses it; where all is zero, up to one. */
function fromZero(_, least, most) {
  const [low, high] = [Math.min(least ?? 0, 0), Math.max(most ?? 0, 0)];
  return low === high ? [0, 1] : [1.1 * low, 1.1 * high];
}

/** A range of y that holds some values whatever the data, and grows with it. */
const shown = ([low, high]) => (_, least, most) => [Math.min(low, least ?? low), Math.max(high, most ?? high)];

/** A range of x: that of the data; a minute around what stands alone. */
const alone = ({ data: [x] }) => (x.length > 1 ? [x[0], x.at(-1)] : x.length ? [x[0] - 30, x[0] + 30] : [0, 1]);

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
          scales: { x: { time, range: alone }, y: { range: range ? shown(range) : fromZero } },
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

/**
 * The course of one quantity in a few pixels, without axes: a trend, not a reading.
 *
 * @param values a function → the last values, the newest last
 * @param least where there are fewer they fill less of it, from the right
 */
export function Spark({ values, least = 20, colour = "blue", label }) {
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
      const x = width - ((list.length - 1 - k) / (Math.max(list.length, least) - 1)) * width;
      const y = tall - 2 - ((value - low) / (high - low)) * (tall - 4);
      if (down) pen.lineTo(x, y);
      else pen.moveTo(x, y);
      down = true;
    });
    pen.stroke();
  });

  return <canvas class="spark" ref={box} role="img" aria-label={label} title={label} />;
}
