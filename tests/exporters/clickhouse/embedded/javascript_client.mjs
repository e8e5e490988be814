// Makes the calls that the JavaScript client offers, and prints what came of each as one JSON object.
// node javascript_client.mjs MODULE_DIRECTORY URL USERNAME PASSWORD SQL
import { createRequire } from "node:module";
import { pathToFileURL } from "node:url";

const [directory, url, username, password, sql] = process.argv.slice(2);
const path = createRequire(`${directory}/`).resolve("@clickhouse/client");
const { createClient, ClickHouseLogLevel } = await import(pathToFileURL(path).href);

const log = { level: ClickHouseLogLevel.OFF };
const client = createClient({ url, username, password, log });
const compressed = createClient({ url, username, password, log, compression: { request: true, response: true } });
const inSession = createClient({ url, username, password, log, session_id: `javascript-${process.pid}` });
const results = {};

async function rows(from, query, format = "JSONEachRow", more = {}) {
  return (await from.query({ query, format, ...more })).json();
}

results.ping = (await client.ping()).success;
results.ping_select = (await client.ping({ select: true })).success;
results.json = await rows(client, sql, "JSON");
results.json_each_row = await rows(client, sql);
results.json_compact = await rows(client, sql, "JSONCompact");
results.csv = await (await client.query({ query: sql, format: "CSVWithNames" })).text();
results.compressed = await rows(compressed, sql);
results.parameters = await rows(client, "SELECT {a: UInt8} AS a, {b: Array(String)} AS b, {c: Nullable(String)} AS c", "JSONEachRow", {
  query_params: { a: 7, b: ["it's", "\ttab"], c: null },
});
results.settings = await rows(client, "SELECT getSetting('max_threads') AS threads", "JSONEachRow", {
  clickhouse_settings: { max_threads: 3 },
});

await client.command({ query: "CREATE OR REPLACE TABLE shop.js (a UInt64, s String) ENGINE = MergeTree ORDER BY a" });
const summary = await client.insert({ table: "shop.js", format: "JSONEachRow", values: [{ a: 1, s: "x" }, { a: 2, s: "y" }] });
results.written = summary.summary.written_rows;
await compressed.insert({ table: "shop.js", format: "JSONCompactEachRow", values: [[3, "z"]] });
results.inserted = await rows(client, "SELECT * FROM shop.js ORDER BY a");

results.streamed = 0;
const stream = (await client.query({ query: "SELECT number FROM numbers(200000)", format: "JSONEachRow" })).stream();
for await (const batch of stream) results.streamed += batch.length;

await inSession.command({ query: "CREATE TEMPORARY TABLE mine (a UInt8)" });
await inSession.insert({ table: "mine", format: "JSONEachRow", values: [{ a: 5 }] });
results.session = await rows(inSession, "SELECT a FROM mine");

try {
  await client.query({ query: "SELECT * FROM shop.nothing" });
} catch (error) {
  results.error = [error.code, error.type];
}

const abort = new AbortController();
const slow = "SELECT count() FROM numbers(1000000000000) WHERE number % 7 SETTINGS max_threads = 1";
const aborted = client.query({ query: slow, abort_signal: abort.signal, query_id: "javascript-aborted" });
const running = "SELECT count() AS n FROM system.processes WHERE query LIKE '%number \\% 7%' AND query NOT LIKE '%processes%'";
const count = async () => Number((await rows(client, running))[0].n);
while ((await count()) === 0);
abort.abort();
results.aborted = await aborted.then(() => false, () => true);
while ((await count()) > 0);

await Promise.all([client.close(), compressed.close(), inSession.close()]);
console.log(JSON.stringify(results));
