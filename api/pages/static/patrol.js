/* The page of an outing: one's team and ground, what is being recorded, and what this phone still keeps. */
import {GridMap} from "./grid_map.js";
import {keepPages, setupOf} from "./offline.js";
import {Awake, fixesOf, Recorder} from "./recorder.js";
import {openTracks} from "./track_store.js";
import {TrackSender} from "./track_sender.js";
import {Trail} from "./trail.js";
import {dayAndTime, make, t} from "./words.js";

const setup = setupOf(JSON.parse(document.getElementById("setup").textContent));
const byId = (id) => document.getElementById(id);
const OWN = {color: "#0b4a6f", weight: 2.5, fillColor: "#cfe6f5", fillOpacity: 0.8};
const TEAM_KEY = "gis-grid-team", ALONE = "gis-grid-outing", FOLLOW_ZOOM = 17;

const grids = new GridMap(byId("map"), setup.bounds), trail = new Trail(grids.map, setup.counts), awake = new Awake();
let store, recorder, sender, ownGround = null, isAlone = false;

const note = (id, text, isWarning = true) => {
  const node = byId(id);
  node.hidden = !text;
  node.replaceChildren(text ?? "");
  node.classList.toggle("warn", isWarning);
};

/* ---- the team and its ground ---- */

const team = () => setup.teams.find(({code}) => code === byId("team-choice").value);

const showTeam = () => {
  byId("team-lines").replaceChildren(...(team()?.lines ?? [t("您的账号没有巡查队：轨迹照样记录，不归任何队。")]).map((text) => make("li", {text})));
  localStorage.setItem(TEAM_KEY, byId("team-choice").value);
  drawGround();
};

const offerTeams = () => {
  const options = setup.teams.map(({code, name}) => new Option(name, code));
  const none = setup.teams.some(({is_member}) => is_member) ? [] : [new Option(t("不归任何队"), "")];
  byId("team-choice").replaceChildren(...options, ...none);
  const before = recorder.outing?.team ?? localStorage.getItem(TEAM_KEY);
  if ([...options, ...none].some(({value}) => value === before)) byId("team-choice").value = before;
  showTeam();
};

/* A grid is one's own where the team's ground names it or something above it. */
const drawGround = () => {
  ownGround?.remove();
  const codes = new Set((team()?.ground ?? []).map(({code}) => code));
  const isDistrict = (team()?.ground ?? []).some(({level}) => level === "district");
  const isOwn = ({id, properties}) => isDistrict || [id, properties.community_code, properties.town_code].some((code) => codes.has(code));
  const features = [...setup.ground, ...[...grids.grids.values()].map(({feature}) => feature)].filter(isOwn);
  const own = new Map(features.map((feature) => [feature.id, feature]));  // without a network those of the setup are all there are
  ownGround = L.geoJSON([...own.values()], {style: OWN, interactive: false}).addTo(grids.map);
  byId("map").dataset.own = own.size;
  trail.raise();
  if (ownGround.getLayers().length && !trail.last) grids.map.fitBounds(ownGround.getBounds(), {animate: false, padding: [12, 12]});
};

/* ---- what is being recorded ---- */

const clock = (ms) => {
  const s = Math.max(0, Math.floor(ms / 1000)), two = (n) => String(n).padStart(2, "0");
  return `${Math.floor(s / 3600)}:${two(Math.floor(s / 60) % 60)}:${two(s % 60)}`;
};
const far = (metres) => (metres < 1000 ? `${Math.round(metres)} m` : `${(metres / 1000).toFixed(2)} km`);

const WHY_NOT_COUNTED = {
  accuracy: t("误差超过{m}米", {m: setup.counts.accuracy_m}),
  clock: t("手机时钟与服务器相差太多，请打开“自动设置时间”"),
  late: t("太晚才送到"),
  far: t("不在本区附近"),
  datum: t("坐标系不对"),
  jump: t("跳得太快"),
};

const tallyOf = (chunks) => {
  const tally = {unsent: 0, refused: [], uncounted: {}};
  for (const chunk of chunks) {
    const fixes = chunk.epoch_s.length - chunk.carried;
    if (chunk.state === "refused") tally.refused.push(chunk);
    else if (chunk.state !== "received") tally.unsent += fixes;
    for (const [why, count] of Object.entries(chunk.uncounted ?? {})) tally.uncounted[why] = (tally.uncounted[why] ?? 0) + count;
  }
  return tally;
};

