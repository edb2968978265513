import com.amazonaws.services.dynamodbv2.AcquireLockOptions;
import com.amazonaws.services.dynamodbv2.AmazonDynamoDBLockClient;
import com.amazonaws.services.dynamodbv2.AmazonDynamoDBLockClientOptions;
import com.amazonaws.services.dynamodbv2.LockItem;
import com.amazonaws.services.dynamodbv2.ReleaseLockOptions;
import java.net.URI;
import java.util.Map;
import java.util.Optional;
import java.util.Random;
import java.util.concurrent.TimeUnit;
import software.amazon.awssdk.auth.credentials.AwsBasicCredentials;
import software.amazon.awssdk.auth.credentials.StaticCredentialsProvider;
import software.amazon.awssdk.http.urlconnection.UrlConnectionHttpClient;
import software.amazon.awssdk.regions.Region;
import software.amazon.awssdk.services.dynamodb.DynamoDbClient;
import software.amazon.awssdk.services.dynamodb.model.AttributeValue;

/**
 * Fights over locks with the awslabs lock client as it is published, until it is killed.
 *
 * <p>Arguments: part (holder or vandal), endpoint, table, owner, lease in ms, seed, locks. It prints one line a step:
 * nanoTime, step, lock. A vandal deletes and overwrites rows of one lock as an operator with a console would.
 */
public final class Fighter {
  private static final long WAIT_MS = 3_000;
  private static final long REFRESH_MS = 50;
  private static final int HOLD_MS_MAX = 250;

  public static void main(String[] arguments) throws Exception {
    DynamoDbClient dynamodb =
        DynamoDbClient.builder()
            .endpointOverride(URI.create(arguments[1]))
            .region(Region.US_EAST_1)
            .credentialsProvider(
                StaticCredentialsProvider.create(AwsBasicCredentials.create("lockside", "lockside")))
            .httpClient(UrlConnectionHttpClient.create())
            .build();
    Random random = new Random(Long.parseLong(arguments[5]));
    if (arguments[0].equals("vandal")) {
      vandalise(dynamodb, arguments[2], arguments[3], arguments[6], random);
    } else {
      hold(dynamodb, arguments, random);
    }
  }

  private static void hold(DynamoDbClient dynamodb, String[] arguments, Random random) throws Exception {
    long leaseMs = Long.parseLong(arguments[4]);
    AmazonDynamoDBLockClient client =
        new AmazonDynamoDBLockClient(
            AmazonDynamoDBLockClientOptions.builder(dynamodb, arguments[2])
                .withOwnerName(arguments[3])
                .withTimeUnit(TimeUnit.MILLISECONDS)
                .withLeaseDuration(leaseMs)
                .withHeartbeatPeriod(leaseMs / 4)
                .withCreateHeartbeatBackgroundThread(true)
                .build());
    while (true) {
      String lock = arguments[6 + random.nextInt(arguments.length - 6)];
      Optional<LockItem> held =
          client.tryAcquireLock(
              AcquireLockOptions.builder(lock)
                  .withAdditionalTimeToWaitForLock(WAIT_MS)
                  .withRefreshPeriod(REFRESH_MS)
                  .withTimeUnit(TimeUnit.MILLISECONDS)
                  .withDeleteLockOnRelease(random.nextBoolean())
                  .build());
      if (held.isEmpty()) {
        tell("missed", lock);
        continue;
      }
      tell("acquired", lock);
      Thread.sleep(random.nextInt(HOLD_MS_MAX));
      tell("releasing", lock);
      boolean released =
          client.releaseLock(
              ReleaseLockOptions.builder(held.get()).withDeleteLock(random.nextBoolean()).build());
      tell(released ? "released" : "overtaken", lock);
    }
  }

  private static void vandalise(
      DynamoDbClient dynamodb, String table, String owner, String lock, Random random) throws Exception {
    Map<String, AttributeValue> key = Map.of("key", text(lock));
    for (int round = 0; ; round++) {
      Thread.sleep(100 + random.nextInt(200));
      if (random.nextBoolean()) {
        dynamodb.deleteItem(request -> request.tableName(table).key(key));
        tell("deleted", lock);
      } else {
        Map<String, AttributeValue> row =
            Map.of(
                "key", text(lock),
                "ownerName", text(owner),
                "leaseDuration", text("100"),
                "recordVersionNumber", text(owner + "-" + round));
        dynamodb.putItem(request -> request.tableName(table).item(row));
        tell("stole", lock);
      }
    }
  }

  private static AttributeValue text(String value) {
    return AttributeValue.builder().s(value).build();
  }

  private static void tell(String step, String lock) {
    System.out.println(System.nanoTime() + " " + step + " " + lock);
  }
}
