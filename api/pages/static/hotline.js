/* The operator's form: likely duplicates are asked for as soon as type and place are known, and answered before saving. */
import {faultsOn} from "./faults.js";
import {PlacePicker, Whose, whoseLines} from "./place.js";
import {make, newId, t} from "./words.js";

const setup = JSON.parse(document.getElementById("setup").textContent);
const csrf = document.querySelector("meta[name=csrf]")?.content ?? "";
const form = document.getElementById("call");
const byId = (id) => document.getElementById(id);
const TYPE_NAME = new Map(setup.types.map(({code, name}) => [code, name]));
const TOWN_ZOOM = 13, COMMUNITY_ZOOM = 15.5, MOST_ACCURACY_M = 10000, UNCERTAIN_M = 500;

let callId = newId(), likely = [], asking, middles = new Map(), found = null;

const note = (id, text, isWarning) => {
  const node = byId(id);
  node.hidden = !text;
  node.textContent = text ?? "";
  node.classList.toggle("warn", Boolean(isWarning));
};

class TownOrPin extends Whose {
  show(answer, isOk) {
    found = isOk ? answer : null;
    super.show(answer, isOk);
    if (isOk && answer.grid_code) form.elements.town.value = answer.grid_code.slice(0, answer.grid_code.length - 6);
  }

  /* Where only the town is known, a list of half its grids helps nobody. */
  doubts(answer) {
    return picker.place?.accuracy_m > UNCERTAIN_M ? [] : super.doubts(answer);
  }
}
const whose = new TownOrPin(byId("whose"), (code) => picker.choose(code));
const picker = new PlacePicker(byId("map"), {
  bounds: setup.bounds,
  onNote: (text, isWarning) => note("location-note", text, isWarning),
  onPlace: (place) => {
    showFault("lon", "");
    whose.ask(place);
    askLikely();
  },
});

/* ---- faults, each beside its field ---- */

const {showFault, showFaults} = faultsOn(
  form,
  {lat: "lon", accuracy_m: "lon", "caller.name": "caller", "caller.phone": "caller"},
  (elsewhere) => note("form-note", elsewhere.map(({message}) => message).join(t("；")), true),
);

/* ---- what it is ---- */

const offerTypes = (chosen) => {
  const parent = form.elements.class.value, select = form.elements.event_type;
  const types = setup.types.filter((type) => type.parent === parent);
  const first = parent ? t("请选择小类") : t("先选大类");
  select.replaceChildren(new Option(first, ""), ...types.map(({code, name}) => new Option(name, code)));
  if (parent && !types.length) select.append(new Option(TYPE_NAME.get(parent), parent));
  select.disabled = !parent;
  select.value = chosen;
};

/* ---- where it is ---- */

const offerPlaces = () => {
  middles = new Map(picker.names.map((name) => [name.text, name]));
  byId("places").replaceChildren(...[...middles.keys()].sort().map((text) => make("option", {value: text})));
};

const goTo = (text) => {
  const name = middles.get(text.trim());
  if (name) picker.map.setView(name.at, name.level === "town" ? TOWN_ZOOM : COMMUNITY_ZOOM, {animate: false});
};

/* Where only the town is known the place is its middle, as uncertain as the town is large. */
const townOnly = (code) => {
  const shapes = [...picker.grids.values()].filter((shape) => shape.feature.properties.town_code === code);
  if (!shapes.length) return;
  const bounds = L.latLngBounds(shapes.map((shape) => shape.getBounds()));
  const middle = bounds.getCenter();
  const accuracy = Math.min(MOST_ACCURACY_M, Math.round(middle.distanceTo(bounds.getNorthEast())));
  picker.set({lon: middle.lng, lat: middle.lat, accuracy_m: accuracy}, {isShown: true});
  note("location-note", t("只知道街镇：位置记为存疑，由居村核实。"), true);
};

/* ---- likely the same; what is only practised is never the same as what is real ---- */

const drill = () => Number(form.elements.drill?.value) || null;

const askLikely = async () => {
  asking?.abort();
  const {place} = picker, event_type = form.elements.event_type.value;
  if (!place || !event_type || drill()) {
    showLikely([]);
    return;
  }
  asking = new AbortController();
  const {signal} = asking;
  try {
    const response = await fetch(`/api/v1/cases/duplicates?${new URLSearchParams({lon: place.lon, lat: place.lat, event_type})}`, {signal});
    if (response.ok && !signal.aborted) showLikely((await response.json()).likely);
  } catch {
    // Asked again when the call is saved: the service refuses it while a likely case is unanswered.
  }
};

const choice = (value, isChecked, ...children) => {
  const input = make("input", {type: "radio", name: "same", value, checked: isChecked});
  return make("li", {}, make("label", {}, input, " ", ...children));
};

