/* Sends what waits until the service acknowledges it: reports first, then their photos.

Sending again is safe: a report keeps its id and its content, and the service answers 200 with the one it has. */
import {introduce, isRefusal, isTaken, post, Sender, waitMs, whyWaiting} from "./sending.js";
import {t} from "./words.js";

const REPORT_TIMEOUT_MS = 30000, PHOTO_TIMEOUT_MS = 180000;

export class Outbox extends Sender {
  constructor(store, onChange) {
    super("gis-grid-outbox");
    this.store = store;
    this.onChange = onChange;
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
    const reply = await introduce() ? await post("/api/v1/reports", JSON.stringify(report.body), {"Content-Type": "application/json"}, REPORT_TIMEOUT_MS) : null;
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
    if (report.body.observed_at && answer.fields?.some(({field}) => field === "observed_at")) {
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
    Object.assign(report, {why: whyWaiting(reply), tries: report.tries + 1, nextAt: Date.now() + waitMs(report.tries)});
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
