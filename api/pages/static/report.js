/* The report page: the form, what is kept of it, and the list of what was sent. */
import {faultsOn} from "./faults.js";
import {keepPages} from "./offline.js";
import {Outbox} from "./outbox.js";
import {PlacePicker, Whose, whoseLines} from "./place.js";
import {openStore} from "./store.js";
import {dayAndTime, make, newId, t} from "./words.js";

const setup = JSON.parse(document.getElementById("setup").textContent);
const form = document.getElementById("report");
const byId = (id) => document.getElementById(id);
const TYPE_NAME = new Map(setup.types.map(({code, name}) => [code, name]));
const SAVE_AFTER_MS = 250;

let draftId = newId();
let store, outbox, saveTimer;

const whose = new Whose(byId("whose"), (code) => picker.choose(code));
const note = (id, text, isWarning) => {
  const node = byId(id);
  node.hidden = !text;
  node.textContent = text ?? "";
  node.classList.toggle("warn", Boolean(isWarning));
};
const picker = new PlacePicker(byId("map"), {
  bounds: setup.bounds,
  onNote: (text, isWarning) => note("location-note", text, isWarning),
  onPlace: (place) => {
    whose.ask(place);
    showFault("lon", "");
    saveSoon();
  },
});

/* ---- the draft ---- */

const readDraft = () => ({
  id: draftId,
  place: picker.place,
  class: form.elements.class.value,
  event_type: form.elements.event_type.value,
  kind: form.elements.kind.value,
  text: form.elements.text.value,
  name: form.elements.name.value,
  phone: form.elements.phone.value,
  isInformant: form.elements.is_informant?.checked ?? false,
});

const saveNow = () => {
  clearTimeout(saveTimer);
  saveTimer = undefined;
  return store?.saveDraft(readDraft());
};
const saveSoon = () => {
  clearTimeout(saveTimer);
  saveTimer = setTimeout(saveNow, SAVE_AFTER_MS);
};

const fill = (draft) => {
  draftId = draft.id;
  form.elements.class.value = draft.class ?? "";
  offerTypes(draft.event_type ?? "");
  if (draft.kind) form.elements.kind.value = draft.kind;
  for (const name of ["text", "name", "phone"]) form.elements[name].value = draft[name] ?? "";
  if (form.elements.is_informant) form.elements.is_informant.checked = Boolean(draft.isInformant);
  if (draft.name || draft.phone) form.querySelector("details").open = true;
  if (draft.place) picker.set(draft.place, {isShown: true});
};

/* A new report; name and telephone stay, the same person goes on. */
const startAnew = () => {
  const {name, phone, kind} = readDraft();
  form.reset();
  picker.clear();
  whose.ask(null);
  fill({id: newId(), name, phone, kind});
  note("location-note", t("点“定位”，或在地图上点一下放图钉，再拖到准确位置。"));
  saveSoon();
  return showPhotos();
};

const isEmpty = () => {
  const {place, event_type, text} = readDraft();
  return !place && !event_type && !text.trim();
};

const offerTypes = (chosen) => {
  const parent = form.elements.class.value, select = form.elements.event_type;
  const types = setup.types.filter((type) => type.parent === parent);
  const first = parent ? t("请选择小类") : t("先选大类");
  select.replaceChildren(new Option(first, ""), ...types.map(({code, name}) => new Option(name, code)));
  // A class without types of its own is itself what is reported.
  if (parent && !types.length) select.append(new Option(TYPE_NAME.get(parent), parent));
  select.disabled = !parent;
  select.value = chosen;
};

/* ---- faults, each beside its field ---- */

const {showFault, showFaults} = faultsOn(
  form,
  {lat: "lon", accuracy_m: "lon", "": "lon"},
  (elsewhere) => note("form-note", elsewhere.map(({message}) => message).join(t("；")), true),
);

const faultsOf = (draft) => [
  !draft.place && {field: "lon", message: t("请先定位，或在地图上点一下放图钉。")},
  !draft.event_type && {field: "event_type", message: t("请选择类型。")},
  !draft.text.trim() && {field: "text", message: t("请写一句说明。")},
  draft.isInformant && !draft.name.trim() && !draft.phone.trim() && {field: "reporter.phone", message: t("爆料要留姓名或电话，才能发奖。")},
].filter(Boolean);

/* ---- photos ---- */

const MAX_SIDE_PX = 4000;

