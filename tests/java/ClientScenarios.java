import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.Collection;
import java.util.Collections;
import java.util.HashMap;
import java.util.HashSet;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.Properties;
import java.util.Set;
import java.util.TreeMap;
import java.util.TreeSet;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.Future;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicInteger;
import java.util.regex.Pattern;
import org.apache.kafka.clients.admin.Admin;
import org.apache.kafka.clients.admin.AlterConfigOp;
import org.apache.kafka.clients.admin.Config;
import org.apache.kafka.clients.admin.ConfigEntry;
import org.apache.kafka.clients.admin.ConsumerGroupDescription;
import org.apache.kafka.clients.admin.CreateTopicsResult;
import org.apache.kafka.clients.admin.DescribeClusterResult;
import org.apache.kafka.clients.admin.DescribeConfigsOptions;
import org.apache.kafka.clients.admin.FeatureMetadata;
import org.apache.kafka.clients.admin.ListConsumerGroupOffsetsSpec;
import org.apache.kafka.clients.admin.ListOffsetsResult.ListOffsetsResultInfo;
import org.apache.kafka.clients.admin.LogDirDescription;
import org.apache.kafka.clients.admin.MemberToRemove;
import org.apache.kafka.clients.admin.NewPartitions;
import org.apache.kafka.clients.admin.NewTopic;
import org.apache.kafka.clients.admin.OffsetSpec;
import org.apache.kafka.clients.admin.ProducerState;
import org.apache.kafka.clients.admin.RecordsToDelete;
import org.apache.kafka.clients.admin.RemoveMembersFromConsumerGroupOptions;
import org.apache.kafka.clients.admin.TopicDescription;
import org.apache.kafka.clients.consumer.Consumer;
import org.apache.kafka.clients.consumer.ConsumerRebalanceListener;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.clients.consumer.OffsetAndMetadata;
import org.apache.kafka.clients.consumer.OffsetAndTimestamp;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.clients.producer.RecordMetadata;
import org.apache.kafka.common.ElectionType;
import org.apache.kafka.common.KafkaFuture;
import org.apache.kafka.common.Node;
import org.apache.kafka.common.TopicCollection;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.TopicPartitionReplica;
import org.apache.kafka.common.Uuid;
import org.apache.kafka.common.acl.AclOperation;
import org.apache.kafka.common.config.ConfigResource;
import org.apache.kafka.common.errors.ElectionNotNeededException;
import org.apache.kafka.common.errors.GroupIdNotFoundException;
import org.apache.kafka.common.errors.GroupNotEmptyException;
import org.apache.kafka.common.errors.InvalidConfigurationException;
import org.apache.kafka.common.errors.InvalidPartitionsException;
import org.apache.kafka.common.errors.InvalidReplicationFactorException;
import org.apache.kafka.common.errors.InvalidTopicException;
import org.apache.kafka.common.errors.OffsetOutOfRangeException;
import org.apache.kafka.common.errors.RecordTooLargeException;
import org.apache.kafka.common.errors.TopicExistsException;
import org.apache.kafka.common.errors.UnknownMemberIdException;
import org.apache.kafka.common.errors.UnknownTopicOrPartitionException;
import org.apache.kafka.common.header.Header;
import org.apache.kafka.common.serialization.ByteArrayDeserializer;
import org.apache.kafka.common.serialization.ByteArraySerializer;
import org.apache.kafka.common.utils.AppInfoParser;

/**
 * What a Java client does with a broker, one scenario per method, each with topics and groups of its own.
 * It compiles against the clients of 3.9 and of 4.x.
 *
 * Usage: ClientScenarios BOOTSTRAP [SCENARIO...]. One JSON line per scenario goes to the standard output:
 * {"scenario": name, "ok": true, "ms": 12, "error": null}.
 */
public class ClientScenarios {
    private static final int THREADS = 4; // scenarios mostly wait
    private static final Duration POLL = Duration.ofMillis(100);
    private static final long PATIENCE_MS = 20_000;

    private interface Scenario {
        void run() throws Exception;
    }

    private final String bootstrap;
    private final Admin admin;
    private final String run = Long.toString(System.nanoTime(), 36);
    private final AtomicInteger names = new AtomicInteger();
    private final Map<String, Scenario> scenarios = new TreeMap<>();

    private ClientScenarios(String bootstrap) {
        this.bootstrap = bootstrap;
        this.admin = Admin.create(common());
        scenarios.put("every_acks", this::everyAcks);
        scenarios.put("every_codec", this::everyCodec);
        scenarios.put("keys_headers_and_timestamps", this::keysHeadersAndTimestamps);
        scenarios.put("idempotent_producer_keeps_order", this::idempotentProducerKeepsOrder);
        scenarios.put("too_large_a_record", this::tooLargeARecord);
        scenarios.put("topic_made_by_first_use", this::topicMadeByFirstUse);
        scenarios.put("assign_and_seek", this::assignAndSeek);
        scenarios.put("offset_out_of_range", this::offsetOutOfRange);
        scenarios.put("offsets_for_times", this::offsetsForTimes);
        scenarios.put("large_records_in_small_fetches", this::largeRecordsInSmallFetches);
        scenarios.put("pause_and_resume", this::pauseAndResume);
        scenarios.put("commit_and_lag", this::commitAndLag);
        scenarios.put("group_of_two_rebalances", () -> groupOfTwoRebalances("org.apache.kafka.clients.consumer.RangeAssignor"));
        scenarios.put("cooperative_group_rebalances", () -> groupOfTwoRebalances("org.apache.kafka.clients.consumer.CooperativeStickyAssignor"));
        scenarios.put("static_member_comes_back", this::staticMemberComesBack);
        scenarios.put("pattern_subscription", this::patternSubscription);
        scenarios.put("topics_created_described_deleted", this::topicsCreatedDescribedDeleted);
        scenarios.put("topic_errors", this::topicErrors);
        scenarios.put("partitions_added", this::partitionsAdded);
        scenarios.put("topic_configs_altered", this::topicConfigsAltered);
        scenarios.put("broker_configs_altered", this::brokerConfigsAltered);
        scenarios.put("groups_listed_described_deleted", this::groupsListedDescribedDeleted);
        scenarios.put("group_offsets_altered", this::groupOffsetsAltered);
        scenarios.put("group_members_removed", this::groupMembersRemoved);
        scenarios.put("records_deleted", this::recordsDeleted);
        scenarios.put("cluster_described", this::clusterDescribed);
        scenarios.put("log_dirs_described", this::logDirsDescribed);
        scenarios.put("features_and_quorum_described", this::featuresAndQuorumDescribed);
        scenarios.put("producers_described", this::producersDescribed);
        scenarios.put("leaders_elected", this::leadersElected);
        scenarios.put("offsets_listed_by_every_spec", this::offsetsListedByEverySpec);
        scenarios.put("reassignments_listed", this::reassignmentsListed);
    }