const tell = ({outing} = recorder) => {
  const state = outing?.state ?? "none", isOpen = state === "going" || state === "paused";
  for (const [id, states] of Object.entries({begin: ["none", "ended"], pause: ["going"], resume: ["paused"], stop: ["going", "paused"]})) byId(id).hidden = !states.includes(state);
  for (const id of ["begin", "resume", "stop", "pause"]) byId(id).disabled = !isAlone || (["begin", "resume"].includes(id) && !(isLocatable() && setup.who));
  byId("team-choice").disabled = isOpen;
  byId("consent").hidden = isOpen;
  document.body.dataset.state = state;
  awake.set(state === "going");
  byId("elapsed").textContent = clock(outing ? recorder.ranMs : 0);
  byId("distance").textContent = far(outing?.metres ?? 0);
  byId("fixes").textContent = outing?.fixes ?? 0;
};

const show = async () => {
  tell();
  const {outing} = recorder;
  byId("unacknowledged").textContent = outing ? tallyOf(await store.chunks(outing.id)).unsent : 0;
  await showOutings();
};

const changed = async () => {
  await settle();
  await show();
};

/* An outing that is over and acknowledged to the last fix leaves no fix on the phone. */
const settle = async () => {
  for (const outing of await store.outings()) {
    if (outing.state !== "ended" || outing.isDone) continue;
    const chunks = await store.chunks(outing.id);
    if (!chunks.every(({state}) => state === "received")) continue;
    Object.assign(outing, {isDone: true, uncounted: tallyOf(chunks).uncounted});
    await store.keep(outing);
    await store.forgetFixes(outing.id);
  }
};

/* ---- the list of this phone's outings ---- */

const action = (text, onClick) => {
  const button = make("button", {type: "button", className: "button plain", text});
  button.addEventListener("click", onClick);
  return button;
};

const STATES = {going: t("正在记录"), paused: t("已暂停"), ended: t("已结束")};

const row = async (outing) => {
  const tally = tallyOf(await store.chunks(outing.id)), isOurs = outing.who === setup.who;
  const [className, label] = tally.refused.length ? ["refused", t("有未被接受的")] : outing.isDone ? ["good", t("已全部收到")] : ["wait", STATES[outing.state]];
  const time = dayAndTime(outing.startedAt);
  const item = make("li", {className}, make("p", {className: "line"}, make("span", {className: `state ${className}`, text: label}), make("b", {text: outing.teamName}), make("time", {text: time})));
  Object.assign(item.dataset, {id: outing.id, state: outing.state, done: Boolean(outing.isDone)});
  item.append(make("p", {className: "sub", text: t("{way}，{n}个定位点，{m}个未确认", {way: far(outing.metres), n: outing.fixes, m: tally.unsent})}));
  for (const [why, n] of Object.entries(outing.uncounted ?? tally.uncounted)) item.append(make("p", {className: "why", text: t("{n}个定位点收到但不计入：{why}", {n, why: WHY_NOT_COUNTED[why] ?? why})}));
  if (!isOurs) item.append(make("p", {className: "why", text: t("这是{who}的巡查：请用该账号登录，才能续记和发送。", {who: outing.who.replace(/^user:/, "")})}));
  if (tally.refused.length) item.append(...refusal(outing, tally.refused));
  return item;
};

/* What the service refused stays here, whole, until somebody decides. */
const refusal = (outing, chunks) => {
  const n = chunks.reduce((sum, {epoch_s, carried}) => sum + epoch_s.length - carried, 0);
  const whys = [...new Set(chunks.map(({why}) => why))].join(t("；"));
  const again = async () => {
    await store.putChunks(chunks.map((chunk) => ({...chunk, state: "unsent"})));
    await show();
    sender.send({now: true});
  };
  const save = () => {
    const file = new Blob([JSON.stringify({outing, chunks})], {type: "application/json"});
    const link = make("a", {href: URL.createObjectURL(file), download: `${outing.id}.json`});
    link.click();
    URL.revokeObjectURL(link.href);
  };
  const drop = async () => {
    if (!confirm(t("删除没有被接受的{n}个定位点？删除后无法恢复。", {n}))) return;
    await store.putChunks(chunks.map((chunk) => ({...chunk, state: "received", epoch_s: [], lon: [], lat: [], accuracy_m: [], carried: 0})));
    await changed();
  };
  return [make("p", {className: "why", text: t("{n}个定位点没有被接受，仍留在本机：{why}", {n, why: whys})}),
    action(t("再发一次"), again), action(t("存成文件"), save), action(t("删除"), drop)];
};

