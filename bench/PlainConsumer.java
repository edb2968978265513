import com.amazonaws.services.dynamodbv2.streamsadapter.AmazonDynamoDBStreamsAdapterClient;
import com.amazonaws.services.dynamodbv2.streamsadapter.StreamsSchedulerFactory;
import com.amazonaws.services.dynamodbv2.streamsadapter.model.DynamoDBStreamsProcessRecordsInput;
import com.amazonaws.services.dynamodbv2.streamsadapter.polling.DynamoDBStreamsPollingConfig;
import com.amazonaws.services.dynamodbv2.streamsadapter.processor.DynamoDBStreamsShardRecordProcessor;
import com.sun.management.OperatingSystemMXBean;
import java.lang.management.ManagementFactory;
import java.net.URI;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.TimeUnit;
import software.amazon.awssdk.regions.Region;
import software.amazon.awssdk.services.cloudwatch.CloudWatchAsyncClient;
import software.amazon.awssdk.services.dynamodb.DynamoDbAsyncClient;
import software.amazon.awssdk.services.dynamodb.streams.DynamoDbStreamsClient;
import software.amazon.kinesis.common.ConfigsBuilder;
import software.amazon.kinesis.common.InitialPositionInStream;
import software.amazon.kinesis.common.InitialPositionInStreamExtended;
import software.amazon.kinesis.lifecycle.events.InitializationInput;
import software.amazon.kinesis.lifecycle.events.LeaseLostInput;
import software.amazon.kinesis.lifecycle.events.ShardEndedInput;
import software.amazon.kinesis.lifecycle.events.ShutdownRequestedInput;
import software.amazon.kinesis.metrics.NullMetricsFactory;
import software.amazon.kinesis.processor.ShardRecordProcessor;
import software.amazon.kinesis.processor.ShardRecordProcessorFactory;

/** What Lockside's fleet is measured against: KCL in plain Java, which counts records and checkpoints each batch. */
public final class PlainConsumer {
    private static final CountDownLatch ENDED = new CountDownLatch(1);
    private static volatile long firstCpu;
    private static volatile long lastCpu;
    private static volatile long beforeFirst;
    private static volatile long records;
    private static volatile long wanted;

    private static long cpu() {
        return ((OperatingSystemMXBean) ManagementFactory.getOperatingSystemMXBean()).getProcessCpuTime();
    }

    /** One shard. The first batch is not counted: what comes before it is KCL's start. */
    private static final class Processor implements DynamoDBStreamsShardRecordProcessor {
        @Override public void initialize(InitializationInput input) { }
        @Override public void processRecords(DynamoDBStreamsProcessRecordsInput input) {
            int size = input.records().size();
            records += size;
            if (size > 0) {
                try {
                    input.checkpointer().checkpoint();
                } catch (Exception error) {
                    throw new IllegalStateException(error);
                }
                lastCpu = cpu();
                if (firstCpu == 0) {
                    firstCpu = lastCpu;
                    beforeFirst = records;
                }
                if (records >= wanted) {
                    ENDED.countDown();
                }
            }
        }
        @Override public void leaseLost(LeaseLostInput input) { }
        @Override public void shardEnded(ShardEndedInput input) {
            try {
                input.checkpointer().checkpoint();
            } catch (Exception error) {
                throw new IllegalStateException(error);
            }
        }
        @Override public void shutdownRequested(ShutdownRequestedInput input) { }
    }

    private static final class Factory implements ShardRecordProcessorFactory {
        @Override public ShardRecordProcessor shardRecordProcessor() { return new Processor(); }
    }

    /** Arguments: the streams' address, the tables', the stream's ARN, the application, idle ms, seconds, records. */
    public static void main(String[] given) throws Exception {
        wanted = Long.parseLong(given[6]);
        Region region = Region.US_EAST_1;
        DynamoDbStreamsClient streams =
            DynamoDbStreamsClient.builder().endpointOverride(URI.create(given[0])).region(region).build();
        DynamoDbAsyncClient tables =
            DynamoDbAsyncClient.builder().endpointOverride(URI.create(given[1])).region(region).build();
        CloudWatchAsyncClient watch = CloudWatchAsyncClient.builder().region(region).build();
        AmazonDynamoDBStreamsAdapterClient adapter = new AmazonDynamoDBStreamsAdapterClient(streams, region);
        String arn = given[2];
        var begin = InitialPositionInStreamExtended.newInitialPosition(InitialPositionInStream.TRIM_HORIZON);
        var tracker = StreamsSchedulerFactory.createSingleStreamTracker(arn, begin);
        var made = new ConfigsBuilder(tracker, given[3], adapter, tables, watch, "plain", new Factory());
        var polling = new DynamoDBStreamsPollingConfig(arn, adapter).idleTimeBetweenReadsInMillis(Long.parseLong(given[4]));
        polling.maxRecords(1000);
        var retrieval = made.retrievalConfig();
        retrieval.retrievalSpecificConfig(polling);
        var leases = made.leaseManagementConfig();
        leases.shardSyncIntervalMillis(200).leaseAssignmentIntervalMillis(1000L).failoverTimeMillis(3000);
        leases.workerUtilizationAwareAssignmentConfig().disableWorkerMetrics(true).workerMetricsReporterFreqInMillis(1000);
        var coordinator = made.coordinatorConfig();
        coordinator.parentShardPollIntervalMillis(500).shardConsumerDispatchPollIntervalMillis(100);
        var scheduler = StreamsSchedulerFactory.createScheduler(
            made.checkpointConfig(), coordinator, leases, made.lifecycleConfig(),
            made.metricsConfig().metricsFactory(new NullMetricsFactory()), made.processorConfig(), retrieval, adapter);
        Thread thread = new Thread(scheduler);
        thread.setDaemon(true);
        thread.start();
        boolean ended = ENDED.await(Long.parseLong(given[5]), TimeUnit.SECONDS);
        String memory = Files.readAllLines(Path.of("/proc/self/status")).stream()
            .filter(line -> line.startsWith("VmRSS:")).findFirst().orElse("VmRSS: 0 kB").replaceAll("[^0-9]", "");
        System.out.printf("{\"ended\": %b, \"records\": %d, \"cpu_ns\": %d, \"rss_kb\": %s}%n",
            ended, records - beforeFirst, lastCpu - firstCpu, memory);
        System.out.flush();
        Runtime.getRuntime().halt(ended ? 0 : 1);
    }
}
