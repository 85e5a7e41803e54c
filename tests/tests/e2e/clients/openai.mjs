// The JavaScript client of OpenAI.

import OpenAI from "openai";
import { FAST_MODEL, PICTURE, SLOW_MODEL, assert, bytes, isPng, thrown } from "./expect.mjs";
import { client } from "./point.mjs";

const answer = await client.images.generate({ prompt: "a red circle", model: FAST_MODEL, n: 2, seed: 7 });
assert(answer.data.every((image) => isPng(Buffer.from(image.b64_json, "base64"))));
assert.deepEqual(answer.data.map((image) => image.seed), [7, 8]);
const byUrl = await client.images.generate({ prompt: "a red circle", response_format: "url" });
assert(isPng(await bytes(byUrl.data[0].url)));

let pictures = 0;
for await (const event of await client.images.generate({ prompt: "a red circle", stream: true, partial_images: 2 })) {
  if (event.type === "image_generation.completed") {
    pictures += 1;
    assert(isPng(Buffer.from(event.b64_json, "base64")));
  }
}
assert.equal(pictures, 1);

const url = `data:image/png;base64,${PICTURE.toString("base64")}`;
const completion = await client.chat.completions.create({
  model: `${FAST_MODEL}-captions`,
  messages: [{ role: "user", content: [{ type: "text", text: "What is this?" }, { type: "image_url", image_url: { url } }] }],
});
assert(completion.choices[0].message.content);

const ids = [];
for await (const model of client.models.list()) ids.push(model.id);
assert(ids.includes(FAST_MODEL));

const wrong = await thrown(() => client.images.generate({ prompt: "a", n: 99 }));
assert(wrong instanceof OpenAI.BadRequestError);
assert.deepEqual([wrong.param, wrong.code], ["n", "invalid_value"]);
const unknown = await thrown(() => client.images.generate({ prompt: "a", model: "nobody/nothing" }));
assert(unknown instanceof OpenAI.NotFoundError);
const stranger = client.withOptions({ apiKey: "wrong" });
assert(await thrown(() => stranger.images.generate({ prompt: "a" })) instanceof OpenAI.AuthenticationError);

const [slow, fast] = await Promise.all([
  client.images.generate({ prompt: "slow", model: SLOW_MODEL, steps: 1, seed: 1 }),
  client.images.generate({ prompt: "fast", seed: 2 }),
]);
assert.deepEqual([slow.data[0].seed, fast.data[0].seed], [1, 2]);
