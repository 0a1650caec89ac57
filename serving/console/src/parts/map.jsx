// A scene on a plane, painted anew with every decision; vehicles move between two reports.
import L from "leaflet";
import { effect } from "@preact/signals";
import { useEffect, useRef } from "preact/hooks";
import { theme } from "../theme.js";
import { palette } from "../systems/palette.js";

const place = ([x, y]) => [y, x];

/** Names stand beside marks where there are few of them. */
const LABELLED = 40;

/** Kinds that stand for agents or what they look after, and are named. */
const NAMED = new Set(["junction", "gate", "tank", "zone", "damper", "tide"]);

/** A report of vehicles older than this is not drawn as where they are. */
const MOVES_S = 5;

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
 * @param frame a signal: what is shown, null if nothing is known
 * @param chosen a signal: the agent that is looked at
 */
export function SceneMap({ site, frame, chosen, label }) {
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
    const named = scene.marks.filter((mark) => mark.id && NAMED.has(mark.kind)).length <= LABELLED;
    const drawn = scene.marks.map((mark) => {
      const layer = layerOf(mark, below).addTo(map);
      if (mark.id && NAMED.has(mark.kind)) {
        layer.bindTooltip(named ? mark.label || mark.id : "", {
          permanent: named,
          direction: mark.points.length > 1 ? "center" : "right",
          offset: mark.points.length > 1 ? [0, 0] : [10, 0],
          className: `mark-label mark-${mark.kind}`,
          opacity: 1,
        });
      } else if (mark.id || mark.label) layer.bindTooltip(mark.label || mark.id, { className: "mark-tip" });
      if (agents.has(mark.id)) layer.on("click", () => (chosen.value = mark.id));
      return { mark, layer, key: "", text: null };
    });
    // Streets reach far beyond what is controlled.
    const near = scene.marks.filter((mark) => mark.kind !== "street");
    const bounds = L.latLngBounds((near.length ? near : scene.marks).flatMap((mark) => mark.points.map(place)));
    const fit = () => {
      map.invalidateSize({ animate: false });
      map.fitBounds(bounds.pad(0.08), { animate: false });
    };
    fit();
    const resized = new ResizeObserver(fit);
    resized.observe(host);

    function paint(shown) {
      const colours = palette();
      for (const item of drawn) {
        const { mark, layer } = item;
        const look = kind.paint(mark.kind, mark.id, shown, info, colours);
        const key = JSON.stringify(look);
        if (key !== item.key) {
          item.key = key;
          style(layer, look);
          write(item, look, named);
        }
        if (kind.shape && mark.points.length > 1) layer.setLatLngs(kind.shape(mark, shown, info).map(place));
      }
      highlight(chosen.peek());
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
        paint(frame.value);
      }),
      effect(() => highlight(chosen.value)),
      effect(() => things.report(site.telemetry.value)),
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

/** What a mark says of itself: its text beside it, or its tip under the pointer. */
function write(item, look, named) {
  const { mark, layer } = item;
  const name = named ? shortened(mark.label || mark.id) : mark.label || mark.id;
  const text = NAMED.has(mark.kind) && named ? (look.text ? `${name} · ${look.text}` : name) : (look.tip ?? name);
  if (text && text !== item.text) {
    item.text = text;
    const label = document.createElement("span");
    label.textContent = text;
    if (layer.getTooltip()) layer.setTooltipContent(label);
  }
}

/** Names that were joined by a program are long; the whole of them stands in the tables. */
const shortened = (name) => (name.length > 20 ? `${name.slice(0, 9)}…${name.slice(-8)}` : name);

/** Vehicles and the like: each glides from its last place to the one reported, in the time between two reports. */
function movers(map, renderer, paint) {
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

  return {
    report(telemetry) {
      const list = telemetry?.things ?? [];
      const colours = palette();
      const seen = new Set();
      const at = performance.now();
      lasts = Math.min(Math.max(begun ? at - begun : 1000, 100), MOVES_S * 1000);
      begun = at;
      for (const thing of list) {
        seen.add(thing.id);
        const to = [thing.y, thing.x];
        let one = known.get(thing.id);
        if (!one) {
          const layer = L.circleMarker(to, { renderer, radius: 4, weight: 1.5, interactive: false }).addTo(map);
          one = { layer, at: to, from: to, to };
          known.set(thing.id, one);
        }
        one.from = one.at;
        one.to = to;
        const fill = paint?.(thing, colours) ?? colours.ink;
        if (fill !== one.fill) {
          one.fill = fill;
          one.layer.setStyle({ color: colours.surface, fillColor: fill, fill: true, fillOpacity: 1 });
        }
      }
      for (const [id, one] of known) {
        if (!seen.has(id)) {
          one.layer.remove();
          known.delete(id);
        }
      }
      if (!request && known.size) request = requestAnimationFrame(glide);
    },
    stop() {
      cancelAnimationFrame(request);
    },
  };
}
