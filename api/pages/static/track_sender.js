/* Sends an outing's chunks until the service acknowledges each of them. A refused one is kept, with the reason. */
import {isRefusal, post, Sender, servedNow, takeToken, waitMs, whyWaiting} from "./sending.js";
import {t} from "./words.js";

const AT_ONCE = 20, TIMEOUT_MS = 30000;
const BARRED = [401, 403];

const bodyOf = ({track, sequence, team, epoch_s, lon, lat, accuracy_m}) => ({track, sequence, team, epoch_s, lon, lat, accuracy_m, datum: "wgs84"});

/* Whoever signed in again, in another window, has another session: its token is on this page as it is served now.
   null where the page has it now; else why not. */
const renewToken = async (who) => {
  let status, page;
  try {
    ({status, page} = await servedNow());
  } catch {
    return whyWaiting(null);
  }
  if (status === 401) return t("登录已过期，请重新登录。没有发送的轨迹留在本机，登录后自动再发。");
  if (status === 403) return t("这个账号不能发送轨迹，请联系管理员。没有发送的轨迹留在本机。");
  const setup = page.getElementById("setup");
  if (!page.querySelector("meta[name=csrf]") || !setup) return whyWaiting({status});
  if (JSON.parse(setup.textContent).who !== who) return t("现在登录的是别人。请用记录时的账号登录，没有发送的轨迹留在本机。");
  takeToken(page);
  return null;
};

export class TrackSender extends Sender {
  tries = 0;
  nextAt = 0;

  /* onChange() when chunks changed; onWait(why, isBarred) when it must wait, `why` null once it went through. */
  constructor(store, who, {onChange, onWait}) {
    super("gis-grid-tracks");
    Object.assign(this, {store, who, onChange, onWait});
  }

  async sendAll(isNow) {
    if (!isNow && this.nextAt > Date.now()) return;
    let isRenewed = false;
    for (;;) {
      const chunks = (await this.store.unsent(this.who)).slice(0, AT_ONCE);
      if (!chunks.length) return;
      const body = JSON.stringify({sent_at: new Date().toISOString(), chunks: chunks.map(bodyOf)});
      const reply = await post("/api/v1/tracks", body, {"Content-Type": "application/json"}, TIMEOUT_MS);
      if (BARRED.includes(reply?.status)) {
        const why = isRenewed ? whyWaiting(reply) : await renewToken(this.who);
        if (why) return this.wait(why, true);
        isRenewed = true;
        continue;
      }
      if (!this.settle(chunks, reply)) return this.wait(whyWaiting(reply), false);
      Object.assign(this, {tries: 0, nextAt: 0});
      await this.store.putChunks(chunks);
      this.onWait(null);
      await this.onChange();
    }
  }

  /* Each chunk as its own answer has it; false where this was no answer to them. */
  settle(chunks, reply) {
    if (isRefusal(reply)) {
      for (const chunk of chunks) refuse(chunk, reply.answer);
      return true;
    }
    const results = reply?.status === 200 ? reply.answer.results : null;
    if (!Array.isArray(results) || results.length !== chunks.length) return false;
    const isDone = chunks.map((chunk, i) => {
      const {status, track, sequence, counted, uncounted} = results[i];
      const isOurs = track === chunk.track && sequence === chunk.sequence;
      if ((status === 200 || status === 201) && isOurs) Object.assign(chunk, {state: "received", why: null, counted, uncounted});
      else if (status >= 400 && status < 500) refuse(chunk, results[i]);
      else return false;
      return true;
    });
    return isDone.some(Boolean);
  }

  wait(why, isBarred) {
    this.nextAt = Date.now() + waitMs(this.tries);
    this.tries += 1;
    this.onWait(why, isBarred);
  }
}

const refuse = (chunk, {message, error}) => Object.assign(chunk, {state: "refused", why: String(message ?? error)});
