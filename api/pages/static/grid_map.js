/* A map without any picture beneath: the grids drawn lightly, with the names of towns and communities. */
import {make, t} from "./words.js";

const TOWNS_BELOW_ZOOM = 14;
const GRID = {color: "#5b6875", weight: 1, fillColor: "#fff", fillOpacity: 0.75, interactive: false};
const CHOSEN = {color: "#0b4a6f", weight: 4, fillColor: "#cfe6f5", fillOpacity: 0.8};

export class GridMap {
  grids = new Map();
  names = [];

  constructor(node, bounds) {
    const [west, south, east, north] = bounds ?? [73, 18, 135, 53];
    this.district = [[south, west], [north, east]];
    this.map = L.map(node, {preferCanvas: true, attributionControl: false, zoomControl: false, zoomSnap: 0.5, maxZoom: 19});
    this.map.fitBounds(this.district, {animate: false});
    L.control.zoom({position: "topright", zoomInTitle: t("放大"), zoomOutTitle: t("缩小")}).addTo(this.map);
    L.control.scale({imperial: false}).addTo(this.map);
    this.nameLayer = L.layerGroup().addTo(this.map);
    this.map.on("moveend", () => this.drawNames());
  }

  /* The grids to find one's way by; the page works without them, offline for one. */
  async drawGrids() {
    const response = await fetch("/api/v1/grids");
    if (!response.ok) return;
    const layer = L.geoJSON(await response.json(), {style: GRID, interactive: false});
    layer.eachLayer((shape) => this.grids.set(shape.feature.id, shape));
    layer.addTo(this.map);
    this.names = [...this.middles("town_code", "town", "town"), ...this.middles("community_code", "community", "community")];
    this.drawNames();
    if (this.chosen) this.choose(this.chosen);
  }

  middles(key, name, level) {
    const found = new Map();
    for (const shape of this.grids.values()) {
      const {[key]: code, [name]: text} = shape.feature.properties, middle = shape.getBounds().getCenter();
      const sum = found.get(code) ?? {level, text, lat: 0, lng: 0, n: 0};
      found.set(code, {...sum, lat: sum.lat + middle.lat, lng: sum.lng + middle.lng, n: sum.n + 1});
    }
    return [...found.values()].map(({lat, lng, n, ...rest}) => ({...rest, at: L.latLng(lat / n, lng / n)}));
  }

  drawNames() {
    const level = this.map.getZoom() < TOWNS_BELOW_ZOOM ? "town" : "community", view = this.map.getBounds().pad(0.1);
    const taken = [], size = 14;
    this.nameLayer.clearLayers();
    for (const name of this.names) {
      if (name.level !== level || !view.contains(name.at)) continue;
      const {x, y} = this.map.latLngToContainerPoint(name.at), half = name.text.length * size / 2;
      if (taken.some((other) => Math.abs(other.x - x) < other.half + half && Math.abs(other.y - y) < size)) continue;
      taken.push({x, y, half});
      const icon = L.divIcon({className: "place-name", html: make("span", {text: name.text}), iconSize: [0, 0]});
      L.marker(name.at, {icon, interactive: false, keyboard: false}).addTo(this.nameLayer);
    }
  }

  /* Outline the grid that was found. */
  choose(code) {
    if (this.chosen) this.grids.get(this.chosen)?.setStyle(GRID);
    this.chosen = code;
    this.grids.get(code)?.setStyle(CHOSEN).bringToFront();
  }

  showDistrict() {
    this.map.fitBounds(this.district, {animate: false});
  }
}
