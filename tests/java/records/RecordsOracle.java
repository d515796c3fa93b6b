import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.io.PrintStream;
import java.nio.ByteBuffer;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.HexFormat;
import java.util.List;
import java.util.Set;
import java.util.function.Supplier;
import java.util.stream.Collectors;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.compress.Compression;
import org.apache.kafka.common.errors.CorruptRecordException;
import org.apache.kafka.common.errors.RecordTooLargeException;
import org.apache.kafka.common.InvalidRecordException;
import org.apache.kafka.common.header.Header;
import org.apache.kafka.common.protocol.Errors;
import org.apache.kafka.common.record.TimestampType;
import org.apache.kafka.common.record.internal.CompressionType;
import org.apache.kafka.common.record.internal.MemoryRecords;
import org.apache.kafka.common.record.internal.MemoryRecordsBuilder;
import org.apache.kafka.common.record.internal.MutableRecordBatch;
import org.apache.kafka.common.record.internal.Record;
import org.apache.kafka.common.record.internal.RecordBatch;
import org.apache.kafka.common.requests.ProduceRequest;
import org.apache.kafka.common.utils.BufferSupplier;
import org.apache.kafka.common.utils.PrimitiveRef;
import org.apache.kafka.common.utils.Time;
import org.apache.kafka.storage.internals.log.AppendOrigin;
import org.apache.kafka.storage.internals.log.LogValidator;
import org.apache.kafka.storage.internals.log.RecordValidationException;

/**
 * Apache Kafka's own record classes behind a pipe, one question and one answer a line.
 *
 * <pre>
 *   judge COMPACTED CODEC APPEND_TIME BEFORE AFTER MAX_BYTES NOW HEX
 *                               ->  ok MAX_TIMESTAMP HEX       what the log would append at offset 0, leader epoch -1
 *                               ->  no CODE INDEXES EXCEPTION  the error code, and the records at fault ("-": none)
 *   read HEX                    ->  ok RECORDS                 offset,timestamp,key,value,header=value,... ; ...
 *   rewrite MAGIC CODEC HEX     ->  ok HEX                     the same records in a batch that Java builds
 *   retain OFFSETS EMPTY_TXN HORIZON HEX  ->  ok HEX           what compaction leaves, an empty batch if nothing else
 * </pre>
 */
public class RecordsOracle {
    private static final HexFormat HEX = HexFormat.of();

