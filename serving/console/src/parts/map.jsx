// A scene on a plane, painted anew with what is shown; vehicles glide from report to report while it is now.
import L from "leaflet";
import { effect } from "@preact/signals";
import { useEffect, useRef } from "preact/hooks";
import { theme } from "../theme.js";
import { palette } from "../systems/palette.js";
import { spread } from "./labels.js";

const place = ([x, y]) => [y, x];

/** Names stand beside marks where there are few of them. */
const LABELLED = 40;

/** Labels look for room again at most so often: texts grow and shrink. */
const SPREAD_MS = 1000;

/** No glide takes longer. */
const LONGEST_MS = 5000;

/** Leaflet's canvas asks to be drawn once more while it is taken away, and then has nothing to draw on. */
const Canvas = L.Canvas.extend({
  _redraw() {
    if (this._ctx) L.Canvas.prototype._redraw.call(this);
  },
});

function layerOf(mark, renderer) {
  const options = { renderer, interactive: Boolean(mark.id || mark.label), bubblingMouseEvents: false };
  if (mark.points.length > 1) return L.polyline(mark.points.map(place), { ...options, lineCap: "round" });
  return L.circleMarker(place(mark.points[0]), { ...options, radius: 5 });
}

function style(layer, look) {
  layer.setStyle({
    color: look.color,
    weight: look.weight ?? 2,
    opacity: look.opacity ?? 1,
    dashArray: look.dash ?? null,
    fill: Boolean(look.fill),
    fillColor: look.fill,
    fillOpacity: look.fill ? 1 : 0,
  });
  if (look.radius !== undefined && layer.setRadius) layer.setRadius(look.radius);
}

/**
 * @param site the store's Site
 * @param history the site's History: what is shown, now or then
 * @param chosen a signal: the agent that is looked at
 */
export function SceneMap({ site, history, chosen, label }) {
  const box = useRef(null);

  useEffect(() => {
    const host = box.current;
    const scene = site.scene.peek();
    const info = site.painting();
    const kind = site.kind;
    const map = L.map(host, {
      crs: L.CRS.Simple,
      minZoom: -8,
      maxZoom: 8,
      zoomSnap: 0.25,
      attributionControl: false,
      zoomAnimation: false,
      fadeAnimation: false,
      markerZoomAnimation: false,
      preferCanvas: true,
    });
    map.zoomControl.setPosition("topright");
    map.createPane("things").style.zIndex = 450;
    const below = new Canvas({ padding: 0.3 });
    const above = new Canvas({ padding: 0.3, pane: "things" });
    const agents = new Set(site.info.peek()?.agents ?? []);
    const labelled = (mark) => mark.id && kind.labelled?.(mark);
    const named = scene.marks.filter(labelled).length <= LABELLED;
    const drawn = scene.marks.map((mark) => {
      const layer = layerOf(mark, below).addTo(map);
      const side = named && labelled(mark);
      if (side) layer.bindTooltip("", { permanent: true, className: `mark-label mark-${mark.kind}`, opacity: 1 });
      else if (mark.id || mark.label) layer.bindTooltip(mark.label || mark.id, { className: "mark-tip" });
      if (agents.has(mark.id)) layer.on("click", () => (chosen.value = mark.id));
      return { mark, layer, side, key: "", text: null };
    });
    const labels = drawn.filter((item) => item.side);
    let roomAt = 0;
    const makeRoom = () => {
      roomAt = performance.now();
      spread(map, labels);
    };
    // Streets reach far beyond what is controlled.
    const near = scene.marks.filter((mark) => mark.kind !== "street");
    const bounds = L.latLngBounds((near.length ? near : scene.marks).flatMap((mark) => mark.points.map(place)));
    const fit = () => {
      map.invalidateSize({ animate: false });
      map.fitBounds(bounds.pad(0.08), { animate: false });
      makeRoom();
    };
    fit();
    map.on("zoomend", makeRoom);
    const resized = new ResizeObserver(fit);
    resized.observe(host);

    function paint(shown) {
      const colours = palette();
      if (shown) kind.prepare?.(shown, info);
      let grown = false;
      for (const item of drawn) {
        const { mark, layer } = item;
        const look = kind.paint(mark.kind, mark.id, shown, info, colours);
        const key = JSON.stringify(look);
        if (key !== item.key) {
          item.key = key;
          style(layer, look);
          grown = write(item, look) || grown;
        }
        if (kind.shape && mark.points.length > 1) layer.setLatLngs(kind.shape(mark, shown, info).map(place));
      }
      highlight(chosen.peek());
      if (grown && performance.now() - roomAt > SPREAD_MS) makeRoom();
    }

    let ring = null;
    function highlight(agent) {
      ring?.remove();
      ring = null;
      const item = drawn.find((one) => one.mark.id === agent && agents.has(agent));
      if (!item) return;
      const at = item.layer.getCenter?.() ?? item.layer.getLatLng();
      ring = L.circleMarker(at, { renderer: above, radius: 20, weight: 2, color: palette().ink, fill: false, dashArray: "4 4" });
      ring.addTo(map);
    }

    const things = movers(map, above, kind.thing);
    const ends = [
      effect(() => {
        theme.value; // colours differ
        paint(history.shown.value);
      }),
      effect(() => highlight(chosen.value)),
      effect(() => {
        theme.value;
        things.report(history.moves.value, history.at.value === null);
      }),
    ];
    return () => {
      for (const end of ends) end();
      things.stop();
      resized.disconnect();
      map.remove();
    };
  }, [site]);

  return <div class="map" ref={box} role="group" aria-label={label} />;
}

