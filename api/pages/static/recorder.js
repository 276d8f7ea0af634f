/* Records an outing: the phone's own fixes, WGS 84, kept in chunks as they come. Knows nothing of the page. */
import {newId} from "./words.js";

const CHUNK_FIXES = 60, CHUNK_MS = 120000;
const KEEP_EVERY_MS = 10000, KEEP_EVERY_M = 10;
const FIX_TIMEOUT_MS = 30000;
const DENIED = 1;

export const metresBetween = (one, other) => {
  const east = (other.lon - one.lon) * 111320 * Math.cos(one.lat * Math.PI / 180), north = (other.lat - one.lat) * 110800;
  return Math.hypot(east, north);
};

/* Whether nobody is known to have walked from one fix to the other, as the service has it. */
export const isGap = (one, other, {gap_s, step_m, speed_mps}) => {
  const way = metresBetween(one, other), seconds = (other.at - one.at) / 1000;
  return !(seconds > 0) || seconds > gap_s || way > step_m || way > speed_mps * seconds;
};

/* The fixes of a chunk that no chunk before it holds. */
export const fixesOf = ({epoch_s, lon, lat, accuracy_m, carried}) =>
  epoch_s.map((at, i) => ({at: at * 1000, lon: lon[i], lat: lat[i], accuracy_m: accuracy_m[i]})).slice(carried);

const fixOf = ({coords, timestamp}) => {
  const off = coords.accuracy;
  return {
    at: Math.round(timestamp > 0 ? timestamp : Date.now()),
    lon: Number(coords.longitude.toFixed(7)),
    lat: Number(coords.latitude.toFixed(7)),
    accuracy_m: Number.isFinite(off) && off > 0 ? Math.max(0.1, Math.round(off * 10) / 10) : null,
  };
};

export class Recorder {
  outing = null;
  unkept = new Map();

  /* `counts`: which fixes count, as the service counts them. onFix(fix, isKept) for each fix; onChange() when something
     was kept; onTrouble(error) where the phone gives no location (`error.code`) or its storage fails. */
  constructor(store, counts, {onFix, onChange, onTrouble}) {
    Object.assign(this, {store, counts, onFix, onChange, onTrouble});
  }

  get isGoing() { return this.outing?.state === "going"; }
  get ranMs() { return this.outing.ranMs + (this.outing.legAt ? Date.now() - this.outing.legAt : 0); }

  async start(who, team) {
    const now = Date.now();
    this.outing = {id: newId(), who, team: team?.code ?? "", teamName: team?.name ?? "", state: "going", startedAt: now,
      endedAt: null, ranMs: 0, legAt: now, lastAt: now, metres: 0, fixes: 0, next: 0};
    this.begin();
    await this.keep();
  }

  async resume() {
    Object.assign(this.outing, {state: "going", legAt: Date.now(), isInterrupted: false});
    this.begin();
    await this.keep();
  }

  pause() { return this.halt("paused"); }
  stop() { return this.halt("ended"); }

  async halt(state) {
    this.unwatch();
    Object.assign(this.outing, {state, ranMs: this.ranMs, legAt: null, endedAt: state === "ended" ? Date.now() : null});
    await this.close();
    await this.keep();
  }

  /* An outing whose page is gone: what it left open is closed, what went by without a page is not counted as walked. */
  async restore(outing) {
    this.outing = outing;
    if (outing.state === "going") {
      const ranMs = outing.ranMs + Math.max(0, outing.lastAt - outing.legAt);
      Object.assign(outing, {state: "paused", ranMs, legAt: null, isInterrupted: true});
    }
    const left = (await this.store.chunks(outing.id)).filter(({state}) => state === "open");
    await this.keep(...left.map((chunk) => ({...chunk, state: "unsent"})));
  }

  /* A new leg is a new chunk: nobody is known to have walked across the pause. */
  begin() {
    this.chunk = null;
    this.last = null;
    this.counted = null;
    this.watch();
  }

  watch() {
    this.unwatch();
    this.watchId = navigator.geolocation.watchPosition((position) => this.take(fixOf(position)), (error) => this.fail(error),
      {enableHighAccuracy: true, maximumAge: 0, timeout: FIX_TIMEOUT_MS});
  }

  unwatch() {
    if (this.watchId !== undefined) navigator.geolocation.clearWatch(this.watchId);
    this.watchId = undefined;
  }

