// The JavaScript client of Livepeer AI.

import { Livepeer } from "@livepeer/ai";
import { FAST_MODEL, PICTURE, SLOW_MODEL, assert, bytes, isPng, thrown } from "./expect.mjs";
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
const stranger = new Livepeer({ httpBearer: "wrong", serverURL: process.env.DARKROOM_URL });
const unauthorized = await thrown(() => stranger.generate.textToImage({ prompt: "a" }));
assert.equal(unauthorized.detail.msg, "Invalid bearer token.");

// Two callers at once, of whom each gets their own.
const [slow, fast] = await Promise.all([
  client.generate.textToImage({ prompt: "slow", modelId: SLOW_MODEL, numInferenceSteps: 1, seed: 1 }),
  client.generate.textToImage({ prompt: "fast", seed: 2 }),
]);
assert.deepEqual([slow.imageResponse.images[0].seed, fast.imageResponse.images[0].seed], [1, 2]);
