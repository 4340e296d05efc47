// The official TypeScript SDK's client against the gateway; run where `@modelcontextprotocol/sdk` is installed.
// node typescript_sdk.mjs URL
import { Client } from '@modelcontextprotocol/sdk/client/index.js';
import { StreamableHTTPClientTransport } from '@modelcontextprotocol/sdk/client/streamableHttp.js';
import { ElicitRequestSchema } from '@modelcontextprotocol/sdk/types.js';
import assert from 'node:assert';

const client = new Client({ name: 'typescript', version: '1' }, { capabilities: { elicitation: {} } });
client.setRequestHandler(ElicitRequestSchema, async () => ({
  action: 'accept',
  content: { username: 'ada', email: 'ada@example.com' }
}));
await client.connect(new StreamableHTTPClientTransport(new URL(process.argv[2])));
const { tools } = await client.listTools();
const echoed = await client.callTool({ name: 'echo', arguments: { text: 'hi' } });
assert.deepEqual(echoed.structuredContent, { echo: 'hi' });
assert.equal(echoed._meta.provenance.source, 'mcp:fixture');
const progress = [];
await client.callTool({ name: 'test_tool_with_progress', arguments: {} }, undefined, {
  onprogress: (told) => progress.push(told.progress)
});
assert.deepEqual(progress, [0, 50, 100]);
const asked = await client.callTool({ name: 'test_elicitation', arguments: { message: 'who?' } });
assert.match(asked.content[0].text, /ada@example.com/);
assert.equal((await client.listResources()).resources.length, 3);
console.log(`ok   typescript sdk, http: ${tools.length} tools, revision ${client.transport.protocolVersion}`);
await client.close();