/* A photo over the limits is made smaller here rather than refused there. */
const fitted = async (file) => {
  const bitmap = await createImageBitmap(file);
  const isFine = file.size <= setup.photos.bytes && bitmap.width * bitmap.height <= setup.photos.pixels;
  const isTaken = ["image/jpeg", "image/png", "image/webp"].includes(file.type);
  if (isFine && isTaken) return file;
  const scale = Math.min(1, MAX_SIDE_PX / Math.max(bitmap.width, bitmap.height));
  const canvas = make("canvas", {width: Math.round(bitmap.width * scale), height: Math.round(bitmap.height * scale)});
  canvas.getContext("2d").drawImage(bitmap, 0, 0, canvas.width, canvas.height);
  const blob = await new Promise((resolve) => canvas.toBlob(resolve, "image/jpeg", 0.85));
  return new File([blob], file.name.replace(/\.\w+$/, "") + ".jpg", {type: "image/jpeg"});
};

const addPhotos = async (input) => {
  const files = [...input.files];
  input.value = "";
  const room = setup.photos.max - (await store.photosOf(draftId)).length;
  const faults = files.length > room ? [t("最多{n}张照片。", {n: setup.photos.max})] : [];
  for (const file of files.slice(0, Math.max(room, 0))) {
    try {
      const photo = await fitted(file);
      await store.addPhoto({report: draftId, name: photo.name, type: photo.type, bytes: await photo.arrayBuffer()});
    } catch {
      faults.push(t("“{name}”不是能用的照片（JPEG、PNG、WebP）。", {name: file.name}));
    }
  }
  showFault("photo", faults.join(" "));
  await saveNow();
  await showPhotos();
};

const showPhotos = async () => {
  const list = byId("photos");
  for (const image of list.querySelectorAll("img")) URL.revokeObjectURL(image.src);
  const photos = await store.photosOf(draftId);
  list.replaceChildren(...photos.map((photo, i) => {
    const src = URL.createObjectURL(new Blob([photo.bytes], {type: photo.type}));
    const remove = make("button", {type: "button", text: "×", ariaLabel: t("去掉第{n}张照片", {n: i + 1})});
    remove.addEventListener("click", async () => {
      await store.removePhoto(photo.key);
      await showPhotos();
    });
    return make("li", {}, make("img", {src, alt: photo.name}), remove);
  }));
};

/* ---- sending ---- */

const bodyOf = (draft) => {
  const name = draft.name.trim(), phone = draft.phone.trim();
  return {
    id: draft.id,
    ...draft.place,
    datum: "wgs84",
    kind: draft.kind,
    event_type: draft.event_type,
    text: draft.text.trim(),
    observed_at: new Date().toISOString(),
    source: draft.kind === "巡查" ? "patrol" : "resident",
    ...(name || phone ? {[draft.isInformant ? "informant" : "reporter"]: {name: name || null, phone: phone || null}} : {}),
  };
};

const submit = async (event) => {
  event.preventDefault();
  const draft = readDraft(), faults = faultsOf(draft);
  showFaults(faults);
  if (faults.length) return;
  byId("send").disabled = true;
  try {
    clearTimeout(saveTimer);
    const report = {id: draft.id, body: bodyOf(draft), title: TYPE_NAME.get(draft.event_type), text: draft.text.trim().slice(0, 80),
      hasPhotos: (await store.photosOf(draft.id)).length > 0, state: "unsent", madeAt: Date.now(), tries: 0, nextAt: 0};
    await store.file(report);
    await startAnew();
    await showOutbox();
    byId("outbox").scrollIntoView({block: "start"});
    outbox.send({now: true});
  } catch (error) {
    note("form-note", t("手机存储出错，还没有发出：{why}", {why: error?.message ?? error}), true);
  } finally {
    byId("send").disabled = false;
  }
};

/* A refused report back in the form; after a conflict under a new id, since the old one is taken. */
const edit = async (report) => {
  const {body} = report;
  const draft = {
    id: report.isTwin ? newId() : report.id,
    place: {lon: body.lon, lat: body.lat, accuracy_m: body.accuracy_m ?? null},
    class: setup.types.find(({code}) => code === body.event_type)?.parent ?? body.event_type,
    event_type: body.event_type, kind: body.kind, text: body.text,
    name: (body.reporter ?? body.informant)?.name ?? "", phone: (body.reporter ?? body.informant)?.phone ?? "",
    isInformant: Boolean(body.informant),
  };
  clearTimeout(saveTimer);
  await store.unfile(report.id, draft);
  fill(draft);
  await showPhotos();
  await showOutbox();
  showFaults(report.fields?.length ? report.fields : [{field: "", message: report.why}]);
  if (report.isTwin) note("form-note", report.why, true);
};

/* ---- the list of what was sent ---- */

const STATES = {unsent: ["wait", t("未发送")], refused: ["refused", t("未被接受")], received: ["good", t("已收到")]};

