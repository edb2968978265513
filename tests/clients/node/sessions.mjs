// Logs people in and out through Auth.js' DynamoDB adapter as it is published: a login is a row, and a logout takes it away.

import { DynamoDB } from "@aws-sdk/client-dynamodb";
import { DynamoDBDocument } from "@aws-sdk/lib-dynamodb";
import { DynamoDBAdapter } from "@auth/dynamodb-adapter";
import { randomUUID } from "node:crypto";
import { pause, stage, tell } from "./truth.mjs";

const { endpoint, region, table, credentials, leaseMs } = stage();
const client = DynamoDBDocument.from(new DynamoDB({ endpoint, region, credentials }), {
  marshallOptions: { convertEmptyValues: true, removeUndefinedValues: true, convertClassInstanceToMap: true },
});
const adapter = DynamoDBAdapter(client, { tableName: table });
const HOUR_MS = 3_600_000;

async function join(name) {
  const user = await adapter.createUser({ name, email: `${name}@example.org`, emailVerified: null });
  await adapter.linkAccount({
    userId: user.id,
    provider: "made-up",
    providerAccountId: name,
    type: "oauth",
    access_token: "made-up-token",
  });
  return user.id;
}

async function login(userId, lifetimeMs) {
  const sessionToken = randomUUID();
  const expires = new Date(Date.now() + lifetimeMs);
  await adapter.createSession({ sessionToken, userId, expires });
  const session = { pk: `USER#${userId}`, sk: `SESSION#${sessionToken}` };
  tell("created", { session, user: userId });
  return { sessionToken, session, expires };
}

async function logout(one, userId) {
  await adapter.deleteSession(one.sessionToken);
  tell("logout", { session: one.session, user: userId, row: "deleted" });
}

const [alice, bob, carol] = [await join("alice"), await join("bob"), await join("carol")];
const lost = await login(carol, leaseMs);
const first = await login(alice, HOUR_MS);
await adapter.updateSession({ sessionToken: first.sessionToken, expires: new Date(Date.now() + 2 * HOUR_MS) });
tell("renewed", { session: first.session, user: alice });
await logout(first, alice);
await login(alice, HOUR_MS);
const gone = await login(bob, HOUR_MS);
await adapter.deleteUser(bob);
tell("ended", { session: gone.session, user: bob });
await pause(Math.max(0, lost.expires.getTime() - Date.now()));
process.stdout.write(
  `${JSON.stringify({ t: lost.expires.getTime() / 1000, step: "expired", session: lost.session, user: carol })}\n`,
);