const showOutings = async () => {
  if (!setup.who) return;
  const outings = (await store.outings()).sort((one, other) => other.startedAt - one.startedAt);
  const told = outings.filter(({id, state}) => id !== recorder.outing?.id || state === "ended" || !recorder.isGoing);
  byId("outbox").hidden = !told.length;
  byId("outbox").querySelector("ul").replaceChildren(...await Promise.all(told.map(row)), ...forgetting(outings));
};

const forgetting = (outings) => {
  const settled = outings.filter(({isDone}) => isDone);
  return settled.length ? [make("li", {className: "bare"}, action(t("清除已收到的记录"), async () => {
    for (const {id} of settled) await store.forget(id);
    if (recorder.outing?.isDone || settled.some(({id}) => id === recorder.outing?.id)) recorder.outing = null;
    await show();
  }))] : [];
};

/* ---- where the phone is ---- */

const isLocatable = () => window.isSecureContext && Boolean(navigator.geolocation);

const WHY_NO_LOCATION = {
  1: t("定位被拒绝，没有在记录。请在浏览器和手机的设置里允许本站使用位置，再按开始或继续。"),
  2: t("手机现在得不到位置：这段路还没有记录。请打开手机的定位，走到空旷处。"),
  3: t("等了很久还没有位置：这段路还没有记录。请走到空旷处，并确认手机的定位已打开。"),
};

const trouble = (error) => {
  if (error?.code in WHY_NO_LOCATION && "PERMISSION_DENIED" in error) note("location-note", WHY_NO_LOCATION[error.code]);
  else note("storage-note", t("手机存储出错，轨迹可能没有存下：{why}", {why: error?.message ?? error}));
};

const toldOf = ({accuracy_m}) => {
  if (accuracy_m === null) return [t("手机没有给出定位误差。定位点照样记录。"), true];
  if (accuracy_m > 1000) return [t("只得到大概位置（误差约{km}公里），不计入看到的地面。请在手机设置里允许“精确位置”。", {km: Math.round(accuracy_m / 1000)}), true];
  if (accuracy_m > setup.counts.accuracy_m) return [t("误差约{m}米：超过{most}米的定位点会记下，但不计入。请走到空旷处。", {m: Math.round(accuracy_m), most: setup.counts.accuracy_m}), true];
  return [awake.isAble ? t("正在记录，误差约{m}米。", {m: Math.round(accuracy_m)}) : t("正在记录，误差约{m}米。这个浏览器不能让屏幕一直亮着：请在手机设置里关闭自动锁屏。", {m: Math.round(accuracy_m)}), false];
};

const seeFix = (fix, isKept) => {
  note("location-note", ...toldOf(fix));
  trail.show(fix);
  if (isKept) {
    trail.add(fix);
    trail.draw();
  }
  const {map} = grids;
  if (!map.getBounds().pad(-0.2).contains([fix.lat, fix.lon])) map.setView([fix.lat, fix.lon], Math.max(map.getZoom(), FOLLOW_ZOOM), {animate: false});
};

/* Back from the background: say what was not recorded, and ask for the location anew, for some phones do not go on. */
const comeBack = () => {
  if (document.visibilityState !== "visible" || !recorder.isGoing) return;
  const gapMs = Date.now() - recorder.outing.lastAt;
  if (gapMs > setup.counts.gap_s * 1000) note("outing-note", t("刚才约{m}分钟没有定位：页面在后台或锁屏时，浏览器停止记录，这段路不计入。", {m: Math.round(gapMs / 60000)}));
  recorder.watch();
};

/* ---- the buttons ---- */

const begin = async () => {
  trail.clear();
  note("outing-note", null);
  note("location-note", t("正在定位……"), false);
  await recorder.start(setup.who, team());
};
const resume = async () => {
  trail.last = null;
  note("outing-note", null);
  note("location-note", t("正在定位……"), false);
  await recorder.resume();
};
const pause = async () => {
  await recorder.pause();
  note("location-note", t("已暂停，没有在记录。"), false);
  sender.send({now: true});
};
const stop = async () => {
  if (!confirm(t("结束这次巡查？"))) return;
  await recorder.stop();
  note("location-note", null);
  note("outing-note", null);
  await changed();
  sender.send({now: true});
};

/* In this page, so that the recording goes on behind it. */
const report = (event) => {
  const sheet = byId("report-sheet"), frame = sheet.querySelector("iframe");
  if (!sheet.showModal) return;
  event.preventDefault();
  if (!frame.src) frame.src = "/report";
  sheet.showModal();
};

