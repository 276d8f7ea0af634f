/* Sends what waits on this phone until the service acknowledges it: what reports and outings have in common. */
import {t} from "./words.js";

const EVERY_MS = 3000, FIRST_WAIT_MS = 4000, LONGEST_WAIT_MS = 60000;
const PASSING = [401, 408, 425, 429];

/* Who has signed in sends in their own name. */
const whose = () => {
  const meta = document.querySelector("meta[name=csrf]");
  return meta ? {"X-CSRF-Token": meta.content} : {};
};

/* A page opened without a network knows nobody: it takes the token of whoever is signed in from the page as served now. */
let isIntroduced = !document.body.classList.contains("kept");

export const servedNow = async () => {
  const response = await fetch(location.pathname, {cache: "no-store", credentials: "same-origin"});
  return {status: response.status, page: new DOMParser().parseFromString(await response.text(), "text/html")};
};

export const takeToken = (page) => {
  const fresh = page.querySelector("meta[name=csrf]");
  document.querySelector("meta[name=csrf]")?.remove();
  if (fresh) document.head.append(document.importNode(fresh));
};

/* Whether that is done; false where no page of ours answers. */
export const introduce = async () => {
  if (isIntroduced) return true;
  try {
    const {status, page} = await servedNow();
    if (status === 200) takeToken(page);
    isIntroduced = status === 200;
  } catch {
    // no network yet
  }
  return isIntroduced;
};

/* {status, answer} or, where nothing of ours answered, null: no network, a timeout, a hotel's sign-in page. */
export const post = async (url, body, headers, timeoutMs) => {
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
export const isRefusal = (reply) => reply !== null && reply.status >= 400 && reply.status < 500 && !PASSING.includes(reply.status) && "error" in reply.answer;
export const isTaken = (reply) => reply !== null && (reply.status === 200 || reply.status === 201);

/* How long to wait after so many tries, and why, in words. */
export const waitMs = (tries) => Math.min(FIRST_WAIT_MS * 2 ** tries, LONGEST_WAIT_MS);
export const whyWaiting = (reply) =>
  (reply === null ? t("还没有网络或服务器没有回答，会自动再发。") : t("服务器暂时不能接收（{status}），会自动再发。", {status: reply.status}));

/* Calls its `sendAll(isNow)` now and then, when the network is back and when the page is looked at again. */
export class Sender {
  isSending = false;
  isAskedAgain = false;

  constructor(lockName) {
    this.lockName = lockName;
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
      await (navigator.locks ? navigator.locks.request(this.lockName, {ifAvailable: true}, (lock) => lock && sendAll()) : sendAll());
    } finally {
      this.isSending = false;
    }
    if (this.isAskedAgain) {
      this.isAskedAgain = false;
      await this.send({now: true});
    }
  }
}
