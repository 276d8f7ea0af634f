/* Where it is: the map of the grids, a pin, and the phone's own location. */
import {GridMap} from "./grid_map.js";
import {make, t} from "./words.js";

const LOCATE_FOR_MS = 20000, GOOD_ENOUGH_M = 15, TOO_COARSE_M = 10000;
const CLOSE_ZOOM = 16;

const pinIcon = () => L.divIcon({className: "pin", iconSize: [44, 48], iconAnchor: [22, 46]});

/* Why a browser gives no location, in words, and what to do instead. */
const whyNot = (error) => {
  if (!window.isSecureContext) return t("本页不是 https，浏览器因此不提供位置。请在地图上点一下放图钉。");
  if (!navigator.geolocation) return t("这个浏览器不能定位。请在地图上点一下放图钉。");
  return {
    1: t("定位被拒绝。可在浏览器设置里允许本站定位，或在地图上点一下放图钉。"),
    2: t("手机现在得不到位置。请在地图上点一下放图钉，或稍后再试。"),
    3: t("定位超时。请在地图上点一下放图钉，或到空旷处再试。"),
  }[error?.code] ?? t("没有得到位置。请在地图上点一下放图钉。");
};

export class PlacePicker extends GridMap {
  place = null;

  /* onPlace({lon, lat, accuracy_m}) when the place changes; onNote(text, isWarning) for what the user should know. */
  constructor(node, {bounds, onPlace, onNote}) {
    super(node, bounds);
    Object.assign(this, {onPlace, onNote});
    this.map.on("click", ({latlng}) => this.set({lon: latlng.lng, lat: latlng.lat, accuracy_m: null}, {isOwn: true}));
  }

  set({lon, lat, accuracy_m}, {isOwn = false, isShown = false} = {}) {
    if (isOwn) this.stopLocating();
    const wrapped = L.latLng(lat, lon).wrap();
    this.place = {lon: Number(wrapped.lng.toFixed(7)), lat: Number(wrapped.lat.toFixed(7)), accuracy_m: accuracy_m ?? null};
    const at = [this.place.lat, this.place.lon];
    this.pin ??= this.makePin(at);
    this.pin.setLatLng(at).addTo(this.map);
    this.circle ??= L.circle(at, {color: "#0b5cad", weight: 2, fillOpacity: 0.12, interactive: false});
    if (this.place.accuracy_m) this.circle.setLatLng(at).setRadius(this.place.accuracy_m).addTo(this.map);
    else this.circle.remove();
    if (isShown) this.show();
    this.onPlace(this.place);
    if (isOwn) this.onNote(t("位置由您在地图上选定。拖动图钉可再调整。"), false);
  }

  makePin(at) {
    const pin = L.marker(at, {draggable: true, autoPan: true, icon: pinIcon(), alt: t("图钉"), title: t("拖动图钉到准确位置")});
    return pin.on("dragend", () => {
      const {lng, lat} = pin.getLatLng();
      this.set({lon: lng, lat, accuracy_m: null}, {isOwn: true});
    });
  }

  show() {
    const at = [this.place.lat, this.place.lon];
    if (this.place.accuracy_m > 60) this.map.fitBounds(L.latLng(at).toBounds(this.place.accuracy_m * 2.5), {animate: false});
    else this.map.setView(at, Math.max(this.map.getZoom(), CLOSE_ZOOM), {animate: false});
  }

  clear() {
    this.stopLocating();
    this.place = null;
    this.pin?.remove();
    this.circle?.remove();
    this.choose(null);
  }

  /* Ask the phone, keep the best of what it says for a while; a pin set by hand meanwhile wins. */
  locate() {
    this.stopLocating();
    if (!window.isSecureContext || !navigator.geolocation) {
      this.onNote(whyNot(), true);
      return;
    }
    this.onNote(t("正在定位……"), false);
    let best = Infinity;
    const take = ({coords}) => {
      if (coords.accuracy >= best) return;
      best = coords.accuracy;
      this.takeFix(coords);
      if (best <= GOOD_ENOUGH_M) this.stopLocating();
    };
    const fail = (error) => {
      if (best === Infinity || error.code === 1) {
        this.stopLocating();
        this.onNote(whyNot(error), true);
      }
    };
    this.watch = navigator.geolocation.watchPosition(take, fail, {enableHighAccuracy: true, timeout: LOCATE_FOR_MS, maximumAge: 5000});
    this.watchTimer = setTimeout(() => this.stopLocating(), LOCATE_FOR_MS);
  }

