// Holds locks through dynamodb-lock-client (tristanls) as it is published: fail-open ones, which renew themselves and are
// taken over, and fail-closed ones, which are not.

import AWS from "aws-sdk";
import lockClient from "dynamodb-lock-client";
import { pause, stage, tell } from "./truth.mjs";

const { part, endpoint, region, table, credentials, leaseMs } = stage();
const dynamodb = new AWS.DynamoDB.DocumentClient({ endpoint, region, credentials });

const open = (owner, renews) =>
  new lockClient.FailOpen({
    dynamodb,
    lockTable: table,
    partitionKey: "id",
    owner,
    leaseDurationMs: leaseMs,
    heartbeatPeriodMs: renews ? Math.round(leaseMs / 4) : undefined,
    trustLocalTime: true,
    retryCount: 20,
  });
const closed = (owner) =>
  new lockClient.FailClosed({ dynamodb, lockTable: table, partitionKey: "id", owner, acquirePeriodMs: 100 });

const acquired = (client, lock) =>
  new Promise((done, failed) => client.acquireLock(lock, (error, held) => (error ? failed(error) : done(held))));
const released = (held) => new Promise((done, failed) => held.release((error) => (error ? failed(error) : done())));

async function acquire(client, lock, owner) {
  const held = await acquired(client, lock);
  tell("acquired", { lock, owner });
  return held;
}

async function release(held, lock, owner) {
  await released(held);
  tell("released", { lock, owner });
}

const PARTS = {
  async workers() {
    const first = await acquire(open("alpha", true), "job-a", "alpha");
    await pause(leaseMs);
    await release(first, "job-a", "alpha");
    await release(await acquire(open("beta", false), "job-a", "beta"), "job-a", "beta");
    await release(await acquire(closed("alpha"), "job-e", "alpha"), "job-e", "alpha");
  },
  async victim() {
    for (const lock of ["job-c", "job-d"]) await acquire(open("crash", false), lock, "crash");
    tell("ready");
    await pause(30_000);
  },
  async heir() {
    const held = await acquired(open("gamma", false), "job-d");
    tell("taken_over", { lock: "job-d", owner: "gamma", previous: "crash" });
    await release(held, "job-d", "gamma");
  },
};

await PARTS[part]();
