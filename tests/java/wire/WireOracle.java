import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.io.PrintStream;
import java.lang.reflect.InvocationTargetException;
import java.lang.reflect.Method;
import java.nio.ByteBuffer;
import java.nio.charset.StandardCharsets;
import java.util.HashMap;
import java.util.HexFormat;
import java.util.Map;
import org.apache.kafka.common.protocol.ByteBufferAccessor;
import org.apache.kafka.common.protocol.Message;
import org.apache.kafka.common.protocol.ObjectSerializationCache;

/**
 * Apache Kafka's own message classes behind a pipe, one question and one answer a line.
 *
 * <pre>
 *   write NAME VERSION JSON   ->  ok HEX                 the message of these fields, encoded
 *   read NAME VERSION HEX     ->  ok HEX LEFT JSON       decoded, encoded again; bytes left over; its fields
 *                             ->  no EXCEPTION
 * </pre>
 */
public class WireOracle {
    private static final String[] PACKAGES = {
        "org.apache.kafka.common.message",
        "org.apache.kafka.common.metadata",
        "org.apache.kafka.coordinator.group.generated",
        "org.apache.kafka.coordinator.transaction.generated",
        "org.apache.kafka.coordinator.share.generated",
        "org.apache.kafka.server.log.remote.metadata.storage.generated",
        "org.apache.kafka.raft.generated",
    };
    private static final ObjectMapper MAPPER = new ObjectMapper();
    private static final Map<String, Class<?>> CLASSES = new HashMap<>();
    private static final Map<Class<?>, Method[]> CONVERTERS = new HashMap<>();

    public static void main(String[] arguments) throws Exception {
        PrintStream out = new PrintStream(System.out, false, StandardCharsets.UTF_8);
        BufferedReader in = new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8));
        for (String line = in.readLine(); line != null; line = in.readLine()) {
            String[] words = line.split(" ", 4);
            String answer;
            try {
                answer = answer(words[0], classOf(words[1]), Short.parseShort(words[2]), words.length > 3 ? words[3] : "");
            } catch (Throwable error) {
                Throwable cause = error instanceof InvocationTargetException ? error.getCause() : error;
                answer = "no " + cause.toString().replace('\n', ' ');
            }
            out.println(answer);
            out.flush();
        }
    }

    private static String answer(String verb, Class<?> cls, short version, String argument) throws Exception {
        if (verb.equals("write")) {
            Message message = (Message) converters(cls)[0].invoke(null, MAPPER.readTree(argument), version);
            return "ok " + HexFormat.of().formatHex(encode(message, version));
        }
        ByteBuffer buffer = ByteBuffer.wrap(HexFormat.of().parseHex(argument));
        Message message = (Message) cls.getConstructor().newInstance();
        message.read(new ByteBufferAccessor(buffer), version);
        int left = buffer.remaining();
        String json = MAPPER.writeValueAsString(converters(cls)[1].invoke(null, message, version, true));
        return "ok " + HexFormat.of().formatHex(encode(message, version)) + " " + left + " " + json;
    }

    private static byte[] encode(Message message, short version) {
        ObjectSerializationCache cache = new ObjectSerializationCache();
        ByteBuffer buffer = ByteBuffer.allocate(message.size(cache, version));
        message.write(new ByteBufferAccessor(buffer), cache, version);
        if (buffer.hasRemaining()) {
            throw new IllegalStateException("the size was wrong by " + buffer.remaining());
        }
        return buffer.array();
    }

    private static Class<?> classOf(String name) throws ClassNotFoundException {
        Class<?> known = CLASSES.get(name);
        if (known != null) {
            return known;
        }
        for (String suffix : new String[] {"Data", ""}) {
            for (String place : PACKAGES) {
                try {
                    Class<?> found = Class.forName(place + "." + name + suffix);
                    CLASSES.put(name, found);
                    return found;
                } catch (ClassNotFoundException absent) {
                    continue;
                }
            }
        }
        throw new ClassNotFoundException(name);
    }

    private static Method[] converters(Class<?> cls) throws Exception {
        Method[] known = CONVERTERS.get(cls);
        if (known == null) {
            Class<?> converter = Class.forName(cls.getName() + "JsonConverter");
            Method read = converter.getMethod("read", JsonNode.class, short.class);
            Method write = converter.getMethod("write", cls, short.class, boolean.class);
            known = new Method[] {read, write};
            CONVERTERS.put(cls, known);
        }
        return known;
    }
}
