// The JavaScript client of OpenAI.

import OpenAI from "openai";
import {
  BUSY_KEY, FAST_MODEL, IDLE_MODEL, LIMITED_KEY, PICTURE, SLOW_MODEL,
  assert, bytes, cancel, control, dropped, exhaust, isPng, jobOf, succeeded, throughOutage, thrown,
} from "./expect.mjs";
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

// Limits, of a key and of the whole. Both pass, and the client waits as it is told to, unless its caller does not want that.
const impatient = (apiKey) => client.withOptions({ apiKey, maxRetries: 0 });
const overloaded = await thrown(() => impatient(BUSY_KEY).images.generate({ prompt: "a" }));
assert(overloaded instanceof OpenAI.InternalServerError);
assert.deepEqual([overloaded.status, overloaded.code], [503, "overloaded"]);
const limited = await thrown(() => exhaust(() => impatient(LIMITED_KEY).models.list()));
assert(limited instanceof OpenAI.RateLimitError);
assert.match(limited.message, /too many requests/);
assert.equal((await client.withOptions({ apiKey: LIMITED_KEY }).models.retrieve(FAST_MODEL)).id, FAST_MODEL);
assert.equal((await throughOutage(() => client.images.generate({ prompt: "a", seed: 3 }))).data[0].seed, 3);

const failed = await thrown(() => client.images.generate({ prompt: "a [fake:not_finite]" }));
assert(failed instanceof OpenAI.InternalServerError);
const [canceled] = await Promise.all([
  thrown(() => client.images.generate({ prompt: "canceled", model: IDLE_MODEL })),
  cancel("canceled"),
]);
assert(canceled instanceof OpenAI.ConflictError);
assert.equal(canceled.code, "job_canceled");

// The client repeats a request whose line broke, and finds the job that runs.
const again = await dropped(client.images.generate({ prompt: "dropped", model: SLOW_MODEL, steps: 1 }));
assert.equal(again.id, (await succeeded("dropped")).id);
// Not one whose answer has begun: its caller is told, and the job goes on.
const stream = await client.images.generate({ prompt: "broken off", model: IDLE_MODEL, stream: true });
await control("cut");
await thrown(async () => {
  for await (const event of stream) assert.fail(event.type);
});
assert.equal((await jobOf("broken off")).state, "queued");
await cancel("broken off");

const [slow, fast] = await Promise.all([
  client.images.generate({ prompt: "slow", model: SLOW_MODEL, steps: 1, seed: 1 }),
  client.images.generate({ prompt: "fast", seed: 2 }),
]);
assert.deepEqual([slow.data[0].seed, fast.data[0].seed], [1, 2]);