    public static void main(String[] arguments) throws Exception {
        ClientScenarios all = new ClientScenarios(arguments[0]);
        Set<String> wanted = new HashSet<>(Arrays.asList(arguments).subList(1, arguments.length));
        System.err.println("kafka-clients " + AppInfoParser.getVersion());
        ExecutorService pool = Executors.newFixedThreadPool(THREADS);
        for (Map.Entry<String, Scenario> entry : all.scenarios.entrySet()) {
            if (wanted.isEmpty() || wanted.contains(entry.getKey())) {
                pool.submit(() -> report(entry.getKey(), entry.getValue()));
            }
        }
        pool.shutdown();
        pool.awaitTermination(10, TimeUnit.MINUTES);
        all.admin.close();
        System.exit(0);
    }

    private static void report(String name, Scenario scenario) {
        long began = System.nanoTime();
        String error = null;
        try {
            scenario.run();
        } catch (Throwable thrown) {
            StackTraceElement[] frames = thrown.getStackTrace();
            String at = Arrays.stream(frames).filter(f -> f.getClassName().startsWith("ClientScenarios")).findFirst()
                .map(f -> " (line " + f.getLineNumber() + ")").orElse("");
            error = thrown + at;
        }
        long ms = (System.nanoTime() - began) / 1_000_000;
        String line = "{\"scenario\": \"" + name + "\", \"ok\": " + (error == null) + ", \"ms\": " + ms + ", \"error\": " + quoted(error) + "}";
        synchronized (System.out) {
            System.out.println(line);
            System.out.flush();
        }
    }

    private static String quoted(String text) {
        if (text == null) {
            return "null";
        }
        StringBuilder out = new StringBuilder("\"");
        for (char c : text.toCharArray()) {
            if (c == '"' || c == '\\') {
                out.append('\\').append(c);
            } else if (c < 0x20) {
                out.append(String.format("\\u%04x", (int) c));
            } else {
                out.append(c);
            }
        }
        return out.append('"').toString();
    }

    // ---- producing

    private void everyAcks() throws Exception {
        String topic = topic(1);
        for (String acks : List.of("0", "1", "all")) {
            try (KafkaProducer<byte[], byte[]> producer = producer("acks", acks, "enable.idempotence", "false")) {
                RecordMetadata sent = producer.send(new ProducerRecord<>(topic, bytes("acks=" + acks))).get();
                same(acks.equals("0"), !sent.hasOffset(), "an offset is known unless acks=0");
            }
        }
        same(List.of("acks=0", "acks=1", "acks=all"), values(read(topic, 3)), "values");
    }

    private void everyCodec() throws Exception {
        for (String codec : List.of("none", "gzip", "snappy", "lz4", "zstd")) {
            String topic = topic(1);
            List<String> sent = new ArrayList<>();
            try (KafkaProducer<byte[], byte[]> producer = producer("compression.type", codec, "linger.ms", "50")) {
                for (int i = 0; i < 200; i++) {
                    sent.add(codec + "-" + i + "-" + "x".repeat(i));
                    producer.send(new ProducerRecord<>(topic, bytes(sent.get(i))));
                }
            }
            same(sent, values(read(topic, 200)), codec);
        }
    }

    private void keysHeadersAndTimestamps() throws Exception {
        String topic = topic(1);
        try (KafkaProducer<byte[], byte[]> producer = producer()) {
            ProducerRecord<byte[], byte[]> record = new ProducerRecord<>(topic, 0, 1_600_000_000_123L, bytes("key"), bytes("value"));
            record.headers().add("a", bytes("1")).add("a", bytes("2")).add("empty", new byte[0]).add("null", null);
            RecordMetadata sent = producer.send(record).get();
            same(1_600_000_000_123L, sent.timestamp(), "the producer's timestamp");
            producer.send(new ProducerRecord<byte[], byte[]>(topic, null)).get();
        }
        List<ConsumerRecord<byte[], byte[]>> got = read(topic, 2);
        ConsumerRecord<byte[], byte[]> first = got.get(0);
        same("key", text(first.key()), "key");
        same(1_600_000_000_123L, first.timestamp(), "timestamp");
        List<String> headers = new ArrayList<>();
        for (Header header : first.headers()) {
            headers.add(header.key() + "=" + text(header.value()));
        }
        same(List.of("a=1", "a=2", "empty=", "null=null"), headers, "headers");
        same(Optional.of(0), first.leaderEpoch(), "leader epoch of a new partition");
        same(null, got.get(1).key(), "null key");
        same(null, got.get(1).value(), "null value");

        String appended = topic(1, "message.timestamp.type", "LogAppendTime");
        long before = System.currentTimeMillis();
        try (KafkaProducer<byte[], byte[]> producer = producer("compression.type", "lz4")) {
            RecordMetadata sent = producer.send(new ProducerRecord<>(appended, 0, 5L, null, bytes("v"))).get();
            check(sent.timestamp() >= before - 1000, "the broker's time, not " + sent.timestamp());
        }
        check(read(appended, 1).get(0).timestamp() >= before - 1000, "the broker's time is read back");
    }

