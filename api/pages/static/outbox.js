/* Sends what waits until the service acknowledges it: reports first, then their photos.

Sending again is safe: a report keeps its id and its content, and the service answers 200 with the one it has. */
import {t} from "./words.js";

const EVERY_MS = 3000, FIRST_WAIT_MS = 4000, LONGEST_WAIT_MS = 60000;
const REPORT_TIMEOUT_MS = 30000, PHOTO_TIMEOUT_MS = 180000;
const PASSING = [401, 408, 425, 429];

/* Who has signed in sends in their own name; without the token the service takes the report as anybody's. */
const whose = () => {
  const meta = document.querySelector("meta[name=csrf]");
  return meta ? {"X-CSRF-Token": meta.content} : {};
};

/* {status, answer} or, where nothing of ours answered, null: no network, a timeout, a hotel's sign-in page. */
const post = async (url, body, headers, timeoutMs) => {
  const patience = new AbortController();
  const timer = setTimeout(() => patience.abort(), timeoutMs);
  try {
    const response = await fetch(url, {method: "POST", body, headers: {...headers, ...whose()}, signal: patience.signal, cache: "no-store", credentials: "same-origin"});
    const answer = await response.json();
    return answer && typeof answer === "object" ? {status: response.status, answer} : null;
  } catch {
    return null;
  } finally {
    clearTimeout(timer);
  }
};

/* The service has read it and does not take it; sending the same again would not help. */
const isRefusal = (reply) => reply !== null && reply.status >= 400 && reply.status < 500 && !PASSING.includes(reply.status) && "error" in reply.answer;
const isTaken = (reply) => reply !== null && (reply.status === 200 || reply.status === 201);

export class Outbox {
  isSending = false;
  isAskedAgain = false;

  constructor(store, onChange) {
    this.store = store;
    this.onChange = onChange;
  }

  start() {
    addEventListener("online", () => this.send({now: true}));
    document.addEventListener("visibilitychange", () => document.visibilityState === "visible" && this.send());
    setInterval(() => this.send(), EVERY_MS);
    return this.send({now: true});
  }

  /* One sender at a time: in this page by a flag, among tabs by a lock where the browser has locks. */
  async send({now = false} = {}) {
    if (this.isSending) {
      this.isAskedAgain ||= now;
      return;
    }
    this.isSending = true;
    try {
      const sendAll = () => this.sendAll(now);
      await (navigator.locks ? navigator.locks.request("gis-grid-outbox", {ifAvailable: true}, (lock) => lock && sendAll()) : sendAll());
    } finally {
      this.isSending = false;
    }
    if (this.isAskedAgain) {
      this.isAskedAgain = false;
      await this.send({now: true});
    }
  }

  async sendAll(isNow) {
    const waiting = (await this.store.reports()).sort((one, other) => one.madeAt - other.madeAt);
    for (const report of waiting) {
      if (report.state === "refused" || (!isNow && report.nextAt > Date.now())) continue;
      if (report.state === "unsent") await this.sendReport(report);
      if (report.state === "received" && report.hasPhotos) await this.sendPhotos(report);
    }
  }

  async sendReport(report) {
    const reply = await post("/api/v1/reports", JSON.stringify(report.body), {"Content-Type": "application/json"}, REPORT_TIMEOUT_MS);
    if (isTaken(reply) && reply.answer.id === report.body.id) {
      Object.assign(report, {state: "received", receipt: reply.answer, why: null, fields: [], tries: 0, nextAt: 0, body: null});
    } else if (isRefusal(reply)) {
      this.refuse(report, reply);
    } else {
      this.wait(report, reply);
    }
    await this.tell(report);
  }

  refuse(report, {status, answer}) {
    if (report.body.observed_at && String(answer.message).includes("observed_at")) {
      delete report.body.observed_at;  // this phone's clock is wrong; the service's own time is right
      report.nextAt = 0;
      this.isAskedAgain = true;
      return;
    }
    const isTwin = status === 409;
    const why = isTwin ? t("服务器已有同一编号但内容不同的上报。请修改后作为新的上报发送。") : String(answer.message);
    Object.assign(report, {state: "refused", isTwin, why, fields: answer.fields ?? []});
  }

  wait(report, reply) {
    const wait = Math.min(FIRST_WAIT_MS * 2 ** report.tries, LONGEST_WAIT_MS);
    report.why = reply === null ? t("还没有网络或服务器没有回答，会自动再发。") : t("服务器暂时不能接收（{status}），会自动再发。", {status: reply.status});
    Object.assign(report, {tries: report.tries + 1, nextAt: Date.now() + wait});
  }

  async sendPhotos(report) {
    const headers = {"X-Upload-Token": report.receipt.upload_token};
    for (const photo of await this.store.photosOf(report.id)) {
      const form = new FormData();
      form.append("photo", new Blob([photo.bytes], {type: photo.type}), photo.name);
      const reply = await post(`/api/v1/reports/${report.receipt.id}/photos`, form, headers, PHOTO_TIMEOUT_MS);
      if (!isTaken(reply) && !isRefusal(reply)) {
        this.wait(report, reply);
        await this.tell(report);
        return;
      }
      if (isRefusal(reply)) report.lostPhotos = [...(report.lostPhotos ?? []), {name: photo.name, why: String(reply.answer.message)}];
      await this.store.removePhoto(photo.key);
    }
    const {upload_token: _, ...receipt} = report.receipt;
    Object.assign(report, {hasPhotos: false, receipt, why: null, tries: 0, nextAt: 0});
    await this.tell(report);
  }

  async tell(report) {
    await this.store.put(report);
    await this.onChange(report);
  }
}
