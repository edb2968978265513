import com.amazonaws.services.dynamodbv2.AcquireLockOptions;
import com.amazonaws.services.dynamodbv2.AmazonDynamoDBLockClient;
import com.amazonaws.services.dynamodbv2.AmazonDynamoDBLockClientOptions;
import com.amazonaws.services.dynamodbv2.LockItem;
import com.amazonaws.services.dynamodbv2.ReleaseLockOptions;
import java.net.URI;
import java.nio.ByteBuffer;
import java.nio.charset.StandardCharsets;
import java.util.Locale;
import java.util.concurrent.TimeUnit;
import software.amazon.awssdk.auth.credentials.AwsBasicCredentials;
import software.amazon.awssdk.auth.credentials.StaticCredentialsProvider;
import software.amazon.awssdk.http.apache.ApacheHttpClient;
import software.amazon.awssdk.regions.Region;
import software.amazon.awssdk.services.dynamodb.DynamoDbClient;

/**
 * Holds locks through Amazon's DynamoDB lock client as it is published, and tells what truly happened, a JSON line a
 * step. Parts: "workers" take, renew and release; "victim" holds until it is killed; "heir" takes over what it left.
 *
 * <p>Arguments: PART ENDPOINT REGION TABLE ACCESS_KEY SECRET LEASE_MS
 */
public final class Locks {
  private static final long PATIENCE_MS = 30_000;

  private final DynamoDbClient dynamodb;
  private final String table;
  private final long leaseMs;

  private Locks(String[] arguments) {
    table = arguments[3];
    leaseMs = Long.parseLong(arguments[6]);
    dynamodb =
        DynamoDbClient.builder()
            .endpointOverride(URI.create(arguments[1]))
            .region(Region.of(arguments[2]))
            .httpClient(ApacheHttpClient.create())
            .credentialsProvider(
                StaticCredentialsProvider.create(AwsBasicCredentials.create(arguments[4], arguments[5])))
            .build();
  }

  public static void main(String[] arguments) throws Exception {
    Locks locks = new Locks(arguments);
    switch (arguments[0]) {
      case "workers" -> locks.workers();
      case "victim" -> locks.victim();
      case "heir" -> locks.heir();
      default -> throw new IllegalArgumentException(arguments[0]);
    }
    System.exit(0);
  }

  /** Alpha lets its own thread renew; what a release leaves behind, beta finds and takes. */
  private void workers() throws Exception {
    try (AmazonDynamoDBLockClient alpha = client("alpha", true);
        AmazonDynamoDBLockClient beta = client("beta", false)) {
      LockItem deleted = acquire(alpha, "alpha", "job-a", true);
      LockItem kept = acquire(alpha, "alpha", "job-b", false);
      Thread.sleep(leaseMs);
      alpha.releaseLock(deleted);
      tell("released", "job-a", "alpha");
      alpha.releaseLock(ReleaseLockOptions.builder(kept).withDeleteLock(false).build());
      tell("released", "job-b", "alpha");
      LockItem taken = acquire(beta, "beta", "job-b", false);
      beta.sendHeartbeat(taken);
      tell("renewed", "job-b", "beta");
      beta.releaseLock(ReleaseLockOptions.builder(taken).withDeleteLock(false).build());
      tell("released", "job-b", "beta");
    }
  }

  private void victim() throws Exception {
    AmazonDynamoDBLockClient crash = client("crash", false);
    for (String name : new String[] {"job-c", "job-d"}) {
      LockItem held = acquire(crash, "crash", name, true);
      crash.sendHeartbeat(held);
      tell("renewed", name, "crash");
    }
    tell("ready", null, null);
    Thread.sleep(PATIENCE_MS);
  }

  private void heir() throws Exception {
    try (AmazonDynamoDBLockClient gamma = client("gamma", false)) {
      LockItem held = gamma.acquireLock(options("job-d", true));
      System.out.printf(
          Locale.ROOT,
          "{\"t\": %.3f, \"step\": \"taken_over\", \"lock\": \"job-d\", \"owner\": \"gamma\", \"previous\": \"crash\"}%n",
          System.currentTimeMillis() / 1000.0);
      gamma.releaseLock(held);
      tell("released", "job-d", "gamma");
    }
  }

  private AmazonDynamoDBLockClient client(String owner, boolean renews) {
    return new AmazonDynamoDBLockClient(
        AmazonDynamoDBLockClientOptions.builder(dynamodb, table)
            .withOwnerName(owner)
            .withTimeUnit(TimeUnit.MILLISECONDS)
            .withLeaseDuration(leaseMs)
            .withHeartbeatPeriod(leaseMs / 4)
            .withCreateHeartbeatBackgroundThread(renews)
            .build());
  }

  private AcquireLockOptions options(String name, boolean deletes) {
    return AcquireLockOptions.builder(name)
        .withDeleteLockOnRelease(deletes)
        .withData(ByteBuffer.wrap("made-up-token".getBytes(StandardCharsets.UTF_8)))
        .withReplaceData(true)
        .withTimeUnit(TimeUnit.MILLISECONDS)
        .withRefreshPeriod(100L)
        .withAdditionalTimeToWaitForLock(PATIENCE_MS)
        .build();
  }

  private LockItem acquire(AmazonDynamoDBLockClient client, String owner, String name, boolean deletes)
      throws InterruptedException {
    LockItem held = client.acquireLock(options(name, deletes));
    tell("acquired", name, owner);
    return held;
  }

  private static synchronized void tell(String step, String name, String owner) {
    String who = name == null ? "" : ", \"lock\": \"" + name + "\", \"owner\": \"" + owner + "\"";
    System.out.printf(
        Locale.ROOT, "{\"t\": %.3f, \"step\": \"%s\"%s}%n", System.currentTimeMillis() / 1000.0, step, who);
    System.out.flush();
  }
}