    private void idempotentProducerKeepsOrder() throws Exception {
        String topic = topic(3);
        int count = 3000;
        try (KafkaProducer<byte[], byte[]> producer = producer("enable.idempotence", "true", "batch.size", "600", "linger.ms", "1")) {
            List<Future<RecordMetadata>> sent = new ArrayList<>();
            for (int i = 0; i < count; i++) {
                sent.add(producer.send(new ProducerRecord<>(topic, i % 3, null, bytes(Integer.toString(i)))));
            }
            for (int i = 0; i < count; i++) {
                same((long) (i / 3), sent.get(i).get().offset(), "offset of record " + i);
            }
        }
        for (ConsumerRecord<byte[], byte[]> record : read(topic, count)) {
            same(Long.toString(record.offset() * 3 + record.partition()), text(record.value()), "record at its place");
        }
    }

    private void tooLargeARecord() throws Exception {
        String topic = topic(1, "max.message.bytes", "1000");
        try (KafkaProducer<byte[], byte[]> producer = producer()) {
            fails(RecordTooLargeException.class, producer.send(new ProducerRecord<>(topic, new byte[2000])));
            producer.send(new ProducerRecord<>(topic, new byte[500])).get();
        }
    }

    private void topicMadeByFirstUse() throws Exception {
        String topic = name("auto");
        try (KafkaProducer<byte[], byte[]> producer = producer()) {
            same(0L, producer.send(new ProducerRecord<>(topic, bytes("first"))).get().offset(), "first offset");
        }
        String missing = name("missing");
        try (Consumer<byte[], byte[]> consumer = consumer("allow.auto.create.topics", "false")) {
            same(null, consumer.listTopics().get(missing), "a missing topic");
            consumer.partitionsFor(topic);
        }
        check(!admin.listTopics().names().get().contains(missing), "not made by asking");
    }

    // ---- consuming

    private void assignAndSeek() throws Exception {
        String topic = filled(2, 100);
        TopicPartition zero = new TopicPartition(topic, 0);
        TopicPartition one = new TopicPartition(topic, 1);
        try (Consumer<byte[], byte[]> consumer = consumer("max.poll.records", "10")) {
            consumer.assign(List.of(zero, one));
            same(Map.of(zero, 0L, one, 0L), consumer.beginningOffsets(List.of(zero, one)), "beginning");
            same(Map.of(zero, 50L, one, 50L), consumer.endOffsets(List.of(zero, one)), "end");
            consumer.seek(zero, 40);
            consumer.seek(one, new OffsetAndMetadata(45, Optional.of(0), ""));
            Map<TopicPartition, Long> first = new HashMap<>();
            int[] count = {0};
            until("15 records from the sought offsets", () -> {
                for (ConsumerRecord<byte[], byte[]> record : consumer.poll(POLL)) {
                    first.putIfAbsent(new TopicPartition(record.topic(), record.partition()), record.offset());
                    count[0]++;
                }
                return count[0] == 15;
            });
            same(Map.of(zero, 40L, one, 45L), first, "first offsets");
            consumer.seekToBeginning(List.of(zero));
            consumer.seekToEnd(List.of(one));
            same(0L, consumer.position(zero), "position at the beginning");
            same(50L, consumer.position(one), "position at the end");
            same(2, consumer.partitionsFor(topic).size(), "partitions");
        }
    }

    private void offsetOutOfRange() throws Exception {
        String topic = filled(1, 10);
        TopicPartition partition = new TopicPartition(topic, 0);
        try (Consumer<byte[], byte[]> consumer = consumer("auto.offset.reset", "none")) {
            consumer.assign(List.of(partition));
            consumer.seek(partition, 1000);
            until("an error for an offset out of range", () -> {
                try {
                    consumer.poll(POLL);
                    return false;
                } catch (org.apache.kafka.clients.consumer.OffsetOutOfRangeException expected) {
                    same(Map.of(partition, 1000L), expected.offsetOutOfRangePartitions(), "what is out of range");
                    return true;
                }
            });
        }
        try (Consumer<byte[], byte[]> consumer = consumer("auto.offset.reset", "earliest")) {
            consumer.assign(List.of(partition));
            consumer.seek(partition, 1000);
            until("a reset to the earliest offset", () -> {
                consumer.poll(POLL);
                return consumer.position(partition) == 10;
            });
        }
    }

    private void offsetsForTimes() throws Exception {
        String topic = topic(1);
        TopicPartition partition = new TopicPartition(topic, 0);
        long base = 1_700_000_000_000L;
        try (KafkaProducer<byte[], byte[]> producer = producer()) {
            for (int i = 0; i < 10; i++) {
                producer.send(new ProducerRecord<>(topic, 0, base + i * 1000, null, bytes("v" + i))).get();
            }
        }
        try (Consumer<byte[], byte[]> consumer = consumer()) {
            Map<TopicPartition, OffsetAndTimestamp> found = consumer.offsetsForTimes(Map.of(partition, base + 2500));
            same(3L, found.get(partition).offset(), "the first record not older");
            same(base + 3000, found.get(partition).timestamp(), "its timestamp");
            same(null, consumer.offsetsForTimes(Map.of(partition, base + 100_000)).get(partition), "no such record");
        }
    }

    private void largeRecordsInSmallFetches() throws Exception {
        String topic = topic(2);
        try (KafkaProducer<byte[], byte[]> producer = producer("batch.size", "1")) {
            for (int i = 0; i < 20; i++) {
                producer.send(new ProducerRecord<>(topic, i % 2, null, new byte[20_000 + i]));
            }
        }
        int[] count = {0};
        try (Consumer<byte[], byte[]> consumer = consumer("fetch.max.bytes", "1000", "max.partition.fetch.bytes", "1000", "fetch.min.bytes", "100000")) {
            consumer.assign(List.of(new TopicPartition(topic, 0), new TopicPartition(topic, 1)));
            consumer.seekToBeginning(consumer.assignment());
            until("all records, a batch at a time", () -> (count[0] += consumer.poll(POLL).count()) == 20);
        }
    }

