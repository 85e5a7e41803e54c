// The JavaScript client of Replicate.

import Replicate from "replicate";
import { FAST_MODEL, PICTURE, SLOW_MODEL, assert, isPng, thrown } from "./expect.mjs";
import { client } from "./point.mjs";

const [FAST, SLOW] = [`darkroom/${FAST_MODEL}`, `darkroom/${SLOW_MODEL}`];

const outputs = await client.run(FAST, { input: { prompt: "a red circle", num_outputs: 2, seed: 7 } });
assert.equal(outputs.length, 2);
assert(isPng(Buffer.from(await (await outputs[0].blob()).arrayBuffer())));

const model = await client.models.get("darkroom", FAST_MODEL);
const seen = [];
await client.run(`${FAST}:${model.latest_version.id}`, { input: { prompt: "a" }, wait: { mode: "poll" } }, (prediction) => {
  seen.push(prediction.status);
});
assert.equal(seen.at(-1), "succeeded");

const caption = await client.run(`darkroom/${FAST_MODEL}-captions`, {
  input: { image: `data:image/png;base64,${PICTURE.toString("base64")}`, prompt: "a picture of" },
});
assert(caption.startsWith("a picture of"));

let made = await client.predictions.create({ model: SLOW, input: { prompt: "slow", num_inference_steps: 2 } });
assert.equal(made.status, "starting");
made = await client.predictions.cancel(made.id);
assert.equal(made.status, "canceled");

const events = [];
for await (const event of client.stream(FAST, { input: { prompt: "a", num_outputs: 2 } })) events.push(event.event);
assert.deepEqual(events, ["output", "output", "done"]);

for await (const page of client.paginate(client.predictions.list)) {
  assert(page.length > 0);
  break;
}

assert.match((await thrown(() => client.run(FAST, { input: { prompt: "a [fake:invalid_input]" } }))).message, /failed/);
assert.equal((await thrown(() => client.run("nobody/nothing", { input: { prompt: "a" } }))).response.status, 404);
assert.equal((await thrown(() => client.run(FAST, { input: {} }))).response.status, 422);
const stranger = new Replicate({ auth: "wrong", baseUrl: `${process.env.DARKROOM_URL}/replicate/v1` });
assert.equal((await thrown(() => stranger.run(FAST, { input: { prompt: "a" } }))).response.status, 401);

const [slow, fast] = await Promise.all([
  client.predictions.create({ model: SLOW, input: { prompt: "slow", seed: 1, num_inference_steps: 1 }, wait: 30 }),
  client.predictions.create({ model: FAST, input: { prompt: "fast", seed: 2 }, wait: 30 }),
]);
assert.deepEqual([slow.input.seed, slow.status, fast.input.seed], [1, "succeeded", 2]);