/** What a mark says of itself: its text beside it, or its tip under the pointer. → whether a label has another length */
function write(item, look) {
  const { mark, layer, side } = item;
  const name = mark.label || mark.id;
  const text = side ? [shortened(name), look.text].filter(Boolean).join(" · ") : (look.tip ?? name);
  if (!text || text === item.text) return false;
  const grown = side && text.length !== item.text?.length;
  item.text = text;
  const label = document.createElement("span");
  label.textContent = text;
  if (layer.getTooltip()) layer.setTooltipContent(label);
  return grown;
}

/** Names that were joined by a program are long; the whole of them stands in the tables. */
const shortened = (name) => (name.length > 20 ? `${name.slice(0, 9)}…${name.slice(-8)}` : name);

/**
 * Vehicles and the like: while it is now, each glides from its last place to the one reported, in the time between two
 * reports; then, each stands where it stood.
 */
function movers(map, renderer, look) {
  const known = new Map();
  let begun = 0;
  let lasts = 1000;
  let request = 0;

  function glide(at) {
    const share = Math.min((at - begun) / lasts, 1);
    for (const one of known.values()) {
      const y = one.from[0] + (one.to[0] - one.from[0]) * share;
      const x = one.from[1] + (one.to[1] - one.from[1]) * share;
      one.at = [y, x];
      one.layer.setLatLng(one.at);
    }
    request = share < 1 && known.size ? requestAnimationFrame(glide) : 0;
  }

  function put({ id, x, y, load }, colours) {
    const to = [y, x];
    let one = known.get(id);
    if (!one) {
      const layer = L.circleMarker(to, { renderer, weight: 1.5, interactive: false }).addTo(map);
      one = { layer, at: to };
      known.set(id, one);
    }
    one.from = one.at;
    one.to = to;
    const { fill, radius } = look?.(load, colours) ?? { fill: colours.ink, radius: 4 };
    const key = `${fill} ${radius} ${colours.surface}`;
    if (key === one.key) return;
    one.key = key;
    one.layer.setRadius(radius);
    one.layer.setStyle({ color: colours.surface, fillColor: fill, fill: true, fillOpacity: 1 });
  }

  return {
    report(moves, live) {
      const colours = palette();
      const at = performance.now();
      lasts = live ? Math.min(Math.max(begun ? at - begun : 1000, 100), LONGEST_MS) : 1;
      begun = at;
      const seen = new Set();
      for (const thing of moves) {
        seen.add(thing.id);
        put(thing, colours);
      }
      for (const [id, one] of known) {
        if (seen.has(id)) continue;
        one.layer.remove();
        known.delete(id);
      }
      if (!request && known.size) request = requestAnimationFrame(glide);
    },
    stop() {
      cancelAnimationFrame(request);
    },
  };
}