    private void pauseAndResume() throws Exception {
        String topic = filled(2, 20);
        TopicPartition zero = new TopicPartition(topic, 0);
        try (Consumer<byte[], byte[]> consumer = consumer()) {
            consumer.assign(List.of(zero, new TopicPartition(topic, 1)));
            consumer.seekToBeginning(consumer.assignment());
            consumer.pause(List.of(zero));
            Set<Integer> seen = new TreeSet<>();
            int[] count = {0};
            until("the other partition's records", () -> {
                consumer.poll(POLL).forEach(r -> seen.add(r.partition()));
                return consumer.position(new TopicPartition(topic, 1)) == 10;
            });
            same(Set.of(1), seen, "nothing of the paused one");
            consumer.resume(List.of(zero));
            until("the resumed partition's records", () -> (count[0] += consumer.poll(POLL).count()) == 10);
        }
    }

    private void commitAndLag() throws Exception {
        String topic = filled(1, 100);
        String group = name("group");
        TopicPartition partition = new TopicPartition(topic, 0);
        try (Consumer<byte[], byte[]> consumer = consumer("group.id", group, "max.poll.records", "30")) {
            consumer.assign(List.of(partition));
            consumer.seekToBeginning(consumer.assignment());
            until("records", () -> consumer.poll(POLL).count() == 30);
            consumer.commitSync();
            same(30L, consumer.committed(Set.of(partition)).get(partition).offset(), "committed");
            same(70L, consumer.currentLag(partition).orElse(-1), "lag");
            consumer.commitSync(Map.of(partition, new OffsetAndMetadata(42, Optional.of(0), "note \u00e9")));
            OffsetAndMetadata committed = consumer.committed(Set.of(partition)).get(partition);
            same(42L, committed.offset(), "committed");
            same("note \u00e9", committed.metadata(), "metadata");
            same(Optional.of(0), committed.leaderEpoch(), "leader epoch");
        }
        try (Consumer<byte[], byte[]> consumer = consumer("group.id", group)) {
            consumer.assign(List.of(partition));
            same(42L, consumer.position(partition), "the next consumer starts where the last one committed");
        }
    }

    private void groupOfTwoRebalances(String assignor) throws Exception {
        String topic = filled(4, 400);
        String group = name("group");
        String[] member = {"group.id", group, "partition.assignment.strategy", assignor};
        Set<String> seen = new HashSet<>();
        try (Consumer<byte[], byte[]> first = consumer(member)) {
            first.subscribe(List.of(topic));
            until("all partitions for the only member", () -> {
                read(seen, first);
                return first.assignment().size() == 4;
            });
            try (Consumer<byte[], byte[]> second = consumer(member)) {
                second.subscribe(List.of(topic));
                until("half of the partitions for each", () -> {
                    read(seen, first);
                    read(seen, second);
                    return first.assignment().size() == 2 && second.assignment().size() == 2;
                });
                Set<TopicPartition> both = new HashSet<>(first.assignment());
                both.addAll(second.assignment());
                same(4, both.size(), "no partition has two owners");
                until("every record read", () -> {
                    read(seen, first);
                    read(seen, second);
                    return seen.size() == 400;
                });
            }
            until("all partitions again when the other has left", () -> {
                read(seen, first);
                return first.assignment().size() == 4;
            });
            TopicPartition partition = first.assignment().iterator().next();
            first.seekToEnd(first.assignment());
            same(100L, first.position(partition), "position");
            first.commitSync();
        }
        Map<TopicPartition, OffsetAndMetadata> committed = admin.listConsumerGroupOffsets(group).partitionsToOffsetAndMetadata().get();
        same(400L, committed.values().stream().mapToLong(OffsetAndMetadata::offset).sum(), "committed to the end");
    }

    private static void read(Set<String> seen, Consumer<byte[], byte[]> consumer) {
        consumer.poll(Duration.ofMillis(50)).forEach(r -> seen.add(r.partition() + "/" + r.offset()));
    }

    private void staticMemberComesBack() throws Exception {
        String topic = filled(2, 20);
        String group = name("group");
        String[] member = {"group.id", group, "group.instance.id", "instance-1", "session.timeout.ms", "30000"};
        String memberId;
        int generation;
        try (Consumer<byte[], byte[]> consumer = consumer(member)) {
            consumer.subscribe(List.of(topic));
            until("an assignment", () -> {
                consumer.poll(POLL);
                return consumer.assignment().size() == 2;
            });
            memberId = consumer.groupMetadata().memberId();
            generation = consumer.groupMetadata().generationId();
        }
        ConsumerGroupDescription left = describeGroup(group);
        same(1, left.members().size(), "a static member stays when its client has gone");
        same(Optional.of("instance-1"), left.members().iterator().next().groupInstanceId(), "instance");
        try (Consumer<byte[], byte[]> consumer = consumer(member)) {
            consumer.subscribe(List.of(topic));
            until("the assignment again", () -> {
                consumer.poll(POLL);
                return consumer.assignment().size() == 2;
            });
            same(generation, consumer.groupMetadata().generationId(), "no rebalance");
            check(!memberId.equals(consumer.groupMetadata().memberId()), "a new member id");
        }
        admin.removeMembersFromConsumerGroup(group, new RemoveMembersFromConsumerGroupOptions(List.of(new MemberToRemove("instance-1")))).all().get();
        same(0, describeGroup(group).members().size(), "removed");
    }