const row = (report, count) => {
  const [className, label] = STATES[report.state];
  const time = dayAndTime(report.madeAt);
  const item = make("li", {className}, make("p", {className: "line"}, make("span", {className: `state ${className}`, text: label}), make("b", {text: report.title ?? ""}), make("time", {text: time})));
  item.dataset.id = report.id;
  item.dataset.state = report.state;
  if (report.state === "received") item.append(...received(report, count));
  else item.append(make("p", {className: "sub", text: report.text ?? ""}), make("p", {className: "why", text: report.why ?? t("正在发送……")}));
  if (report.state === "unsent" && report.why) item.append(action(t("现在再发"), () => outbox.send({now: true})));
  if (report.state === "refused") item.append(action(t("修改"), () => editIfFree(report)), action(t("删除"), () => discard(report)));
  return item;
};

const received = (report, count) => {
  const onTheirWay = t("照片还在发送：{n}张", {n: count});
  const photos = report.hasPhotos ? [make("p", {className: "why", text: `${onTheirWay} ${report.why ?? ""}`})] : [];
  const lost = (report.lostPhotos ?? []).map(({name, why}) => make("p", {className: "why", text: t("照片“{name}”没有收下：{why}", {name, why})}));
  const id = make("p", {className: "sub"}, t("编号"), " ", make("span", {className: "code", text: report.receipt.id}));
  return [make("div", {className: "whose"}, ...whoseLines(report.receipt)), ...photos, ...lost, id, ...following(report.receipt)];
};

/* The code goes to the page in a form's body, never in an address. */
const following = ({id, query_code: code}) => {
  if (!code) return [];
  const shown = make("p", {className: "sub"}, t("查询码"), " ", make("b", {className: "code", text: code}), " ", t("请记下，凭编号和查询码查进度。"));
  const kept = Object.entries({number: id, code}).map(([name, value]) => make("input", {type: "hidden", name, value}));
  return [shown, make("form", {method: "post", action: "/public"}, ...kept, make("button", {className: "button plain", text: t("查进度")}))];
};

const action = (text, onClick) => {
  const button = make("button", {type: "button", className: "button plain", text});
  button.addEventListener("click", onClick);
  return button;
};

const editIfFree = (report) => (isEmpty() ? edit(report) : note("form-note", t("请先发送正在填写的上报，再修改这一件。"), true));

const discard = async (report) => {
  if (!confirm(t("删除这件没有被接受的上报？"))) return;
  await store.remove(report.id);
  await showOutbox();
};

const showOutbox = async () => {
  const reports = (await store.reports()).sort((one, other) => other.madeAt - one.madeAt);
  const counts = await Promise.all(reports.map(async (report) => (report.hasPhotos ? (await store.photosOf(report.id)).length : 0)));
  byId("outbox").hidden = !reports.length;
  byId("outbox").querySelector("ul").replaceChildren(...reports.map((report, i) => row(report, counts[i])));
  byId("forget").hidden = !reports.some(({state, hasPhotos}) => state === "received" && !hasPhotos);
};

const forget = async () => {
  for (const {id, state, hasPhotos} of await store.reports()) if (state === "received" && !hasPhotos) await store.remove(id);
  await showOutbox();
};

const start = async () => {
  store = await openStore();
  outbox = new Outbox(store, async (report) => {
    await showOutbox();
    if (report.state === "refused" && isEmpty()) await edit(report);
  });
  if (!store.isLasting) note("storage-note", t("这个浏览器不保存草稿：请不要关闭本页，直到显示“已收到”。"), true);
  const draft = await store.draft();
  if (draft) fill(draft);
  await showPhotos();
  await showOutbox();
  form.addEventListener("input", saveSoon);
  form.addEventListener("submit", submit);
  form.elements.class.addEventListener("change", () => offerTypes(""));
  for (const id of ["camera", "album"]) byId(id).addEventListener("change", (event) => addPhotos(event.target));
  byId("locate").addEventListener("click", () => picker.locate());
  byId("see-district").addEventListener("click", () => picker.showDistrict());
  byId("forget").addEventListener("click", forget);
  addEventListener("pagehide", () => saveTimer && saveNow());
  document.addEventListener("visibilitychange", () => document.visibilityState === "hidden" && saveTimer && saveNow());
  tellOffline();
  form.dataset.ready = "true";
  await Promise.allSettled([outbox.start(), picker.drawGrids(), locateIfAllowed(draft)]);
};

const tellOffline = async () => {
  if (document.body.classList.contains("kept")) note("offline-note", t("没有网络时打开的：写好的上报留在本机，网络恢复后自动发送。"));
  else note("offline-note", await keepPages("/report") ? t("没有网络时也能打开本页。") : t("没有网络时打不开本页：那时请不要关闭它。已存下的不会丢。"));
};

/* Whoever has allowed it before need not tap; nobody is asked before they know what for. */
const locateIfAllowed = async (draft) => {
  if (draft?.place) return;
  if (!window.isSecureContext) {
    picker.locate();
    return;
  }
  const permission = await navigator.permissions?.query({name: "geolocation"});
  if (permission?.state === "granted") picker.locate();
};

start();