  /* Every 10 m or 10 s is near enough for 50 m of sight; the same position told again is no new fix. */
  isNew(fix) {
    const {last} = this;
    if (fix.at === this.newestAt) return false;
    if (!last) return true;
    const since = fix.at - last.at;
    return since < 0 || since >= KEEP_EVERY_MS || metresBetween(last, fix) >= KEEP_EVERY_M;
  }

  async take(fix) {
    if (!this.isGoing) return;
    const isKept = this.isNew(fix);
    this.onFix(fix, isKept);
    if (!isKept) return;
    this.chunk ??= this.newChunk();
    this.add(fix);
    const {outing, chunk} = this;
    Object.assign(outing, {fixes: outing.fixes + 1, lastAt: Date.now()});
    this.walk(fix);
    await (chunk.epoch_s.length - chunk.carried >= CHUNK_FIXES ? this.close() : this.keep(chunk));
  }

  /* A way is what leads farther from the last place than jitter does. */
  walk(fix) {
    const {counts, counted, anchor} = this;
    if (fix.accuracy_m > counts.accuracy_m) return;
    const isCut = !counted || isGap(counted, fix, counts), way = isCut ? 0 : metresBetween(anchor, fix);
    if (way >= KEEP_EVERY_M) this.outing.metres += way;
    if (isCut || way >= KEEP_EVERY_M) this.anchor = fix;
    this.counted = fix;
  }

  newChunk() {
    const {outing, last} = this;
    this.chunk = {track: outing.id, sequence: outing.next, who: outing.who, team: outing.team, state: "open", carried: 0,
      epoch_s: [], lon: [], lat: [], accuracy_m: []};
    outing.next += 1;
    if (last) {
      this.add(last);
      this.chunk.carried = 1;
    }
    return this.chunk;
  }

  add(fix) {
    const {chunk} = this;
    chunk.epoch_s.push(fix.at / 1000);
    for (const name of ["lon", "lat", "accuracy_m"]) chunk[name].push(fix[name]);
    this.last = fix;
    this.newestAt = fix.at;
  }

  /* Called now and then: a chunk is handed on after two minutes, full or not. */
  async tick() {
    const {chunk} = this;
    if (this.isGoing && chunk && Date.now() - chunk.epoch_s[chunk.carried] * 1000 > CHUNK_MS) await this.close();
  }

  async close() {
    const {chunk} = this;
    this.chunk = null;  // at once: fixes that come meanwhile go into the next
    if (chunk) await this.keep({...chunk, state: "unsent"});
  }

  /* What could not be written is written with the next fix. */
  async keep(...chunks) {
    for (const chunk of chunks) this.unkept.set(chunk.sequence, chunk);
    const batch = [...this.unkept.values()];
    try {
      await this.store.keep(this.outing, ...batch);
      for (const chunk of batch) if (this.unkept.get(chunk.sequence) === chunk) this.unkept.delete(chunk.sequence);
    } catch (error) {
      this.onTrouble(error);
    }
    await this.onChange();
  }

  /* Refused before the first fix, there was no outing; later, it is interrupted. A tab that is being closed may be told
     that it was refused, too. */
  async fail(error) {
    if (error.code === DENIED && this.isGoing) {
      if (this.outing.fixes) await this.interrupt();
      else await this.drop();
    }
    this.onTrouble(error);
  }

  interrupt() {
    this.outing.isInterrupted = true;
    return this.pause();
  }

  async drop() {
    const {id} = this.outing;
    this.unwatch();
    this.outing = null;
    await this.store.forget(id);
    await this.onChange();
  }
}

/* Keeps the screen on while asked to, where the browser can; it lets go whenever the page is hidden. */
export class Awake {
  isWanted = false;
  isAble = "wakeLock" in navigator;

  constructor() {
    document.addEventListener("visibilitychange", () => this.ask());
  }

  set(isWanted) {
    this.isWanted = isWanted;
    if (isWanted) this.ask();
    else this.lock?.release().catch(() => {});
  }

  async ask() {
    if (!this.isWanted || !this.isAble || document.visibilityState !== "visible" || this.lock?.released === false) return;
    try {
      this.lock = await navigator.wakeLock.request("screen");
      if (!this.isWanted) this.lock.release();
    } catch {
      // refused, for a low battery for one: the page says to keep the screen on
    }
  }
}
