/* What every map of ours needs in the browser. Text from reports only ever becomes textContent, never HTML. */
const gridMap = (() => {
  "use strict";

  const isPhone = () => window.innerWidth < 700;
  const PANES = {ground: 300, fill: 350, shares: 351, image: 380, grids: 400, outlines: 420, marks: 450, labels: 620};
  const NEAR_ZOOM = 13, LEGEND_FROM_PX = 420;
  const GOES_THROUGH = ["ground", "image", "outlines", "labels"];

  const make = (tag, className, text) => {
    const node = document.createElement(tag);
    if (className) node.className = className;
    if (text !== undefined) node.textContent = text;
    return node;
  };

  /* Whole numbers of 1e-6 degrees, longitude first, each the difference from the one before. */
  const unpack = (numbers) => {
    const points = [];
    let lon = 0, lat = 0;
    for (let i = 0; i < numbers.length; i += 2) {
      lon += numbers[i];
      lat += numbers[i + 1];
      points.push([lat / 1e6, lon / 1e6]);
    }
    return points;
  };
  const unpackAll = (packed) => typeof packed[0] === "number" ? unpack(packed) : packed.map(unpackAll);

  const SVG = "http://www.w3.org/2000/svg";
  const svgNode = (tag, attributes, ...children) => {
    const node = document.createElementNS(SVG, tag);
    for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
    node.append(...children);
    return node;
  };
  const hatch = (id, ground, opacity, color, path) => svgNode("pattern", {id, width: 7, height: 7, patternUnits: "userSpaceOnUse"},
    svgNode("rect", {width: 7, height: 7, fill: ground, "fill-opacity": opacity}),
    svgNode("path", {d: path, stroke: color, "stroke-width": 1.3, fill: "none"}));
  const HATCHES = [
    ["gm-hatch-unseen", "#d55e00", 0.14, "#c24a00", "M-1,1 l2,-2 M0,7 l7,-7 M6,8 l2,-2"],
    ["gm-hatch-unseen-night", "#56b4e9", 0.12, "#1b2a6b", "M-1,6 l2,2 M0,0 l7,7 M6,-1 l2,2"],
    ["gm-hatch-unseen-day", "#f0e442", 0.16, "#7a5a00", "M0,3.5 h7"],
    ["gm-hatch-geometric", "#cc79a7", 0.25, "#8e2f76", "M0,0 l7,7 M7,0 l-7,7"],
    ["gm-hatch-silent", "#56b4e9", 0.12, "#0072b2", "M2.6,3.5 a0.9,0.9 0 1 0 1.8,0 a0.9,0.9 0 1 0 -1.8,0"],
    ["gm-hatch-unmanned", "#000000", 0.04, "#6e6e6e", "M3.5,0 v7"],
    ["gm-hatch-excluded", "#e3e6e9", 0.9, "#8a949d", "M0,3.5 h7 M3.5,0 v7"],
  ];

  const setUp = (map) => {
    const defs = svgNode("defs", {}, ...HATCHES.map((each) => hatch(...each)));
    document.body.append(svgNode("svg", {width: 0, height: 0, style: "position:absolute"}, defs));
    for (const [name, z] of Object.entries(PANES)) {
      const pane = map.createPane(name);
      pane.style.zIndex = z;
      if (GOES_THROUGH.includes(name)) pane.style.pointerEvents = "none";
    }
    if (map.attributionControl) map.attributionControl.setPrefix(false);
    const tellDistance = () => map.getContainer().classList.toggle("gm-near", map.getZoom() >= NEAR_ZOOM);
    map.on("zoomend", tellDistance);
    tellDistance();
  };

  /* The last step: a scale bar, on a phone above the legend, since the title takes the top, and `bounds` fitted into what title, legend and layer control leave free,
     above and below them on a phone, beside them elsewhere. */
  const finish = (map, bounds) => {
    const size = (selector) => {
      const node = map.getContainer().querySelector(selector);
      const {x, y} = map.getSize();
      return node ? {x: Math.min(node.offsetWidth, x / 3), y: Math.min(node.offsetHeight, y / 3)} : {x: 0, y: 0};
    };
    L.control.scale({imperial: false, position: isPhone() ? "bottomleft" : "bottomright"}).addTo(map);
    const title = size(".gm-title"), legend = size(".gm-legend"), layers = size(".leaflet-control-layers");
    const scale = size(".leaflet-control-scale");
    const [topLeft, bottomRight] = isPhone()
      ? [[8, title.y + 20], [8, legend.y + scale.y + 30]]
      : [[Math.max(title.x, legend.x) + 20, 12], [layers.x + 20, 12]];
    map.fitBounds(bounds, {animate: false, paddingTopLeft: topLeft, paddingBottomRight: bottomRight});
  };

  const valueOf = (column, row) => {
    const code = column.at ? column.at[row] : row;
    return code < 0 ? null : column.of[code];
  };

  const describe = (columns, row) => {
    const part = document.createDocumentFragment();
    const list = make("dl");
    for (const column of columns) {
      const value = valueOf(column, row);
      if (value === null) continue;
      if (column.role === "heading") part.append(make("h2", "", value));
      else if (column.role !== "link") list.append(make("dt", "", column.label), make("dd", "", value));
    }
    part.append(list);
    const link = columns.find((column) => column.role === "link");
    if (link && valueOf(link, row) !== null) {
      const anchor = make("a", "gm-go", link.label);
      anchor.href = valueOf(link, row);
      anchor.target = "_top";
      part.append(anchor);
    }
    return part;
  };

  const popup = (columns, rows) => {
    const box = make("div", "gm-popup");
    rows.slice(0, 12).forEach((row, i) => {
      if (i) box.append(make("hr"));
      box.append(describe(columns, row));
    });
    if (rows.length > 12) box.append(make("p", "", `… +${rows.length - 12}`));
    return box;
  };

  const DRAW = {polygon: L.polygon, line: L.polyline, point: L.circleMarker};

  /* One drawn layer: shapes[i] gets styles[styleOf[i]]; a click tells columns' rows rowsOf[i]. */
  const features = (spec) => {
    const group = L.featureGroup();
    spec.shapes.forEach((shape, i) => {
      const style = {...spec.base, ...spec.styles[spec.styleOf[i]], pane: spec.pane, interactive: spec.columns.length > 0};
      const layer = DRAW[spec.kind](spec.kind === "point" ? shape[0] : shape, style);
      layer.rows = spec.rowsOf ? spec.rowsOf[i] : [i];
      layer.drawn = style;
      group.addLayer(layer);
    });
    if (!spec.columns.length) return group;
    group.bindPopup((layer) => popup(spec.columns, layer.rows), {maxWidth: 300, maxHeight: 260, autoPanPaddingTopLeft: isPhone() ? [8, 150] : [370, 8]});
    const tip = spec.columns.filter((column) => column.tip);
    if (tip.length && !L.Browser.mobile) {
      const text = (layer) => tip.map((column) => valueOf(column, layer.rows[0])).filter((value) => value !== null);
      group.bindTooltip((layer) => make("span", "", text(layer).join(" · ")), {sticky: true});
    }
    group.eachLayer((layer) => {
      if (layer.rows.length < 2) return;
      layer.bindTooltip(String(layer.rows.length), {permanent: true, direction: "center", className: "gm-count"});
    });
    if (spec.hover) {
      group.on("mouseover", (event) => event.layer.setStyle(spec.hover).bringToFront());
      group.on("mouseout", (event) => event.layer.setStyle(event.layer.drawn));
    }
    return group;
  };

  /* Names that never cover one another: earlier sets come first; sets marked `keep` move aside a
     little and are always shown. */
  const Labels = L.LayerGroup.extend({
    initialize(sets) {
      L.LayerGroup.prototype.initialize.call(this);
      this.sets = sets;
    },
    onAdd(map) {
      map.on("moveend zoomend resize", this.place, this);
      this.place();
      L.LayerGroup.prototype.onAdd.call(this, map);
    },
    onRemove(map) {
      map.off("moveend zoomend resize", this.place, this);
      L.LayerGroup.prototype.onRemove.call(this, map);
    },
    place() {
      this.clearLayers();
      const map = this._map || this._mapToAdd;
      const taken = [];
      for (const set of this.sets) {
        if (map.getZoom() < set.minZoom) continue;
        const size = isPhone() ? set.sizePx - 1 : set.sizePx;
        set.points.forEach((at, i) => this.placeOne(map, set, at, set.texts[i], size, taken));
      }
    },
    placeOne(map, set, at, text, size, taken) {
      const {x, y} = map.latLngToContainerPoint(at);
      const edge = map.getSize();
      if (x < -50 || y < -20 || x > edge.x + 50 || y > edge.y + 20) return;
      const width = [...text].reduce((sum, c) => sum + (c.codePointAt(0) > 0x2e7f ? 1 : 0.6), 0) * size + 6;
      const boxAt = (dy) => [x - width / 2, y + dy - size * 0.7, x + width / 2, y + dy + size * 0.7];
      const isFree = (a) => !taken.some((b) => b[0] < a[2] && a[0] < b[2] && b[1] < a[3] && a[1] < b[3]);
      const shifts = set.keep ? [0, 1.2, -1.2, 2.2, -2.2].map((lines) => lines * size) : [0];
      const free = shifts.find((dy) => isFree(boxAt(dy)));
      if (free === undefined && !set.keep) return;
      const dy = free ?? 0;
      taken.push(boxAt(dy));
      const span = make("span", "", text);
      span.style.fontSize = `${size}px`;
      span.style.top = `${dy}px`;
      const icon = L.divIcon({className: `gm-label gm-${set.className}`, html: span, iconSize: [0, 0]});
      this.addLayer(L.marker(at, {icon, pane: "labels", interactive: false, keyboard: false}));
    },
  });
  const labels = (sets) => new Labels(sets.map((set) => ({...set, points: unpack(set.packed)})));

  const card = (map, position, className, fill) => {
    const control = L.control({position});
    control.onAdd = () => {
      const box = make("section", `gm-card ${className}`);
      fill(box);
      L.DomEvent.disableClickPropagation(box);
      L.DomEvent.disableScrollPropagation(box);
      return box;
    };
    return control.addTo(map);
  };

  const title = (map, spec) => card(map, "topleft", "gm-title", (box) => {
    box.append(make("h1", "", spec.title));
    for (const line of spec.lines) box.append(make("p", "", line));
    if (spec.note) box.append(make("p", "gm-note", spec.note));
  });

  const swatch = (item) => {
    const {color = "none", weight = 1, dashArray = "", fillColor = "none", fillOpacity = 1, className = ""} = item.style;
    const line = {stroke: color, "stroke-width": weight, "stroke-dasharray": dashArray, fill: fillColor, "fill-opacity": fillOpacity};
    const mark = {
      line: () => svgNode("line", {x1: 1, y1: 7, x2: 21, y2: 7, ...line}),
      point: () => svgNode("circle", {cx: 11, cy: 7, r: 5, ...line}),
      polygon: () => svgNode("rect", {x: 1, y: 1, width: 20, height: 12, rx: 2, ...line, class: className}),
    };
    return svgNode("svg", {width: 22, height: 14}, mark[item.kind]());
  };

  const legend = (map, spec) => card(map, "bottomleft", "gm-legend", (box) => {
    const details = make("details");
    details.open = window.innerHeight >= LEGEND_FROM_PX;
    const summary = make("summary", "", spec.title);
    if (spec.unit) summary.append(" ", make("small", "", spec.unit));
    const list = make("ul", spec.items.length > 5 ? "gm-many" : "");
    for (const item of spec.items) {
      const row = make("li");
      row.append(swatch(item), make("span", "", item.text));
      list.append(row);
    }
    details.append(summary, list);
    for (const line of spec.lines) details.append(make("p", "", line));
    box.append(details);
  });

  return {isPhone, setUp, finish, features, labels, title, legend, unpackAll};
})();
