// Use our API with OpenAI's own Node SDK: one scenario a run, its findings as one line of JSON.
// Usage: BASE_URL=… API_KEY=… node scenarios.mjs <scenario>

import OpenAI from 'openai';

const client = new OpenAI({ baseURL: process.env.BASE_URL, apiKey: process.env.API_KEY, timeout: 30_000 });
const POLL_MS = 50;
const MODEL = 'demo?tokens=20&first_ms=0&gap_ms=5';

const collected = async (stream) => {
  const events = [];
  for await (const event of stream) events.push(event);
  return events;
};

const textOf = (events) =>
  events.filter((event) => event.type === 'response.output_text.delta').map((event) => event.delta).join('');

const scenarios = {
  async chat() {
    const messages = [{ role: 'user', content: 'Count.' }];
    const stream = await client.chat.completions.create({ model: MODEL, messages, stream: true, stream_options: { include_usage: true } });
    const chunks = await collected(stream);
    const text = chunks.map((chunk) => chunk.choices[0]?.delta?.content ?? '').join('');
    return { text, usage: chunks.at(-1).usage, numbers: chunks.map((chunk) => chunk.sequence_number) };
  },

  async chatHelper() {
    const messages = [{ role: 'user', content: 'Count.' }];
    const completion = await client.chat.completions.stream({ model: MODEL, messages }).finalChatCompletion();
    return { text: completion.choices[0].message.content, reason: completion.choices[0].finish_reason };
  },

  async background() {
    let response = await client.responses.create({ model: MODEL, input: 'Count.', background: true });
    const first = response.status;
    while (['queued', 'in_progress'].includes(response.status)) {
      await new Promise((resolve) => setTimeout(resolve, POLL_MS));
      response = await client.responses.retrieve(response.id);
    }
    return { first, status: response.status, text: response.output_text };
  },

  // Break off after five events, come back with the last number, and compare with a stream that was not broken.
  async resume() {
    const seen = [];
    const stream = await client.responses.create({ model: MODEL, input: 'Count.', background: true, stream: true });
    for await (const event of stream) {
      seen.push(event);
      if (seen.length === 5) break;
    }
    const { id } = seen[0].response;
    const rest = await client.responses.retrieve(id, { stream: true, starting_after: seen.at(-1).sequence_number });
    const resumed = [...seen, ...(await collected(rest))];
    const whole = await collected(await client.responses.retrieve(id, { stream: true }));
    return { same: JSON.stringify(resumed) === JSON.stringify(whole), text: textOf(resumed), last: resumed.at(-1).type };
  },

  async helper() {
    const stream = client.responses.stream({ model: MODEL, input: 'Count.' });
    const response = await stream.finalResponse();
    return { status: response.status, text: response.output_text };
  },

  async helperResume() {
    const first = await client.responses.create({ model: MODEL, input: 'Count.', background: true });
    const seen = [];
    const stream = client.responses.stream({ response_id: first.id, starting_after: 6 });
    for await (const event of stream) seen.push(event.sequence_number);
    const response = await stream.finalResponse();
    return { first: seen[0], text: response.output_text };
  },

  async refused() {
    const errors = [];
    for (const call of [
      () => client.responses.create({ model: MODEL, input: 'x', temperature: 3 }),
      () => client.responses.retrieve('resp_unknown'),
      () => new OpenAI({ baseURL: process.env.BASE_URL, apiKey: 'wrong' }).models.list(),
    ]) {
      try {
        await call();
        errors.push(null);
      } catch (error) {
        errors.push({ name: error.constructor.name, status: error.status, code: error.code, param: error.param, id: Boolean(error.requestID) });
      }
    }
    return errors;
  },
};

console.log(JSON.stringify(await scenarios[process.argv[2]]()));