  takeFix({longitude, latitude, accuracy}) {
    if (accuracy > TOO_COARSE_M) {
      this.map.setView([latitude, longitude], 12, {animate: false});
      this.onNote(t("只得到大概位置（误差约{km}公里）。请在地图上点一下放图钉。", {km: Math.round(accuracy / 1000)}), true);
      return;
    }
    this.set({lon: longitude, lat: latitude, accuracy_m: Math.max(1, Math.round(accuracy * 10) / 10)}, {isShown: true});
    this.onNote(t("已定位，误差约{m}米。不准就拖动图钉。", {m: Math.round(accuracy)}), accuracy > 100);
  }

  stopLocating() {
    if (this.watch !== undefined) navigator.geolocation.clearWatch(this.watch);
    clearTimeout(this.watchTimer);
    this.watch = undefined;
  }
}

/* Whose grid a place is: asked as the pin moves, only the last answer counts. */
export class Whose {
  constructor(node, onGrid) {
    Object.assign(this, {node, onGrid});
  }

  ask(place) {
    clearTimeout(this.timer);
    this.last?.abort();
    if (!place) {
      this.node.replaceChildren();
      return;
    }
    this.timer = setTimeout(() => this.fetch(place), 200);
  }

  async fetch({lon, lat, accuracy_m}) {
    this.last = new AbortController();
    const {signal} = this.last, query = new URLSearchParams({lon, lat, ...(accuracy_m ? {accuracy: accuracy_m} : {})});
    try {
      const response = await fetch(`/api/v1/locate?${query}`, {signal});
      const found = await response.json();
      if (!signal.aborted) this.show(found, response.ok);
    } catch {
      if (!signal.aborted) this.tell("offline", t("现在没有网络：位置已记下，发出后告诉您是哪个网格。"));
    }
  }

  show(found, isOk) {
    this.onGrid(isOk ? found.grid_code : null);
    const sorry = t("现在查不到网格，可以照样上报。");
    if (!isOk) this.tell("warn", found.message ?? sorry);
    else if (found.grid_code === null) this.tell("warn", t("这里在{city}的网格之外。可以照样上报，工作人员会归到网格。", {city: found.city}));
    else this.node.replaceChildren(...whoseLines(found), ...this.doubts(found));
  }

  doubts({is_uncertain, shares, grid_code, method, distance_m}) {
    const lines = [];
    if (method === "snapped") lines.push(t("不在网格内，离最近的网格{m}米。", {m: Math.ceil(distance_m)}));
    if (is_uncertain) {
      const others = Object.entries(shares ?? {}).filter(([code, share]) => code !== grid_code && share >= 0.01);
      const comma = t("、"), unnamed = t("相邻的网格");
      const told = others.map(([code, share]) => `${code} (${Math.round(share * 100)} %)`).join(comma) || unnamed;
      lines.push(t("位置误差大，也可能是：{others}。请把图钉拖到准确的地方。", {others: told}));
    }
    return lines.map((text) => make("p", {className: "doubt", text}));
  }

  tell(className, text) {
    this.onGrid(null);
    this.node.replaceChildren(make("p", {className, text}));
  }
}

/* "This is grid …, answered for by …": of a place being chosen and of a report that was received. */
export const whoseLines = ({grid_code, community, town, manager}) => {
  if (!grid_code) return [make("p", {className: "warn", text: t("不在任何网格：工作人员会归到网格。")})];
  const where = make("p", {className: "grid"}, t("网格"), " ", make("a", {className: "code", text: grid_code, href: `/grids/${grid_code}`, target: "_blank", rel: "noopener"}));
  const place = make("p", {text: `${town ?? ""} · ${community ?? ""}`});
  if (!manager) return [where, place, make("p", {className: "warn", text: t("此网格现无网格长。")})];
  const phone = make("a", {className: "call", href: `tel:${manager.duty_phone}`, text: `${t("值班电话")} ${manager.duty_phone}`});
  const [before, after] = t("由 {post} 负责").split("{post}");
  const post = make("p", {}, before, make("b", {text: manager.post}), after);
  if (manager.is_synthetic) post.append(" ", make("span", {className: "tag warn", text: t("合成")}));
  return [where, place, post, make("p", {className: "unit", text: manager.unit}), make("p", {}, phone)];
};
