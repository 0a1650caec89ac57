// Names beside marks, each on the side where it covers least of what is there already.
const GAP = 10;

/** What Leaflet adds between a point and a label beside it. */
const MARGIN = 6;

const SIDES = {
  center: { offset: [0, 0], box: ({ x, y }, w, h) => [x - w / 2, y - h / 2, w, h] },
  right: { offset: [GAP, 0], box: ({ x, y }, w, h) => [x + GAP + MARGIN, y - h / 2, w, h] },
  left: { offset: [-GAP, 0], box: ({ x, y }, w, h) => [x - GAP - MARGIN - w, y - h / 2, w, h] },
  top: { offset: [0, -GAP], box: ({ x, y }, w, h) => [x - w / 2, y - GAP - MARGIN - h, w, h] },
  bottom: { offset: [0, GAP], box: ({ x, y }, w, h) => [x - w / 2, y + GAP + MARGIN, w, h] },
};

const BESIDE = ["right", "left", "top", "bottom"];

function common([ax, ay, aw, ah], [bx, by, bw, bh]) {
  const wide = Math.min(ax + aw, bx + bw) - Math.max(ax, bx);
  const tall = Math.min(ay + ah, by + bh) - Math.max(ay, by);
  return wide > 0 && tall > 0 ? wide * tall : 0;
}

/**
 * Put every label on the side where it covers least of marks, of labels before it, and of what is outside the map.
 *
 * @param items [{layer, mark, side}] with a label that stands, and where it does if there is room
 */
export function spread(map, items) {
  const { x: width, y: height } = map.getSize();
  const placed = items.map((item) => ({ ...item, at: map.latLngToContainerPoint(centre(item.layer)) }));
  const taken = placed.filter(({ mark }) => mark.points.length === 1).map(({ at }) => [at.x - 9, at.y - 9, 18, 18]);
  for (const { layer, side, at } of placed) {
    const tooltip = layer.getTooltip();
    const element = tooltip.getElement();
    if (!element) continue;
    const [w, h] = [element.offsetWidth, element.offsetHeight];
    const cost = (where) => {
      const box = SIDES[where].box(at, w, h);
      const inside = common(box, [0, 0, width, height]);
      return w * h - inside + taken.reduce((sum, other) => sum + common(box, other), 0);
    };
    const best = [side, ...BESIDE].reduce((a, b) => (cost(b) < cost(a) ? b : a));
    taken.push(SIDES[best].box(at, w, h));
    tooltip.options.direction = best;
    tooltip.options.offset = SIDES[best].offset;
    tooltip.update();
  }
}

const centre = (layer) => layer.getCenter?.() ?? layer.getLatLng();