const showLikely = (cases) => {
  const said = form.elements.same?.value;
  likely = cases;
  byId("likely").hidden = !cases.length;
  showFault("likely", "");
  const rows = cases.map(({distance_m, case: one}) => {
    const name = String(one.serial ?? one.id);
    const link = make("a", {className: "code", text: name, href: `/cases/${name}`, target: "_blank", rel: "noopener"});
    const about = `${TYPE_NAME.get(one.event_type) ?? ""} · ${setup.stages[one.stage] ?? one.stage} · ${Math.round(distance_m)} m `;
    const text = one.text ? [make("p", {className: "text clip", text: one.text})] : [];
    return choice(name, said === name, t("同一件："), about, link, ...text);
  });
  if (rows.length) rows.push(choice("none", said === "none", t("都不是，另立一件")));
  byId("likely").querySelector("ul").replaceChildren(...rows);
};

/* ---- saving ---- */

const bodyOf = () => {
  const {elements} = form, name = elements.name.value.trim(), phone = elements.phone.value.trim(), same = elements.same?.value;
  return {
    id: callId,
    number: elements.number.value,
    lon: picker.place?.lon,
    lat: picker.place?.lat,
    accuracy_m: picker.place?.accuracy_m ?? null,
    ...(found && !found.grid_code && elements.town.value ? {town: elements.town.value} : {}),
    kind: elements.kind.value,
    event_type: elements.event_type.value,
    text: elements.text.value.trim(),
    caller: {name: name || null, phone: phone || null},
    urgency: elements.urgent.checked ? "urgent" : "normal",
    is_police: elements.is_police.checked,
    alarm: elements.alarm.value,
    ...(drill() ? {drill: drill()} : {}),
    ...(same && same !== "none" ? {same_as: same} : {}),
    ...(same === "none" ? {is_other: true} : {}),
  };
};

const faultsOf = (body) => [
  !body.text && {field: "text", message: t("请写下来电内容。")},
  !body.event_type && {field: "event_type", message: t("请选择类型。")},
  !body.caller.name && !body.caller.phone && {field: "caller", message: t("请记下来电人的姓名或电话。")},
  body.lon === undefined && {field: "lon", message: t("请在地图上点一下，或选街镇。")},
  likely.length > 0 && !form.elements.same?.value && {field: "likely", message: t("请先说是不是同一件。")},
].filter(Boolean);

const save = async (event) => {
  event.preventDefault();
  const body = bodyOf(), faults = faultsOf(body);
  showFaults(faults);
  if (faults.length) return;
  byId("send").disabled = true;
  try {
    const headers = {"Content-Type": "application/json", "X-CSRF-Token": csrf};
    const response = await fetch("/api/v1/hotline/calls", {method: "POST", headers, body: JSON.stringify(body)});
    const answer = await response.json();
    if (response.ok) showSaved(answer);
    else if (answer.likely) await askAgain();
    else showFaults(answer.fields?.length ? answer.fields : [{field: "", message: answer.message}]);
  } catch {
    note("form-note", t("没有保存：现在连不上服务器，请再按一次保存。"), true);
  } finally {
    byId("send").disabled = false;
  }
};

const askAgain = async () => {
  await askLikely();
  showFaults([{field: "likely", message: t("请先说是不是同一件。")}]);
};

const showSaved = (answer) => {
  const one = answer.case, box = byId("saved");
  const lines = answer.is_drill ? [make("p", {}, make("span", {className: "tag drill", text: t("演练")}))] : [];
  if (one) {
    const name = String(one.serial ?? one.id);
    const isMerged = one.stage === "merged";
    const [before, after] = (isMerged ? t("已并入同一件：{serial}") : t("已立案，流水号 {serial}")).split("{serial}");
    const shown = isMerged ? one.merged_into ?? name : name;
    lines.push(make("p", {className: "post"}, before, make("a", {className: "code", text: shown, href: `/cases/${shown}`}), after));
  } else if (answer.desk === "110" && answer.is_drill) lines.push(make("p", {className: "post", text: t("按规定应转110；这是演练，不要转接。")}));
  else if (answer.desk === "110") lines.push(make("p", {className: "post", text: t("按规定转110，请立即转接。")}));
  else lines.push(make("p", {className: "post", text: t("已记下，位置待人工归格。")}));
  const where = found?.grid_code ? whoseLines(found) : [];
  box.replaceChildren(...lines, ...where);
  box.hidden = false;
  box.scrollIntoView({block: "start"});
  startAnew();
};

const startAnew = () => {
  const {number, drill: practised} = form.elements, called = number.value, practises = practised?.value;
  callId = newId();
  form.reset();
  number.value = called;
  if (practised) practised.value = practises;
  offerTypes("");
  picker.clear();
  whose.ask(null);
  found = null;
  showLikely([]);
  showFaults([]);
  note("location-note", "");
  byId("text").focus({preventScroll: true});
};

form.addEventListener("submit", save);
form.elements.class.addEventListener("change", () => {
  offerTypes("");
  askLikely();
});
form.elements.event_type.addEventListener("change", askLikely);
form.elements.drill?.addEventListener("change", askLikely);
form.elements.town.addEventListener("change", ({target}) => (!picker.place || picker.place.accuracy_m) && townOnly(target.value));
byId("find").addEventListener("input", ({target}) => goTo(target.value));
byId("find").addEventListener("keydown", (event) => event.key === "Enter" && event.preventDefault());
form.dataset.ready = "true";
picker.drawGrids().then(offerPlaces);