    public static void main(String[] arguments) throws Exception {
        BufferedReader in = new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8));
        PrintStream out = new PrintStream(System.out, false, StandardCharsets.UTF_8);
        for (String line = in.readLine(); line != null; line = in.readLine()) {
            String[] words = line.split(" ", -1);
            String answer;
            try {
                answer = switch (words[0]) {
                    case "judge" -> judge(words);
                    case "read" -> read(words[1]);
                    case "rewrite" -> rewrite(words);
                    case "retain" -> retain(words);
                    default -> throw new IllegalArgumentException(words[0]);
                };
            } catch (Throwable problem) {
                answer = refusal(problem);
            }
            out.println(answer.replace('\n', ' '));
            out.flush();
        }
    }

    private static String refusal(Throwable problem) {
        Throwable cause = problem;
        String faults = "-";
        if (problem instanceof RecordValidationException invalid) {
            cause = invalid.invalidException();
            faults = invalid.recordErrors().stream().map(e -> "" + e.batchIndex).collect(Collectors.joining(","));
        }
        return "no " + Errors.forException(cause).code() + " " + faults + " " + cause;
    }

    /** The checks of a produce request, then those of the log before and in its validator. */
    private static String judge(String[] words) throws Exception {
        int maxBytes = Integer.parseInt(words[6]);
        long now = Long.parseLong(words[7]);
        MemoryRecords records = MemoryRecords.readableRecords(ByteBuffer.wrap(HEX.parseHex(words[8])));
        ProduceRequest.validateRecords((short) 9, records);
        CompressionType source = CompressionType.NONE;
        int valid = 0;
        for (MutableRecordBatch batch : records.batches()) {
            if (batch.baseOffset() != 0)
                throw new InvalidRecordException("base offset " + batch.baseOffset());
            if (batch.sizeInBytes() > maxBytes)
                throw new RecordTooLargeException("size " + batch.sizeInBytes());
            if (!batch.isValid())
                throw new CorruptRecordException("checksum");
            source = batch.compressionType();
            valid += batch.sizeInBytes();
        }
        ByteBuffer whole = records.buffer();
        whole.limit(whole.position() + valid);
        Compression target = Compression.of(words[2].equals("producer") ? source.name : words[2]).build();
        LogValidator validator = new LogValidator(MemoryRecords.readableRecords(whole.slice()),
            new TopicPartition("t", 0), new StoppedTime(now), source, target, Boolean.parseBoolean(words[1]),
            RecordBatch.MAGIC_VALUE_V2,
            Boolean.parseBoolean(words[3]) ? TimestampType.LOG_APPEND_TIME : TimestampType.CREATE_TIME,
            Long.parseLong(words[4]), Long.parseLong(words[5]), -1, AppendOrigin.CLIENT);
        LogValidator.ValidationResult result = validator.validateMessagesAndAssignOffsets(
            PrimitiveRef.ofLong(0), new NoMetrics(), BufferSupplier.NO_CACHING);
        for (MutableRecordBatch batch : result.validatedRecords().batches())
            if (batch.sizeInBytes() > maxBytes)
                throw new RecordTooLargeException("size " + batch.sizeInBytes());
        return "ok " + result.maxTimestampMs() + " " + hex(result.validatedRecords().buffer());
    }

    private static String read(String hex) {
        MemoryRecords records = MemoryRecords.readableRecords(ByteBuffer.wrap(HEX.parseHex(hex)));
        List<String> found = new ArrayList<>();
        for (MutableRecordBatch batch : records.batches()) {
            batch.ensureValid();
            for (Record record : batch)
                found.add(text(record));
        }
        return "ok " + String.join(";", found);
    }

    private static String text(Record record) {
        List<String> fields = new ArrayList<>();
        fields.add("" + record.offset());
        fields.add("" + record.timestamp());
        fields.add(hex(record.key()));
        fields.add(hex(record.value()));
        for (Header header : record.headers())
            fields.add(HEX.formatHex(header.key().getBytes(StandardCharsets.UTF_8)) + "="
                + (header.value() == null ? "null" : HEX.formatHex(header.value())));
        return String.join(",", fields);
    }

    private static String rewrite(String[] words) {
        MemoryRecords records = MemoryRecords.readableRecords(ByteBuffer.wrap(HEX.parseHex(words[3])));
        MemoryRecordsBuilder builder = MemoryRecords.builder(ByteBuffer.allocate(1024), Byte.parseByte(words[1]),
            Compression.of(words[2]).build(), TimestampType.CREATE_TIME, 0L);
        for (Record record : records.records())
            builder.append(record);
        return "ok " + hex(builder.build().buffer());
    }

    private static String retain(String[] words) {
        Set<String> kept = Set.of(words[1].split(","));
        boolean marksEmptyTransaction = Boolean.parseBoolean(words[2]);
        MemoryRecords records = MemoryRecords.readableRecords(ByteBuffer.wrap(HEX.parseHex(words[4])));
        MemoryRecords.RecordFilter filter = new MemoryRecords.RecordFilter(Long.parseLong(words[3]), 0) {
            protected BatchRetentionResult checkBatchRetention(RecordBatch batch) {
                return new BatchRetentionResult(BatchRetention.RETAIN_EMPTY, marksEmptyTransaction);
            }
            protected boolean shouldRetainRecord(RecordBatch batch, Record record) {
                return kept.contains("" + record.offset());
            }
        };
        ByteBuffer left = records.filterTo(filter, ByteBuffer.allocate(1 << 20), BufferSupplier.NO_CACHING).outputBuffer();
        left.flip();
        return "ok " + hex(left);
    }

    private static String hex(ByteBuffer buffer) {
        if (buffer == null)
            return "null";
        byte[] bytes = new byte[buffer.remaining()];
        buffer.duplicate().get(bytes);
        return HEX.formatHex(bytes);
    }

    private record StoppedTime(long milliseconds) implements Time {
        public long nanoseconds() {
            return milliseconds * 1_000_000;
        }
        public void sleep(long ms) { }
        public void waitObject(Object object, Supplier<Boolean> condition, long deadlineMs) { }
    }

    private static class NoMetrics implements LogValidator.MetricsRecorder {
        public void recordInvalidMagic() { }
        public void recordInvalidOffset() { }
        public void recordInvalidSequence() { }
        public void recordInvalidChecksums() { }
        public void recordNoKeyCompactedTopic() { }
    }
}
