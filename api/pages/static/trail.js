/* An outing on the map: the way, and the ground seen from it, as the service will count them. */
import {isGap} from "./recorder.js";

const SEEN = {color: "#0a8f5b", opacity: 0.3, lineCap: "round", lineJoin: "round", interactive: false};
const WAY = {color: "#0b4a6f", weight: 3, interactive: false};
const HERE = {radius: 8, color: "#fff", weight: 3, fillColor: "#c24a00", fillOpacity: 1, interactive: false};
const EQUATOR_M = 40075016.686;

export class Trail {
  lines = [];

  constructor(map, counts) {
    Object.assign(this, {map, counts});
    this.seen = L.polyline([], SEEN).addTo(map);
    this.way = L.polyline([], WAY).addTo(map);
    map.on("zoomend", () => this.widen());
    this.widen();
  }

  /* Twice the sight, in pixels of the map as it is. */
  widen() {
    const metresPerPixel = EQUATOR_M * Math.cos(this.map.getCenter().lat * Math.PI / 180) / 2 ** (this.map.getZoom() + 8);
    this.seen.setStyle({weight: Math.max(2, 2 * this.counts.sight_m / metresPerPixel)});
  }

  clear() {
    this.lines = [];
    this.last = null;
    this.draw();
  }

  add(fix) {
    if (fix.accuracy_m > this.counts.accuracy_m) return;
    if (!this.last || isGap(this.last, fix, this.counts)) this.lines.push([]);
    this.lines.at(-1).push([fix.lat, fix.lon]);
    this.last = fix;
  }

  /* Above the ground that was drawn meanwhile. */
  raise() {
    for (const shape of [this.seen, this.way, this.circle, this.here]) shape?.bringToFront();
  }

  draw() {
    const walked = this.lines.filter((line) => line.length > 1);
    this.seen.setLatLngs(walked);
    this.way.setLatLngs(walked);
  }

  /* Where the phone is now, with its uncertainty. */
  show(fix) {
    const at = [fix.lat, fix.lon];
    this.circle ??= L.circle(at, {color: "#0b5cad", weight: 1, fillOpacity: 0.1, interactive: false}).addTo(this.map);
    this.here ??= L.circleMarker(at, HERE).addTo(this.map);
    this.circle.setLatLng(at).setRadius(fix.accuracy_m ?? 0);
    this.here.setLatLng(at).bringToFront();
  }
}
