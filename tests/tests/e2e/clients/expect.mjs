// What the scripts have in common.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";

export { assert };
export const FAST_MODEL = process.env.FAST_MODEL;
export const SLOW_MODEL = process.env.SLOW_MODEL;
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
