// A canvas that is drawn anew with what it shows, with the colours and with its size.
import { effect } from "@preact/signals";
import { useEffect, useRef } from "preact/hooks";
import { theme } from "../theme.js";
import { palette } from "../systems/palette.js";

/**
 * @param draw a function of (pen, {width, tall}, colours), in CSS pixels; run in an effect, so signals in it are followed
 * @param again what it is drawn of, if that is another some day
 * @return a reference for the canvas
 */
export function useDrawing(draw, again = []) {
  const box = useRef(null);
  useEffect(() => {
    const canvas = box.current;
    const paint = () => {
      const ratio = devicePixelRatio || 1;
      const [width, tall] = [canvas.clientWidth, canvas.clientHeight];
      canvas.width = width * ratio;
      canvas.height = tall * ratio;
      const pen = canvas.getContext("2d");
      pen.scale(ratio, ratio);
      draw(pen, { width, tall }, palette());
    };
    const end = effect(() => {
      theme.value;
      paint();
    });
    const resized = new ResizeObserver(paint);
    resized.observe(canvas);
    return () => {
      end();
      resized.disconnect();
    };
  }, again);
  return box;
}