    private void patternSubscription() throws Exception {
        String prefix = name("pattern");
        create(new NewTopic(prefix + "-a", 1, (short) 1));
        try (Consumer<byte[], byte[]> consumer = consumer("group.id", name("group"), "metadata.max.age.ms", "500")) {
            consumer.subscribe(Pattern.compile(prefix + "-.*"), new ConsumerRebalanceListener() {
                @Override
                public void onPartitionsRevoked(Collection<TopicPartition> partitions) { }

                @Override
                public void onPartitionsAssigned(Collection<TopicPartition> partitions) { }
            });
            until("the matching topic", () -> {
                consumer.poll(POLL);
                return consumer.assignment().size() == 1;
            });
            create(new NewTopic(prefix + "-b", 2, (short) 1));
            until("the new topic too", () -> {
                consumer.poll(POLL);
                return consumer.assignment().size() == 3;
            });
        }
    }

    // ---- topics and configurations

    private void topicsCreatedDescribedDeleted() throws Exception {
        String topic = name("topic");
        CreateTopicsResult made = admin.createTopics(List.of(new NewTopic(topic, 3, (short) 1).configs(Map.of("retention.ms", "12345"))));
        made.all().get();
        same(3, made.numPartitions(topic).get(), "partitions");
        same(1, made.replicationFactor(topic).get(), "replication factor");
        same("12345", made.config(topic).get().get("retention.ms").value(), "config of the answer");
        Uuid id = made.topicId(topic).get();
        check(admin.listTopics().names().get().contains(topic), "listed");
        TopicDescription described = admin.describeTopics(List.of(topic)).allTopicNames().get().get(topic);
        same(id, described.topicId(), "topic id");
        same(3, described.partitions().size(), "partitions");
        check(described.partitions().stream().allMatch(p -> p.leader() != null && p.isr().size() == 1 && p.replicas().size() == 1), "leaders and replicas");
        same(topic, admin.describeTopics(TopicCollection.ofTopicIds(List.of(id))).allTopicIds().get().get(id).name(), "described by id");
        admin.deleteTopics(TopicCollection.ofTopicIds(List.of(id))).all().get();
        until("the topic gone", () -> !admin.listTopics().names().get().contains(topic));
        fails(UnknownTopicOrPartitionException.class, admin.deleteTopics(List.of(topic)).all());

        String placed = name("topic");
        int broker = admin.describeCluster().nodes().get().iterator().next().id();
        create(new NewTopic(placed, Map.of(0, List.of(broker), 1, List.of(broker))));
        same(2, describe(placed).partitions().size(), "partitions of a manual assignment");
        String byDefault = name("topic");
        create(new NewTopic(byDefault, Optional.empty(), Optional.empty()));
        check(!describe(byDefault).partitions().isEmpty(), "the broker's default number of partitions");
        admin.deleteTopics(List.of(placed, byDefault)).all().get();
    }

    private void topicErrors() throws Exception {
        String topic = topic(2);
        fails(TopicExistsException.class, admin.createTopics(List.of(new NewTopic(topic, 1, (short) 1))).all());
        fails(InvalidReplicationFactorException.class, admin.createTopics(List.of(new NewTopic(name("x"), 1, (short) 3))).all());
        fails(InvalidPartitionsException.class, admin.createTopics(List.of(new NewTopic(name("x"), 0, (short) 1))).all());
        fails(InvalidTopicException.class, admin.createTopics(List.of(new NewTopic("no spaces", 1, (short) 1))).all());
        fails(InvalidConfigurationException.class,
            admin.createTopics(List.of(new NewTopic(name("x"), 1, (short) 1).configs(Map.of("retention.ms", "soon")))).all());
        fails(UnknownTopicOrPartitionException.class, admin.describeTopics(List.of(name("x"))).allTopicNames());
        fails(InvalidPartitionsException.class, admin.createPartitions(Map.of(topic, NewPartitions.increaseTo(1))).all());
        String checked = name("x");
        admin.createTopics(List.of(new NewTopic(checked, 1, (short) 1)),
            new org.apache.kafka.clients.admin.CreateTopicsOptions().validateOnly(true)).all().get();
        check(!admin.listTopics().names().get().contains(checked), "only validated");
    }

    private void partitionsAdded() throws Exception {
        String topic = topic(1);
        admin.createPartitions(Map.of(topic, NewPartitions.increaseTo(4))).all().get();
        until("four partitions", () -> describe(topic).partitions().size() == 4);
        try (KafkaProducer<byte[], byte[]> producer = producer()) {
            same(0L, producer.send(new ProducerRecord<>(topic, 3, null, bytes("v"))).get().offset(), "offset in the new partition");
        }
    }

    private void topicConfigsAltered() throws Exception {
        String topic = topic(1, "retention.ms", "1000000");
        ConfigResource resource = new ConfigResource(ConfigResource.Type.TOPIC, topic);
        ConfigEntry entry = config(resource).get("retention.ms");
        same("1000000", entry.value(), "value");
        same(ConfigEntry.ConfigSource.DYNAMIC_TOPIC_CONFIG, entry.source(), "source");
        same(ConfigEntry.ConfigSource.DEFAULT_CONFIG, config(resource).get("segment.bytes").source(), "source of a default");
        alter(resource, op("retention.ms", "7000", AlterConfigOp.OpType.SET), op("cleanup.policy", "compact", AlterConfigOp.OpType.APPEND));
        until("the altered values", () -> config(resource).get("retention.ms").value().equals("7000"));
        same("delete,compact", config(resource).get("cleanup.policy").value(), "appended");
        alter(resource, op("retention.ms", null, AlterConfigOp.OpType.DELETE), op("cleanup.policy", "delete", AlterConfigOp.OpType.SUBTRACT));
        until("the default again", () -> config(resource).get("retention.ms").value().equals("604800000"));
        same("compact", config(resource).get("cleanup.policy").value(), "subtracted");
        fails(InvalidConfigurationException.class,
            admin.incrementalAlterConfigs(Map.of(resource, List.of(op("retention.ms", "soon", AlterConfigOp.OpType.SET)))).all());
        ConfigResource missing = new ConfigResource(ConfigResource.Type.TOPIC, name("x"));
        fails(UnknownTopicOrPartitionException.class,
            admin.incrementalAlterConfigs(Map.of(missing, List.of(op("retention.ms", "1", AlterConfigOp.OpType.SET)))).all());
        Config documented = admin.describeConfigs(List.of(resource), new DescribeConfigsOptions().includeSynonyms(true).includeDocumentation(true))
            .all().get().get(resource);
        check(!documented.get("cleanup.policy").documentation().isEmpty(), "documentation");
        check(!documented.get("cleanup.policy").synonyms().isEmpty(), "synonyms");
        same(ConfigEntry.ConfigType.LIST, documented.get("cleanup.policy").type(), "type");
    }

