/* What this phone keeps until the service has acknowledged it: the draft, reports to send, photos.

A report is {id, body, title, state, madeAt, tries, nextAt, why, fields, receipt}; its state is "unsent", "refused" or
"received". `body` is what is sent, fixed from the first try on, so that sending again is the very same report. A photo
is {key, report, name, type, bytes}; it is deleted once the service has it. */
import {newId} from "./words.js";

export const done = (request) => new Promise((resolve, reject) => {
  request.onsuccess = () => resolve(request.result);
  request.onerror = () => reject(request.error);
});

export const finished = (transaction) => new Promise((resolve, reject) => {
  transaction.oncomplete = () => resolve();
  transaction.onabort = transaction.onerror = () => reject(transaction.error);
});

const open = () => {
  const request = indexedDB.open("gis-grid", 1);
  request.onupgradeneeded = () => {
    request.result.createObjectStore("drafts", {keyPath: "slot"});
    request.result.createObjectStore("reports", {keyPath: "id"});
    request.result.createObjectStore("photos", {keyPath: "key", autoIncrement: true}).createIndex("report", "report");
  };
  return done(request);
};

class Lasting {
  isLasting = true;

  constructor(database) {
    this.database = database;
  }

  /* `strict`: on disk before we say so, for what a lost phone battery must not take. */
  begin(stores, mode) {
    const options = mode === "readwrite" ? {durability: "strict"} : undefined;
    return this.database.transaction(stores, mode, options);
  }

  draft() {
    return done(this.begin("drafts", "readonly").objectStore("drafts").get("draft"));
  }

  async saveDraft(draft) {
    const transaction = this.begin("drafts", "readwrite");
    transaction.objectStore("drafts").put({...draft, slot: "draft"});
    await finished(transaction);
  }

  /* The draft becomes a report to send, in one step. Another tab may have sent the same draft: then this is a new one. */
  async file(report) {
    const transaction = this.begin(["drafts", "reports", "photos"], "readwrite");
    const reports = transaction.objectStore("reports"), photos = transaction.objectStore("photos");
    let filed = report;
    if (await done(reports.get(report.id))) {
      const id = newId();
      filed = {...report, id, body: {...report.body, id}};
      for (const {key, ...photo} of await done(photos.index("report").getAll(report.id))) photos.put({...photo, report: id});
    }
    reports.put(filed);
    transaction.objectStore("drafts").delete("draft");
    await finished(transaction);
    return filed;
  }

  /* A refused report goes back into the form, under `draft.id`. */
  async unfile(id, draft) {
    const transaction = this.begin(["drafts", "reports", "photos"], "readwrite");
    const photos = transaction.objectStore("photos");
    for (const photo of await done(photos.index("report").getAll(id))) photos.put({...photo, report: draft.id});
    transaction.objectStore("reports").delete(id);
    transaction.objectStore("drafts").put({...draft, slot: "draft"});
    await finished(transaction);
  }

  reports() {
    return done(this.begin("reports", "readonly").objectStore("reports").getAll());
  }

  async put(report) {
    const transaction = this.begin("reports", "readwrite");
    transaction.objectStore("reports").put(report);
    await finished(transaction);
  }

  async remove(id) {
    const transaction = this.begin(["reports", "photos"], "readwrite");
    const photos = transaction.objectStore("photos");
    for (const key of await done(photos.index("report").getAllKeys(id))) photos.delete(key);
    transaction.objectStore("reports").delete(id);
    await finished(transaction);
  }

  photosOf(id) {
    return done(this.begin("photos", "readonly").objectStore("photos").index("report").getAll(id));
  }

  async addPhoto(photo) {
    const transaction = this.begin("photos", "readwrite");
    const key = await done(transaction.objectStore("photos").add(photo));
    await finished(transaction);
    return key;
  }

  async removePhoto(key) {
    const transaction = this.begin("photos", "readwrite");
    transaction.objectStore("photos").delete(key);
    await finished(transaction);
  }
}

/* Where a browser keeps nothing (some private windows): the same, as long as the page stays open. */
class Passing {
  isLasting = false;
  kept = new Map();
  pictures = new Map();
  lastKey = 0;
  written = undefined;

  async draft() { return this.written; }
  async saveDraft(draft) { this.written = draft; }
  async file(report) {
    this.kept.set(report.id, report);
    this.written = undefined;
    return report;
  }
  async unfile(id, draft) {
    for (const photo of await this.photosOf(id)) photo.report = draft.id;
    this.kept.delete(id);
    this.written = draft;
  }
  async reports() { return [...this.kept.values()]; }
  async put(report) { this.kept.set(report.id, report); }
  async remove(id) {
    for (const photo of await this.photosOf(id)) this.pictures.delete(photo.key);
    this.kept.delete(id);
  }
  async photosOf(id) { return [...this.pictures.values()].filter((photo) => photo.report === id); }
  async addPhoto(photo) {
    this.lastKey += 1;
    this.pictures.set(this.lastKey, {...photo, key: this.lastKey});
    return this.lastKey;
  }
  async removePhoto(key) { this.pictures.delete(key); }
}

export const openStore = async () => {
  try {
    const database = await open();
    // Asks the browser not to clear this when space runs short; it may refuse.
    navigator.storage?.persist?.().catch(() => {});
    return new Lasting(database);
  } catch {
    return new Passing();
  }
};
