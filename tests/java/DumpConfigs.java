import java.lang.reflect.Field;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.TreeMap;
import org.apache.kafka.common.config.ConfigDef;
import org.apache.kafka.common.config.types.Password;
import org.apache.kafka.coordinator.group.GroupConfig;
import org.apache.kafka.server.config.AbstractKafkaConfig;
import org.apache.kafka.server.config.DynamicBrokerConfig;
import org.apache.kafka.server.config.DynamicConfig;
import org.apache.kafka.server.config.ServerTopicConfigSynonyms;
import org.apache.kafka.server.metrics.ClientMetricsConfigs;
import org.apache.kafka.storage.internals.log.LogConfig;

/**
 * Prints Apache Kafka's own configuration definitions as one JSON object: per resource a list of
 * [key, type, default, valid values, importance, internal], then the dynamic keys and the synonyms.
 * A default is a string, null (none is set) or false (the key must be given).
 */
public class DumpConfigs {
    public static void main(String[] arguments) throws Exception {
        List<String> parts = new ArrayList<>();
        parts.add(definitions("broker", AbstractKafkaConfig.CONFIG_DEF.configKeys()));
        parts.add(definitions("topic", LogConfig.configDefCopy().configKeys()));
        parts.add(definitions("group", GroupConfig.CONFIG_DEF.configKeys()));
        parts.add(definitions("client_metrics", ClientMetricsConfigs.configDef().configKeys()));
        parts.add(definitions("dynamic", DynamicConfig.Broker.configKeys()));
        parts.add(text("update") + ":" + object(new TreeMap<>(DynamicBrokerConfig.dynamicConfigUpdateModes())));
        parts.add(text("topic_synonyms") + ":" + topicSynonyms());
        parts.add(text("group_synonyms") + ":" + groupSynonyms());
        parts.add(text("broker_synonyms") + ":" + brokerSynonyms());
        System.out.println("{" + String.join(",\n", parts) + "}");
    }

    static String definitions(String name, Map<String, ConfigDef.ConfigKey> keys) throws Exception {
        List<String> rows = new ArrayList<>();
        for (ConfigDef.ConfigKey key : keys.values()) {
            rows.add("[" + text(key.name) + "," + text(key.type.name()) + "," + defaultOf(key) + "," + validOf(key)
                + "," + text(key.importance.name()) + "," + key.internalConfig + "]");
        }
        return text(name) + ":[\n" + String.join(",\n", rows) + "]";
    }

    static String defaultOf(ConfigDef.ConfigKey key) {
        if (!key.hasDefault()) return "false";
        if (key.defaultValue instanceof Password) return text(((Password) key.defaultValue).value());
        return text(ConfigDef.convertToString(key.defaultValue, key.type));
    }

    static String validOf(ConfigDef.ConfigKey key) throws Exception {
        if (key.validator == null) return "\"\"";
        String valid = key.validator.toString();
        if (key.validator instanceof ConfigDef.ValidList) {
            valid += flag(key.validator, "isEmptyAllowed", " not empty", false);
            valid += flag(key.validator, "isNullAllowed", " or null", true);
        }
        return text(valid);
    }

    static String flag(Object validator, String name, String words, boolean when) throws Exception {
        Field field = ConfigDef.ValidList.class.getDeclaredField(name);
        field.setAccessible(true);
        return field.getBoolean(validator) == when ? words : "";
    }

    static String topicSynonyms() {
        Map<String, String> found = new TreeMap<>();
        ServerTopicConfigSynonyms.ALL_TOPIC_CONFIG_SYNONYMS.forEach((key, synonyms) -> {
            List<String> names = new ArrayList<>();
            synonyms.forEach(synonym -> names.add(synonym.name() + "*" + synonym.converter().apply("1")));
            found.put(key, String.join(" ", names));
        });
        return object(found);
    }

    static String groupSynonyms() {
        Map<String, String> found = new TreeMap<>();
        GroupConfig.ALL_GROUP_CONFIG_SYNONYMS.forEach((key, synonym) -> found.put(key, synonym.orElse("")));
        return object(found);
    }

    static String brokerSynonyms() {
        Map<String, String> found = new TreeMap<>();
        for (String key : AbstractKafkaConfig.CONFIG_DEF.names()) {
            List<String> names = DynamicBrokerConfig.brokerConfigSynonyms(key, true);
            if (!names.equals(List.of(key))) found.put(key, String.join(" ", names));
        }
        return object(found);
    }

    static String object(Map<String, String> pairs) {
        List<String> parts = new ArrayList<>();
        pairs.forEach((key, value) -> parts.add(text(key) + ":" + text(value)));
        return "{" + String.join(",\n", parts) + "}";
    }

    static String text(String value) {
        if (value == null) return "null";
        return "\"" + value.replace("\\", "\\\\").replace("\"", "\\\"") + "\"";
    }
}