    private void brokerConfigsAltered() throws Exception {
        int broker = admin.describeCluster().nodes().get().iterator().next().id();
        ConfigResource one = new ConfigResource(ConfigResource.Type.BROKER, Integer.toString(broker));
        ConfigResource every = new ConfigResource(ConfigResource.Type.BROKER, "");
        check(config(one).get("node.id").isReadOnly(), "node.id is read-only");
        check(!config(one).get("log.cleaner.backoff.ms").isReadOnly(), "a dynamic key is not");
        alter(every, op("log.cleaner.backoff.ms", "14000", AlterConfigOp.OpType.SET));
        until("the cluster's value", () -> config(one).get("log.cleaner.backoff.ms").value().equals("14000"));
        same(ConfigEntry.ConfigSource.DYNAMIC_DEFAULT_BROKER_CONFIG, config(one).get("log.cleaner.backoff.ms").source(), "source");
        alter(one, op("log.cleaner.backoff.ms", "13000", AlterConfigOp.OpType.SET));
        until("the broker's own value", () -> config(one).get("log.cleaner.backoff.ms").value().equals("13000"));
        same(ConfigEntry.ConfigSource.DYNAMIC_BROKER_CONFIG, config(one).get("log.cleaner.backoff.ms").source(), "source");
        alter(one, op("log.cleaner.backoff.ms", null, AlterConfigOp.OpType.DELETE));
        alter(every, op("log.cleaner.backoff.ms", null, AlterConfigOp.OpType.DELETE));
        until("the default again", () -> config(one).get("log.cleaner.backoff.ms").value().equals("15000"));
    }

    // ---- groups

    private void groupsListedDescribedDeleted() throws Exception {
        String topic = filled(2, 20);
        String group = name("group");
        try (Consumer<byte[], byte[]> consumer = consumer("group.id", group, "client.id", "reader")) {
            consumer.subscribe(List.of(topic));
            until("an assignment", () -> {
                consumer.poll(POLL);
                return consumer.assignment().size() == 2;
            });
            ConsumerGroupDescription described = describeGroup(group);
            same("Stable", described.state().toString(), "state");
            same("range", described.partitionAssignor(), "assignor");
            same(1, described.members().size(), "members");
            described.members().forEach(m -> {
                same("reader", m.clientId(), "client id");
                same(2, m.assignment().topicPartitions().size(), "assignment");
                check(m.host().startsWith("/"), "host " + m.host());
            });
            check(described.coordinator() != null, "coordinator");
            check(admin.listConsumerGroups().all().get().stream().anyMatch(g -> g.groupId().equals(group)), "listed");
            consumer.commitSync();
            fails(GroupNotEmptyException.class, admin.deleteConsumerGroups(List.of(group)).all());
        }
        until("an empty group", () -> describeGroup(group).state().toString().equals("Empty"));
        admin.deleteConsumerGroups(List.of(group)).all().get();
        fails(GroupIdNotFoundException.class, admin.deleteConsumerGroups(List.of(group)).all());
        check(admin.listConsumerGroups().all().get().stream().noneMatch(g -> g.groupId().equals(group)), "gone");
    }

    private void groupOffsetsAltered() throws Exception {
        String topic = filled(2, 20);
        String group = name("group");
        TopicPartition zero = new TopicPartition(topic, 0);
        TopicPartition one = new TopicPartition(topic, 1);
        admin.alterConsumerGroupOffsets(group, Map.of(zero, new OffsetAndMetadata(4), one, new OffsetAndMetadata(7, "seven"))).all().get();
        Map<TopicPartition, OffsetAndMetadata> listed = admin.listConsumerGroupOffsets(group).partitionsToOffsetAndMetadata().get();
        same(4L, listed.get(zero).offset(), "offset");
        same("seven", listed.get(one).metadata(), "metadata");
        Map<TopicPartition, OffsetAndMetadata> some = admin.listConsumerGroupOffsets(
            Map.of(group, new ListConsumerGroupOffsetsSpec().topicPartitions(List.of(one)))).partitionsToOffsetAndMetadata(group).get();
        same(Set.of(one), some.keySet(), "those asked for");
        admin.deleteConsumerGroupOffsets(group, Set.of(zero)).all().get();
        same(Set.of(one), admin.listConsumerGroupOffsets(group).partitionsToOffsetAndMetadata().get().keySet(), "what is left");
        try (Consumer<byte[], byte[]> consumer = consumer("group.id", group)) {
            consumer.subscribe(List.of(topic));
            until("an assignment", () -> {
                consumer.poll(POLL);
                return !consumer.assignment().isEmpty();
            });
            fails(UnknownMemberIdException.class, admin.alterConsumerGroupOffsets(group, Map.of(zero, new OffsetAndMetadata(1))).all());
        }
        admin.deleteConsumerGroups(List.of(group)).all().get();
    }

    private void groupMembersRemoved() throws Exception {
        String topic = topic(1);
        String group = name("group");
        try (Consumer<byte[], byte[]> consumer = consumer("group.id", group)) {
            consumer.subscribe(List.of(topic));
            until("an assignment", () -> {
                consumer.poll(POLL);
                return !consumer.assignment().isEmpty();
            });
            admin.removeMembersFromConsumerGroup(group, new RemoveMembersFromConsumerGroupOptions()).all().get();
            same(0, describeGroup(group).members().size(), "members");
        }
    }