/* ---- without a network ---- */

const tellOffline = async () => {
  if (document.body.classList.contains("kept")) return tellOpenedOffline();
  const isAble = await keepPages("/patrol", "/report") && setup.isKept;
  return note("offline-note", isAble ? t("没有网络时也能打开本页。") : t("没有网络时打不开本页：那时请不要关闭它。已存下的不会丢。"));
};

const tellOpenedOffline = async () => {
  if (setup.who) return note("offline-note", t("没有网络时打开的：照常记录，网络恢复后自动发送。巡查队、班次和范围是{time}的。", {time: dayAndTime(setup.keptAt)}));
  byId("team").hidden = true;
  const n = (await store.outings()).filter(({isDone}) => !isDone).length;
  note("sending-note", t("没有网络，也没有人在这部手机上登录，不能记录。网络恢复后请登录。"));
  if (n) byId("sending-note").append(" ", t("本机还留着{n}次没有发完的巡查：用记录时的账号登录后自动再发。", {n}));
};

/* ---- the start ---- */

/* Of several tabs one records: the others wait until it is closed. Resolves once this is the one. */
const alone = async () => {
  if (!navigator.locks) return;
  const hold = (options, seen) => new Promise((resolve) => {
    navigator.locks.request(ALONE, options, (lock) => {
      resolve(Boolean(lock));
      return lock ? new Promise(() => {}) : undefined;
    });
    seen?.();
  });
  if (await hold({ifAvailable: true})) return;
  await hold({}, () => note("tab-note", t("巡查已在另一个页面打开。请回到那一页；关掉它之后，本页自动接着用。")));
  note("tab-note", null);
};

const takeUp = async () => {
  const own = (await store.outings()).filter(({who, state}) => who === setup.who && state !== "ended");
  const outing = own.sort((one, other) => other.startedAt - one.startedAt)[0];
  if (!outing) return;
  await recorder.restore(outing);
  const chunks = await store.chunks(outing.id);
  for (const chunk of chunks) for (const fix of fixesOf(chunk)) trail.add(fix);
  trail.draw();
  trail.last = null;
  const began = dayAndTime(outing.startedAt);
  note("outing-note", outing.isInterrupted ? t("{began}开始的巡查被中断了。已记录的都在：可以继续，或者结束。", {began}) : t("{began}开始的巡查还在暂停。", {began}));
};

const barred = (why, isBarred) => {
  note("sending-note", why);
  if (!isBarred) return;
  const isOpen = recorder.outing && recorder.outing.state !== "ended";
  const link = make("a", {href: isOpen ? "/sign-in" : "/sign-in?after=/patrol", text: isOpen ? t("登录（另开一页）") : t("登录")});
  if (isOpen) Object.assign(link, {target: "_blank", rel: "noopener"});
  byId("sending-note").append(" ", link);
};

const start = async () => {
  store = await openTracks();
  recorder = new Recorder(store, setup.counts, {onFix: seeFix, onChange: show, onTrouble: trouble});
  sender = new TrackSender(store, setup.who, {onChange: changed, onWait: barred});
  if (!store.isLasting) note("storage-note", t("这个浏览器不保存轨迹：结束并显示“已全部收到”之前，请不要关闭本页。"));
  if (!window.isSecureContext) note("location-note", t("本页不是 https，浏览器因此不提供位置，不能记录巡查。请用 https 地址打开。"));
  else if (!navigator.geolocation) note("location-note", t("这个浏览器不能定位，不能记录巡查。"));
  for (const [id, run] of Object.entries({begin, pause, resume, stop, "go-report": report})) byId(id).addEventListener("click", run);
  byId("team-choice").addEventListener("change", showTeam);
  byId("consent").addEventListener("click", () => (byId("privacy").open = true));
  document.addEventListener("visibilitychange", comeBack);
  addEventListener("beforeunload", (event) => recorder.isGoing && event.preventDefault());
  byId("login").textContent = setup.who?.replace(/^user:/, "") ?? "—";
  offerTeams();
  tellOffline();
  await show();
  sender.start();
  grids.drawGrids().then(drawGround, () => {});
  await alone();
  isAlone = true;
  await takeUp();
  offerTeams();
  await changed();
  setInterval(() => {
    if (!recorder.isGoing) return;
    byId("elapsed").textContent = clock(recorder.ranMs);
    recorder.tick();
  }, 1000);
  document.body.dataset.ready = "true";
};

start();
