// The JavaScript client of Replicate.

import { createServer } from "node:http";
import { text } from "node:stream/consumers";
import Replicate, { validateWebhook } from "replicate";
import {
  BUSY_KEY, FAST_MODEL, LIMITED_KEY, PICTURE, SLOW_MODEL, assert, dropped, exhaust, isPng, succeeded, thrown,
} from "./expect.mjs";
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
const of = (auth) => new Replicate({ auth, baseUrl: `${process.env.DARKROOM_URL}/replicate/v1` });
assert.equal((await thrown(() => of("wrong").run(FAST, { input: { prompt: "a" } }))).response.status, 401);
assert.equal((await thrown(() => client.predictions.get("nothing"))).response.status, 404);

// Limits, of a key and of the whole: the client asks again at once, a few times, and then says what it heard.
const overloaded = await thrown(() => of(BUSY_KEY).run(FAST, { input: { prompt: "a" } }));
assert.equal(overloaded.response.status, 503);
assert.match(overloaded.message, /too many jobs wait/);
const limited = await thrown(() => exhaust(() => of(LIMITED_KEY).models.get("darkroom", FAST_MODEL)));
assert.equal(limited.response.status, 429);
assert.match(limited.message, /too many requests/);

// The prediction as it is shown, signed so that the client believes it.
const told = new Promise((resolve) => {
  const server = createServer(async (request, response) => {
    const body = await text(request);
    response.end();
    server.close();
    resolve({ headers: request.headers, body });
  });
  server.listen(0, "127.0.0.1", () => {
    const webhook = `http://127.0.0.1:${server.address().port}/`;
    client.predictions.create({ model: FAST, input: { prompt: "a" }, webhook, webhook_events_filter: ["completed"] });
  });
});
const secret = (await client.webhooks.default.secret.get()).key;
const message = await told;
assert.equal(await validateWebhook(message, secret), true);
assert.equal(await validateWebhook({ ...message, body: `${message.body} ` }, secret), false);
assert.equal(JSON.parse(message.body).status, "succeeded");

// The client repeats a submission whose line broke, and finds the prediction that runs.
const again = await dropped(
  client.predictions.create({ model: SLOW, input: { prompt: "dropped", num_inference_steps: 1 }, wait: 30 }),
);
assert.equal(again.id, (await succeeded("dropped")).id);
assert.equal(again.status, "succeeded");

const [slow, fast] = await Promise.all([
  client.predictions.create({ model: SLOW, input: { prompt: "slow", seed: 1, num_inference_steps: 1 }, wait: 30 }),
  client.predictions.create({ model: FAST, input: { prompt: "fast", seed: 2 }, wait: 30 }),
]);
assert.deepEqual([slow.input.seed, slow.status, fast.input.seed], [1, "succeeded", 2]);
