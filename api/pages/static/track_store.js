/* What this phone keeps of outings until the service has acknowledged them.

An outing is {id, who, team, teamName, state, startedAt, endedAt, ranMs, legAt, lastAt, metres, fixes, next}; its state is
"going", "paused" or "ended". A chunk is {track, sequence, who, team, state, carried, epoch_s, lon, lat, accuracy_m, why,
counted, uncounted}; its state is "open" while fixes are added to it, then "unsent", "refused" or "received". Its first
`carried` fixes are its predecessor's last. Only open chunks change in their fixes: what is sent again is the same. */
import {done, finished} from "./store.js";

const STORES = ["outings", "chunks"];

const open = () => {
  const request = indexedDB.open("gis-grid-outings", 1);
  request.onupgradeneeded = () => {
    request.result.createObjectStore("outings", {keyPath: "id"});
    request.result.createObjectStore("chunks", {keyPath: ["track", "sequence"]}).createIndex("state", "state");
  };
  return done(request);
};

class Lasting {
  isLasting = true;

  constructor(database) {
    this.database = database;
  }

  read(store) {
    return this.database.transaction(store, "readonly").objectStore(store);
  }

  /* All or nothing, and on disk before we say so. */
  write(change) {
    const transaction = this.database.transaction(STORES, "readwrite", {durability: "strict"});
    change(transaction.objectStore("outings"), transaction.objectStore("chunks"));
    return finished(transaction);
  }

  outings() {
    return done(this.read("outings").getAll());
  }

  chunks(track) {
    return done(this.read("chunks").getAll(IDBKeyRange.bound([track, 0], [track, Infinity])));
  }

  async unsent(who) {
    return (await done(this.read("chunks").index("state").getAll("unsent"))).filter((chunk) => chunk.who === who);
  }

  keep(outing, ...kept) {
    return this.write((outings, chunks) => {
      outings.put(outing);
      for (const chunk of kept) chunks.put(chunk);
    });
  }

  putChunks(kept) {
    return this.write((_, chunks) => kept.forEach((chunk) => chunks.put(chunk)));
  }

  forgetFixes(track) {
    return this.write((_, chunks) => chunks.delete(IDBKeyRange.bound([track, 0], [track, Infinity])));
  }

  forget(track) {
    return this.write((outings, chunks) => {
      outings.delete(track);
      chunks.delete(IDBKeyRange.bound([track, 0], [track, Infinity]));
    });
  }
}

/* Where a browser keeps nothing (some private windows): the same, as long as the page stays open. */
class Passing {
  isLasting = false;
  kept = new Map();
  pieces = new Map();

  async outings() { return [...this.kept.values()]; }
  async chunks(track) { return [...this.pieces.values()].filter((chunk) => chunk.track === track); }
  async unsent(who) { return [...this.pieces.values()].filter((chunk) => chunk.state === "unsent" && chunk.who === who); }
  async keep(outing, ...kept) {
    this.kept.set(outing.id, structuredClone(outing));
    await this.putChunks(kept);
  }
  async putChunks(kept) {
    for (const chunk of kept) this.pieces.set(`${chunk.track} ${chunk.sequence}`, structuredClone(chunk));
  }
  async forgetFixes(track) {
    for (const {sequence} of await this.chunks(track)) this.pieces.delete(`${track} ${sequence}`);
  }
  async forget(track) {
    this.kept.delete(track);
    await this.forgetFixes(track);
  }
}

export const openTracks = async () => {
  try {
    const database = await open();
    // Asks the browser not to clear this when space runs short; it may refuse.
    navigator.storage?.persist?.().catch(() => {});
    return new Lasting(database);
  } catch {
    return new Passing();
  }
};