    // ---- records, directories, cluster

    private void recordsDeleted() throws Exception {
        String topic = filled(1, 10);
        TopicPartition partition = new TopicPartition(topic, 0);
        same(4L, admin.deleteRecords(Map.of(partition, RecordsToDelete.beforeOffset(4))).lowWatermarks().get(partition).get().lowWatermark(), "low watermark");
        try (Consumer<byte[], byte[]> consumer = consumer()) {
            same(4L, consumer.beginningOffsets(List.of(partition)).get(partition), "beginning");
        }
        fails(OffsetOutOfRangeException.class, admin.deleteRecords(Map.of(partition, RecordsToDelete.beforeOffset(100))).all());
        same(10L, admin.deleteRecords(Map.of(partition, RecordsToDelete.beforeOffset(-1))).lowWatermarks().get(partition).get().lowWatermark(), "all");
    }

    private void clusterDescribed() throws Exception {
        DescribeClusterResult cluster = admin.describeCluster(
            new org.apache.kafka.clients.admin.DescribeClusterOptions().includeAuthorizedOperations(true));
        check(!cluster.clusterId().get().isEmpty(), "cluster id");
        Collection<Node> nodes = cluster.nodes().get();
        check(nodes.stream().anyMatch(n -> bootstrap.endsWith(":" + n.port())), "the node we talk to");
        check(nodes.contains(cluster.controller().get()), "the controller as clients see it");
        Set<AclOperation> allowed = cluster.authorizedOperations().get();
        check(allowed == null || allowed.contains(AclOperation.CREATE), "authorized operations " + allowed);
    }

    private void logDirsDescribed() throws Exception {
        String topic = filled(1, 10);
        int broker = admin.describeCluster().nodes().get().iterator().next().id();
        Map<String, LogDirDescription> folders = admin.describeLogDirs(List.of(broker)).allDescriptions().get().get(broker);
        LogDirDescription holder = folders.values().stream()
            .filter(d -> d.replicaInfos().containsKey(new TopicPartition(topic, 0))).findFirst().orElseThrow();
        same(null, holder.error(), "error");
        check(holder.replicaInfos().get(new TopicPartition(topic, 0)).size() > 0, "size");
        check(holder.totalBytes().orElse(0) > 0 && holder.usableBytes().orElse(0) > 0, "volume sizes");
        TopicPartitionReplica replica = new TopicPartitionReplica(topic, 0, broker);
        check(folders.containsKey(admin.describeReplicaLogDirs(List.of(replica)).all().get().get(replica).getCurrentReplicaLogDir()), "replica's directory");
    }

    private void featuresAndQuorumDescribed() throws Exception {
        FeatureMetadata features = admin.describeFeatures().featureMetadata().get();
        check(features.supportedFeatures().containsKey("metadata.version"), "supported " + features.supportedFeatures());
        check(features.finalizedFeatures().containsKey("metadata.version"), "finalized " + features.finalizedFeatures());
        check(features.finalizedFeaturesEpoch().isPresent(), "epoch");
        var quorum = admin.describeMetadataQuorum().quorumInfo().get();
        same(1, quorum.voters().size(), "voters");
        same(quorum.leaderId(), quorum.voters().get(0).replicaId(), "leader");
        check(quorum.highWatermark() > 0 && quorum.leaderEpoch() > 0, "high watermark and epoch");
    }

    private void producersDescribed() throws Exception {
        String topic = topic(1);
        TopicPartition partition = new TopicPartition(topic, 0);
        try (KafkaProducer<byte[], byte[]> producer = producer("enable.idempotence", "true")) {
            for (int i = 0; i < 3; i++) {
                producer.send(new ProducerRecord<>(topic, 0, null, bytes("v" + i))).get();
            }
            List<ProducerState> active = admin.describeProducers(List.of(partition)).partitionResult(partition).get().activeProducers();
            same(1, active.size(), "producers");
            same(2, active.get(0).lastSequence(), "last sequence");
            same(0, active.get(0).producerEpoch(), "epoch");
            check(active.get(0).currentTransactionStartOffset().isEmpty(), "no transaction");
        }
    }

    private void leadersElected() throws Exception {
        TopicPartition partition = new TopicPartition(topic(1), 0);
        Map<TopicPartition, Optional<Throwable>> outcome = admin.electLeaders(ElectionType.PREFERRED, Set.of(partition)).partitions().get();
        check(outcome.get(partition).orElseThrow() instanceof ElectionNotNeededException, "not needed: " + outcome);
        TopicPartition missing = new TopicPartition(name("x"), 0);
        outcome = admin.electLeaders(ElectionType.PREFERRED, Set.of(missing)).partitions().get();
        check(outcome.get(missing).orElseThrow() instanceof UnknownTopicOrPartitionException, "unknown: " + outcome);
    }

    private void offsetsListedByEverySpec() throws Exception {
        String topic = topic(1);
        TopicPartition partition = new TopicPartition(topic, 0);
        same(-1L, offset(partition, OffsetSpec.maxTimestamp()).offset(), "max timestamp of nothing");
        try (KafkaProducer<byte[], byte[]> producer = producer()) {
            for (long timestamp : new long[] {1_000_000, 3_000_000, 2_000_000}) {
                producer.send(new ProducerRecord<>(topic, 0, timestamp, null, bytes("v"))).get();
            }
        }
        same(0L, offset(partition, OffsetSpec.earliest()).offset(), "earliest");
        same(3L, offset(partition, OffsetSpec.latest()).offset(), "latest");
        same(1L, offset(partition, OffsetSpec.maxTimestamp()).offset(), "max timestamp");
        same(3_000_000L, offset(partition, OffsetSpec.maxTimestamp()).timestamp(), "its timestamp");
        same(1L, offset(partition, OffsetSpec.forTimestamp(1_500_000)).offset(), "by timestamp");
        same(-1L, offset(partition, OffsetSpec.forTimestamp(9_000_000)).offset(), "after the last");
        same(0L, offset(partition, OffsetSpec.earliestLocal()).offset(), "earliest local");
        same(-1L, offset(partition, OffsetSpec.latestTiered()).offset(), "latest tiered");
    }

