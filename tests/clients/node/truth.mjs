// What truly happened, a JSON line a step, and the arguments that all programs share.

/** Prints one step. */
export function tell(step, facts = {}) {
  process.stdout.write(`${JSON.stringify({ t: Date.now() / 1000, step, ...facts })}\n`);
}

/** Reads PART ENDPOINT REGION TABLE ACCESS_KEY SECRET LEASE_MS. */
export function stage() {
  const [part, endpoint, region, table, accessKeyId, secretAccessKey, leaseMs] = process.argv.slice(2);
  return { part, endpoint, region, table, credentials: { accessKeyId, secretAccessKey }, leaseMs: Number(leaseMs) };
}

/** Waits. */
export const pause = (ms) => new Promise((done) => setTimeout(done, ms));
