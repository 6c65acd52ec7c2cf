// Use our API with clients that nobody here wrote: one scenario a run, its findings as one line of JSON.
// Usage: BASE_URL=… API_KEY=… node clients.mjs <scenario> [responses|chat]

import net from 'node:net';
import { createOpenAI } from '@ai-sdk/openai';
import { fetchEventSource } from '@microsoft/fetch-event-source';
import { generateText, isStepCount, Output, streamText, tool } from 'ai';
import { EventSourcePolyfill } from 'event-source-polyfill';
import { z } from 'zod';

globalThis.AI_SDK_LOG_WARNINGS = false;
const baseURL = process.env.BASE_URL;
const apiKey = process.env.API_KEY;
const headers = { Authorization: `Bearer ${apiKey}` };
const api = process.argv[3] ?? 'responses';
const CUT_MS = 400;
const LONG_TOKENS = 100;

let requests = 0;
const openai = createOpenAI({
  baseURL,
  apiKey,
  fetch: (...call) => {
    requests += 1;
    return fetch(...call);
  },
});
const model = (name) => (api === 'chat' ? openai.chat(name) : openai(name));

const weather = () => {
  const cities = [];
  const execute = async ({ city }) => {
    cities.push(city);
    return '21 degrees';
  };
  return [cities, { get_weather: tool({ description: 'The weather', inputSchema: z.object({ city: z.string() }), execute }) }];
};

// A proxy that cuts each connection after a while.
const cuttingProxy = async () => {
  const target = new URL(baseURL);
  let cuts = 0;
  const server = net.createServer((client) => {
    const upstream = net.connect(Number(target.port), target.hostname);
    client.pipe(upstream).pipe(client);
    for (const socket of [client, upstream]) socket.on('error', () => {});
    setTimeout(() => {
      cuts += client.destroyed ? 0 : 1;
      client.destroy();
      upstream.destroy();
    }, CUT_MS).unref();
  });
  await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve));
  return { url: `http://127.0.0.1:${server.address().port}`, cuts: () => cuts };
};

const submit = async () => {
  const body = JSON.stringify({ model: `demo?tokens=${LONG_TOKENS}&first_ms=0&gap_ms=20`, message: 'Count.' });
  const answer = await fetch(new URL('/jobs', baseURL), { method: 'POST', headers: { ...headers, 'Content-Type': 'application/json' }, body });
  return answer.json();
};

const scenarios = {
  async chatbot() {
    const messages = [];
    const texts = [];
    for (let turn = 0; turn < 5; turn += 1) {
      messages.push({ role: 'user', content: `Turn ${turn}` });
      const answer = streamText({ model: model('demo?tokens=20&first_ms=0&gap_ms=1'), messages });
      let text = '';
      for await (const delta of answer.textStream) text += delta;
      texts.push(text);
      messages.push(...(await answer.response).messages);
    }
    return texts;
  },

  async tools() {
    const [cities, tools] = weather();
    const answer = await generateText({ model: model('demo'), prompt: 'What is the weather in Rome?', tools, stopWhen: isStepCount(4) });
    return { calls: cities.length, text: answer.text };
  },

  async toolsStreamed() {
    const [cities, tools] = weather();
    const answer = streamText({ model: model('demo'), prompt: 'What is the weather in Rome?', tools, stopWhen: isStepCount(4) });
    let text = '';
    for await (const delta of answer.textStream) text += delta;
    return { calls: cities.length, text };
  },

  async object() {
    const schema = z.object({ name: z.string(), age: z.number() });
    const answer = await generateText({ model: model('demo'), prompt: 'Invent somebody.', output: Output.object({ schema }) });
    return answer.output;
  },

  async abort() {
    const controller = new AbortController();
    const name = 'demo?tokens=2000&first_ms=0&gap_ms=20';
    const answer = streamText({ model: model(name), prompt: 'Count.', abortSignal: controller.signal, onError: () => {} });
    let deltas = 0;
    try {
      for await (const _ of answer.textStream) if ((deltas += 1) === 5) controller.abort();
    } catch {
      // some versions raise, others end
    }
    return deltas;
  },

  async refusedOnce() {
    try {
      await generateText({ model: model('demo?fail=400&fail_times=9'), prompt: 'Hello' });
      return null;
    } catch (error) {
      return { requests, status: error.statusCode };
    }
  },

  async fetchEventSource() {
    globalThis.window = globalThis;
    globalThis.document = { hidden: false, addEventListener() {}, removeEventListener() {} };
    const proxy = await cuttingProxy();
    const job = await submit();
    const controller = new AbortController();
    const found = { text: '', empty: 0 };
    await fetchEventSource(`${proxy.url}/jobs/${job.id}/events`, {
      headers,
      signal: controller.signal,
      openWhenHidden: true,
      onmessage(message) {
        found.empty += message.data === '' ? 1 : 0;
        const event = JSON.parse(message.data);
        found.text += event.delta?.content ?? '';
        if (event.usage) controller.abort();
      },
      onclose() {
        throw new Error('it was cut off');
      },
      onerror: () => 50,
    });
    return { ...found, cuts: proxy.cuts() };
  },

  async eventSourcePolyfill() {
    console.error = () => {}; // it tells every cut
    globalThis.document = { readyState: 'complete', addEventListener() {} };
    const proxy = await cuttingProxy();
    const job = await submit();
    const source = new EventSourcePolyfill(`${proxy.url}/jobs/${job.id}/events`, { headers });
    let text = '';
    await new Promise((resolve) => {
      source.addEventListener('delta', (message) => {
        text += JSON.parse(message.data).delta.content ?? '';
      });
      source.addEventListener('completed', resolve);
    });
    source.close();
    return { text, cuts: proxy.cuts() };
  },
};

console.log(JSON.stringify(await scenarios[process.argv[2]]()));
process.exit(0);