    private void reassignmentsListed() throws Exception {
        String topic = topic(1);
        check(admin.listPartitionReassignments().reassignments().get().isEmpty(), "none under way");
        check(admin.listPartitionReassignments(Set.of(new TopicPartition(topic, 0))).reassignments().get().isEmpty(), "none of this partition");
    }

    // ---- helpers

    private String name(String kind) {
        return kind + "-" + run + "-" + names.incrementAndGet();
    }

    private Properties common(String... pairs) {
        Properties properties = new Properties();
        properties.put("bootstrap.servers", bootstrap);
        for (int i = 0; i < pairs.length; i += 2) {
            properties.put(pairs[i], pairs[i + 1]);
        }
        return properties;
    }

    private KafkaProducer<byte[], byte[]> producer(String... pairs) {
        return new KafkaProducer<>(common(pairs), new ByteArraySerializer(), new ByteArraySerializer());
    }

    private Consumer<byte[], byte[]> consumer(String... pairs) {
        Properties properties = common("auto.offset.reset", "earliest", "enable.auto.commit", "false", "heartbeat.interval.ms", "300");
        properties.putAll(common(pairs));
        return new KafkaConsumer<>(properties, new ByteArrayDeserializer(), new ByteArrayDeserializer());
    }

    private void create(NewTopic topic) throws Exception {
        admin.createTopics(List.of(topic)).all().get();
    }

    private String topic(int partitions, String... configs) throws Exception {
        String name = name("topic");
        Map<String, String> map = new HashMap<>();
        for (int i = 0; i < configs.length; i += 2) {
            map.put(configs[i], configs[i + 1]);
        }
        create(new NewTopic(name, partitions, (short) 1).configs(map));
        return name;
    }

    /** A topic with `count` records, dealt out evenly. */
    private String filled(int partitions, int count) throws Exception {
        String topic = topic(partitions);
        try (KafkaProducer<byte[], byte[]> producer = producer()) {
            for (int i = 0; i < count; i++) {
                producer.send(new ProducerRecord<>(topic, i % partitions, null, bytes("value-" + i)));
            }
        }
        return topic;
    }

    private List<ConsumerRecord<byte[], byte[]>> read(String topic, int count) throws Exception {
        List<ConsumerRecord<byte[], byte[]>> records = new ArrayList<>();
        try (Consumer<byte[], byte[]> consumer = consumer()) {
            List<TopicPartition> partitions = new ArrayList<>();
            consumer.partitionsFor(topic).forEach(p -> partitions.add(new TopicPartition(topic, p.partition())));
            consumer.assign(partitions);
            consumer.seekToBeginning(partitions);
            until(count + " records of " + topic, () -> {
                consumer.poll(POLL).forEach(records::add);
                return records.size() >= count;
            });
        }
        same(count, records.size(), "records");
        return records;
    }

    private TopicDescription describe(String topic) throws Exception {
        return admin.describeTopics(List.of(topic)).allTopicNames().get().get(topic);
    }

    private ConsumerGroupDescription describeGroup(String group) throws Exception {
        return admin.describeConsumerGroups(List.of(group)).all().get().get(group);
    }

    private Config config(ConfigResource resource) throws Exception {
        return admin.describeConfigs(List.of(resource)).all().get().get(resource);
    }

    private static AlterConfigOp op(String name, String value, AlterConfigOp.OpType type) {
        return new AlterConfigOp(new ConfigEntry(name, value), type);
    }

    private void alter(ConfigResource resource, AlterConfigOp... operations) throws Exception {
        admin.incrementalAlterConfigs(Collections.singletonMap(resource, Arrays.asList(operations))).all().get();
    }

    private ListOffsetsResultInfo offset(TopicPartition partition, OffsetSpec spec) throws Exception {
        return admin.listOffsets(Map.of(partition, spec)).partitionResult(partition).get();
    }

    private static List<String> values(List<ConsumerRecord<byte[], byte[]>> records) {
        List<String> values = new ArrayList<>();
        records.forEach(r -> values.add(text(r.value())));
        return values;
    }

    private static byte[] bytes(String text) {
        return text.getBytes(StandardCharsets.UTF_8);
    }

    private static String text(byte[] bytes) {
        return bytes == null ? null : new String(bytes, StandardCharsets.UTF_8);
    }

    private static void check(boolean holds, String what) {
        if (!holds) {
            throw new AssertionError(what);
        }
    }

    private static void same(Object expected, Object actual, String what) {
        if (expected == null ? actual != null : !expected.equals(actual)) {
            throw new AssertionError(what + ": expected " + expected + ", was " + actual);
        }
    }

    private static void fails(Class<? extends Exception> expected, Future<?> future) throws Exception {
        try {
            future.get();
        } catch (ExecutionException thrown) {
            check(expected.isInstance(thrown.getCause()), "expected " + expected.getSimpleName() + ", was " + thrown.getCause());
            return;
        }
        throw new AssertionError("expected " + expected.getSimpleName() + ", nothing was thrown");
    }

    private static void fails(Class<? extends Exception> expected, KafkaFuture<?> future) throws Exception {
        fails(expected, future.toCompletionStage().toCompletableFuture());
    }

    private interface Condition {
        boolean holds() throws Exception;
    }

    private static void until(String what, Condition condition) throws Exception {
        long end = System.currentTimeMillis() + PATIENCE_MS;
        while (!condition.holds()) {
            if (System.currentTimeMillis() > end) {
                throw new AssertionError("not within " + PATIENCE_MS + " ms: " + what);
            }
            Thread.sleep(10);
        }
    }
}
