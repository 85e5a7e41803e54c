// The JavaScript client of Livepeer AI.

import { Livepeer } from "@livepeer/ai";
import {
  BUSY_KEY, FAST_MODEL, IDLE_MODEL, LIMITED_KEY, PICTURE, SLOW_MODEL,
  assert, bytes, cancel, dropped, exhaust, isPng, succeeded, throughOutage, thrown,
} from "./expect.mjs";
import { client } from "./point.mjs";

const { imageResponse } = await client.generate.textToImage({ prompt: "a red circle" });
assert.equal(imageResponse.images.length, 1);
assert.equal(imageResponse.images[0].nsfw, false);
assert(isPng(await bytes(imageResponse.images[0].url)));

const several = await client.generate.textToImage({
  prompt: "a red circle", modelId: FAST_MODEL, seed: 7, numImagesPerPrompt: 2, width: 64, height: 128,
});
assert.deepEqual(several.imageResponse.images.map((image) => image.seed), [7, 8]);

const blob = new Blob([PICTURE]);
const caption = await client.generate.imageToText({ image: blob, prompt: "a picture of" });
assert(caption.imageToTextResponse.text.startsWith("a picture of"));

const refused = await thrown(() => client.generate.textToImage({ prompt: "a", modelId: "nobody/nothing" }));
assert.match(refused.detail.msg, /^Error during model execution: /);
const empty = await thrown(() => client.generate.textToImage({ prompt: "" }));
assert.equal(empty.detail.msg, "Prompt must be provided.");
const of = (httpBearer) => new Livepeer({ httpBearer, serverURL: process.env.DARKROOM_URL });
const unauthorized = await thrown(() => of("wrong").generate.textToImage({ prompt: "a" }));
assert.equal(unauthorized.detail.msg, "Invalid bearer token.");
const failed = await thrown(() => client.generate.textToImage({ prompt: "a [fake:not_finite]" }));
assert.equal(failed.detail.msg, "Text-to-image pipeline error.");

// What the client has no word for is an error with the answer in it.
const overloaded = await thrown(() => of(BUSY_KEY).generate.textToImage({ prompt: "a" }));
assert.equal(overloaded.statusCode, 503);
assert.equal(JSON.parse(overloaded.body).detail.msg, "too many jobs wait: try again later");
const limited = await thrown(() => exhaust(() => {
  return of(LIMITED_KEY).generate.textToImage({ prompt: "a", width: 64, height: 64 });
}));
assert.equal(limited.statusCode, 429);
assert.match(JSON.parse(limited.body).detail.msg, /^too many requests: /);

const [canceled] = await Promise.all([
  thrown(() => client.generate.textToImage({ prompt: "canceled", modelId: IDLE_MODEL })),
  cancel("canceled"),
]);
assert.equal(canceled.detail.msg, "Text-to-image pipeline error.");

// Retries, where the caller asks for them: through an outage, and after a line that broke.
const backoff = { initialInterval: 100, maxInterval: 5_000, exponent: 1.5, maxElapsedTime: 60_000 };
const options = { retries: { strategy: "backoff", backoff, retryConnectionErrors: true } };
const later = await throughOutage(() => client.generate.textToImage({ prompt: "a", seed: 3 }, options));
assert.equal(later.imageResponse.images[0].seed, 3);
const again = await dropped(
  client.generate.textToImage({ prompt: "dropped", modelId: SLOW_MODEL, numInferenceSteps: 1 }, options),
);
assert.equal(again.imageResponse.images[0].seed, (await succeeded("dropped")).input.seed);

// Two callers at once, of whom each gets their own.
const [slow, fast] = await Promise.all([
  client.generate.textToImage({ prompt: "slow", modelId: SLOW_MODEL, numInferenceSteps: 1, seed: 1 }),
  client.generate.textToImage({ prompt: "fast", seed: 2 }),
]);
assert.deepEqual([slow.imageResponse.images[0].seed, fast.imageResponse.images[0].seed], [1, 2]);
