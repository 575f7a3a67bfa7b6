import com.fasterxml.jackson.core.JsonFactory;
import com.fasterxml.jackson.core.JsonParser;
import com.fasterxml.jackson.core.JsonToken;
import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.util.Properties;
import java.util.concurrent.CountDownLatch;
import org.apache.kafka.clients.consumer.ConsumerConfig;
import org.apache.kafka.clients.producer.ProducerConfig;
import org.apache.kafka.common.serialization.Serde;
import org.apache.kafka.common.serialization.Serdes;
import org.apache.kafka.common.utils.Bytes;
import org.apache.kafka.streams.KafkaStreams;
import org.apache.kafka.streams.KeyValue;
import org.apache.kafka.streams.StreamsBuilder;
import org.apache.kafka.streams.StreamsConfig;
import org.apache.kafka.streams.kstream.Consumed;
import org.apache.kafka.streams.kstream.EmitStrategy;
import org.apache.kafka.streams.kstream.Grouped;
import org.apache.kafka.streams.kstream.KTable;
import org.apache.kafka.streams.kstream.Materialized;
import org.apache.kafka.streams.kstream.Produced;
import org.apache.kafka.streams.kstream.Suppressed;
import org.apache.kafka.streams.kstream.TimeWindows;
import org.apache.kafka.streams.kstream.Windowed;
import org.apache.kafka.streams.state.WindowStore;

/** Kafka Streams, two threads: tumbling windows by event time, exactly once, emitted on window close. */
public class Main {
    record Ev(long ts, double value) {}
    record Agg(long n, double sum, double min, double max) {
        Agg add(Ev e) { return new Agg(n + 1, sum + e.value, Math.min(min, e.value), Math.max(max, e.value)); }
    }
    static final JsonFactory JSON = new JsonFactory();

    static Ev parse(byte[] b) {
        long ts = 0;
        double value = 0;
        try (JsonParser p = JSON.createParser(b)) {
            int depth = 0;
            for (JsonToken t = p.nextToken(); t != null; t = p.nextToken()) {
                if (t == JsonToken.START_OBJECT) depth++;
                else if (t == JsonToken.END_OBJECT) depth--;
                else if (t == JsonToken.FIELD_NAME && depth == 1) {
                    String f = p.currentName();
                    if (f.equals("ts")) { p.nextToken(); ts = p.getLongValue(); }
                    else if (f.equals("value")) { p.nextToken(); value = p.getDoubleValue(); }
                }
            }
        } catch (IOException e) {
            throw new RuntimeException(e);
        }
        return new Ev(ts, value);
    }

    static byte[] json(String key, long start, long end, Agg a) {
        return ("{\"key\":\"" + key + "\",\"start\":" + start + ",\"end\":" + end + ",\"count\":" + a.n + ",\"sum\":" + a.sum
            + ",\"min\":" + a.min + ",\"max\":" + a.max + "}").getBytes(StandardCharsets.UTF_8);
    }

    public static void main(String[] args) throws Exception {
        var env = System.getenv();
        Properties c = new Properties();
        c.put(StreamsConfig.APPLICATION_ID_CONFIG, env.get("GROUP"));
        c.put(StreamsConfig.BOOTSTRAP_SERVERS_CONFIG, env.get("BOOTSTRAP"));
        c.put(StreamsConfig.STATE_DIR_CONFIG, env.get("STATE_DIR"));
        c.put(StreamsConfig.PROCESSING_GUARANTEE_CONFIG, StreamsConfig.EXACTLY_ONCE_V2);
        c.put(StreamsConfig.COMMIT_INTERVAL_MS_CONFIG, Integer.parseInt(env.get("COMMIT_MS")));
        c.put(StreamsConfig.NUM_STREAM_THREADS_CONFIG, 2);
        c.put(StreamsConfig.consumerPrefix(ConsumerConfig.AUTO_OFFSET_RESET_CONFIG), "earliest");
        c.put(StreamsConfig.consumerPrefix(ConsumerConfig.SESSION_TIMEOUT_MS_CONFIG), 6000);
        c.put(StreamsConfig.consumerPrefix(ConsumerConfig.HEARTBEAT_INTERVAL_MS_CONFIG), 1000);
        c.put(StreamsConfig.consumerPrefix(ConsumerConfig.FETCH_MAX_WAIT_MS_CONFIG), 20);
        c.put(StreamsConfig.producerPrefix(ProducerConfig.LINGER_MS_CONFIG), 5);
        c.put("__emit.interval.ms.kstreams.windowed.aggregation__", 0L);

        Serde<Ev> ev = Serdes.serdeFrom((t, e) -> { throw new UnsupportedOperationException(); }, (t, b) -> parse(b));
        Serde<Agg> agg = Serdes.serdeFrom(
            (t, a) -> a == null ? null : ByteBuffer.allocate(32).putLong(a.n).putDouble(a.sum).putDouble(a.min).putDouble(a.max).array(),
            (t, b) -> { if (b == null) return null; ByteBuffer x = ByteBuffer.wrap(b); return new Agg(x.getLong(), x.getDouble(), x.getDouble(), x.getDouble()); });

        StreamsBuilder b = new StreamsBuilder();
        var windowed = b.stream(env.get("IN"), Consumed.with(Serdes.String(), ev).withTimestampExtractor((r, before) -> ((Ev) r.value()).ts()))
        .groupByKey(Grouped.with(Serdes.String(), ev))
        .windowedBy(TimeWindows.ofSizeAndGrace(Duration.ofSeconds(10), Duration.ofSeconds(5)));
        boolean suppress = env.containsKey("SUPPRESS");     // the older way: aggregate, then hold back until close
        KTable<Windowed<String>, Agg> table = (suppress ? windowed : windowed.emitStrategy(EmitStrategy.onWindowClose()))
        .aggregate(() -> new Agg(0, 0, Double.MAX_VALUE, -Double.MAX_VALUE), (k, e, a) -> a.add(e),
            Materialized.<String, Agg, WindowStore<Bytes, byte[]>>as("agg").withKeySerde(Serdes.String()).withValueSerde(agg));
        if (suppress) table = table.suppress(Suppressed.untilWindowCloses(Suppressed.BufferConfig.unbounded()));
        table.toStream()
        .map((w, a) -> KeyValue.pair(w.key(), json(w.key(), w.window().start(), w.window().end(), a)))
        .to(env.get("OUT"), Produced.with(Serdes.String(), Serdes.ByteArray()));

        KafkaStreams s = new KafkaStreams(b.build(), c);
        CountDownLatch done = new CountDownLatch(1);
        Runtime.getRuntime().addShutdownHook(new Thread(() -> { s.close(Duration.ofSeconds(15)); done.countDown(); }));
        s.start();
        done.await();
    }
}
