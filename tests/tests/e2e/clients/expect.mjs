// What the scripts have in common.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";

export { assert };
export const FAST_MODEL = process.env.FAST_MODEL;
export const SLOW_MODEL = process.env.SLOW_MODEL;
// Nobody serves it.
export const IDLE_MODEL = process.env.IDLE_MODEL;
// The key of a tenant with as much waiting as there may, and of one that may make thirty requests a minute.
export const [BUSY_KEY, LIMITED_KEY] = [process.env.BUSY_API_KEY, process.env.LIMITED_API_KEY];
export const PICTURE = readFileSync(process.env.PICTURE);

export async function bytes(url) {
  const response = await fetch(url);
  assert.equal(response.status, 200);
  return Buffer.from(await response.arrayBuffer());
}

export function isPng(buffer) {
  return buffer.subarray(0, 4).equals(Buffer.from([0x89, 0x50, 0x4e, 0x47]));
}

/** What `call` throws, which it has to. */
export async function thrown(call) {
  try {
    await call();
  } catch (error) {
    return error;
  }
  throw new Error("nothing was thrown");
}

/** The answer of the service itself, past the lines that are disturbed. */
export async function native(path, method = "GET") {
  const headers = { authorization: `Bearer ${process.env.DARKROOM_API_KEY}` };
  const response = await fetch(process.env.DIRECT_URL + path, { method, headers });
  assert.equal(response.status, 200);
  return response.json();
}

/** What `ask` returns as soon as that is something. */
export async function eventually(what, ask) {
  for (let asked = 0; asked < 600; asked += 1) {
    const found = await ask();
    if (found) return found;
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
  throw new Error(`not in time: ${what}`);
}

/** The one job with this prompt, as soon as it is there. */
export async function jobOf(prompt) {
  const [job, ...others] = await eventually("a job", async () => {
    const jobs = (await native("/v1/jobs?limit=100")).jobs.filter((job) => job.input.prompt === prompt);
    return jobs.length > 0 && jobs;
  });
  assert.equal(others.length, 0);
  return job;
}

/** The one job with this prompt, when it has succeeded. */
export async function succeeded(prompt) {
  const { id } = await jobOf(prompt);
  return eventually("success", async () => {
    const job = await native(`/v1/jobs/${id}`);
    return job.state === "succeeded" && job;
  });
}

export async function cancel(prompt) {
  await native(`/v1/jobs/${(await jobOf(prompt)).id}/cancel`, "POST");
}

/** Has the lines disturbed, see `control.rs`. */
export async function control(name) {
  assert.equal((await fetch(`${process.env.CONTROL}/${name}`, { method: "POST" })).status, 200);
}

/** What comes of a call whose connection is dropped when its job runs. */
export async function dropped(waiting) {
  return (await Promise.all([waiting, control("drop")]))[0];
}

/** What comes of `ask`, which is answered 503 with `Retry-After` at first. */
export async function throughOutage(ask) {
  await control("outage");
  return (await Promise.all([ask(), control("mend")]))[0];
}

/** Asks more often than a minute allows. */
export async function exhaust(ask) {
  for (let asked = 0; asked < 200; asked += 1) await ask();
}
