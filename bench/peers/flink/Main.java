import com.fasterxml.jackson.core.JsonFactory;
import com.fasterxml.jackson.core.JsonParser;
import com.fasterxml.jackson.core.JsonToken;
import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.util.Comparator;
import java.util.Optional;
import org.apache.flink.api.common.eventtime.WatermarkStrategy;
import org.apache.flink.api.common.functions.AggregateFunction;
import org.apache.flink.api.common.serialization.DeserializationSchema;
import org.apache.flink.api.common.typeinfo.TypeInformation;
import org.apache.flink.configuration.Configuration;
import org.apache.flink.connector.base.DeliveryGuarantee;
import org.apache.flink.connector.kafka.sink.KafkaRecordSerializationSchema;
import org.apache.flink.connector.kafka.sink.KafkaSink;
import org.apache.flink.connector.kafka.source.KafkaSource;
import org.apache.flink.connector.kafka.source.enumerator.initializer.OffsetsInitializer;
import org.apache.flink.connector.kafka.source.reader.deserializer.KafkaRecordDeserializationSchema;
import org.apache.flink.streaming.api.environment.StreamExecutionEnvironment;
import org.apache.flink.streaming.api.functions.windowing.ProcessWindowFunction;
import org.apache.flink.streaming.api.windowing.assigners.TumblingEventTimeWindows;
import org.apache.flink.streaming.api.windowing.windows.TimeWindow;
import org.apache.flink.util.Collector;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.producer.ProducerRecord;

/** Flink in a local MiniCluster, two slots: tumbling windows by event time, exactly once, to the output topic. */
public class Main {
    public static class Ev { public String key; public long ts; public double value; public Ev() {} }
    public static class Acc { public long n; public double sum; public double min = Double.MAX_VALUE; public double max = -Double.MAX_VALUE; public Acc() {} }
    public static class Out { public String key; public byte[] json; public Out() {} }

    static final JsonFactory JSON = new JsonFactory();
    static final String OUT = System.getenv("OUT");

    public static class De implements KafkaRecordDeserializationSchema<Ev> {
        @Override public void open(DeserializationSchema.InitializationContext context) throws IOException {
            Files.write(Path.of(System.getenv("READY")), new byte[0]);
        }
        @Override public void deserialize(ConsumerRecord<byte[], byte[]> r, Collector<Ev> out) throws IOException {
            Ev e = new Ev();
            e.key = new String(r.key(), StandardCharsets.UTF_8);
            try (JsonParser p = JSON.createParser(r.value())) {
                int depth = 0;
                for (JsonToken t = p.nextToken(); t != null; t = p.nextToken()) {
                    if (t == JsonToken.START_OBJECT) depth++;
                    else if (t == JsonToken.END_OBJECT) depth--;
                    else if (t == JsonToken.FIELD_NAME && depth == 1) {
                        String f = p.currentName();
                        if (f.equals("ts")) { p.nextToken(); e.ts = p.getLongValue(); }
                        else if (f.equals("value")) { p.nextToken(); e.value = p.getDoubleValue(); }
                    }
                }
            }
            out.collect(e);
        }
        @Override public TypeInformation<Ev> getProducedType() { return TypeInformation.of(Ev.class); }
    }

    public static class Agg implements AggregateFunction<Ev, Acc, Acc> {
        @Override public Acc createAccumulator() { return new Acc(); }
        @Override public Acc add(Ev e, Acc a) { a.n++; a.sum += e.value; a.min = Math.min(a.min, e.value); a.max = Math.max(a.max, e.value); return a; }
        @Override public Acc getResult(Acc a) { return a; }
        @Override public Acc merge(Acc a, Acc b) { a.n += b.n; a.sum += b.sum; a.min = Math.min(a.min, b.min); a.max = Math.max(a.max, b.max); return a; }
    }

    public static class Emit extends ProcessWindowFunction<Acc, Out, String, TimeWindow> {
        @Override public void process(String key, Context c, Iterable<Acc> in, Collector<Out> out) {
            Acc a = in.iterator().next();
            Out o = new Out();
            o.key = key;
            o.json = ("{\"key\":\"" + key + "\",\"start\":" + c.window().getStart() + ",\"end\":" + c.window().getEnd() + ",\"count\":" + a.n
                + ",\"sum\":" + a.sum + ",\"min\":" + a.min + ",\"max\":" + a.max + "}").getBytes(StandardCharsets.UTF_8);
            out.collect(o);
        }
    }

    public static void main(String[] args) throws Exception {
        var env = System.getenv();
        Path dir = Path.of(env.get("STATE_DIR"));
        Configuration c = new Configuration();
        c.setString("execution.checkpointing.interval", env.get("COMMIT_MS") + " ms");
        c.setString("execution.checkpointing.mode", "EXACTLY_ONCE");
        c.setString("execution.checkpointing.dir", "file://" + dir.toAbsolutePath());
        c.setString("execution.checkpointing.externalized-checkpoint-retention", "RETAIN_ON_CANCELLATION");
        c.setString("state.backend.type", env.get("BACKEND"));
        c.setString("pipeline.auto-watermark-interval", "20 ms");
        c.setString("execution.buffer-timeout.interval", "5 ms");
        c.setString("restart-strategy.type", "none");
        c.setString("parallelism.default", "2");
        c.setString("pipeline.object-reuse", "true");
        try (var s = Files.walk(dir)) {                    // the newest complete checkpoint, if any: we are a restart
            Optional<Path> last = s.filter(p -> p.getFileName().toString().equals("_metadata"))
                .max(Comparator.comparingLong(p -> p.toFile().lastModified()));
            last.ifPresent(p -> c.setString("execution.state-recovery.path", "file://" + p.getParent().toAbsolutePath()));
            System.err.println("restored from " + last);
        }
        StreamExecutionEnvironment x = StreamExecutionEnvironment.getExecutionEnvironment(c);

        KafkaSource<Ev> source = KafkaSource.<Ev>builder()
            .setBootstrapServers(env.get("BOOTSTRAP")).setTopics(env.get("IN")).setGroupId(env.get("GROUP"))
            .setStartingOffsets(OffsetsInitializer.earliest())
            .setProperty("fetch.max.wait.ms", "20")
            .setProperty("isolation.level", "read_committed")
            .setDeserializer(new De()).build();
        var sink = KafkaSink.<Out>builder()
            .setBootstrapServers(env.get("BOOTSTRAP"))
            .setDeliveryGuarantee(DeliveryGuarantee.EXACTLY_ONCE)
            .setTransactionalIdPrefix(env.get("GROUP"))
            .setProperty("transaction.timeout.ms", "60000")
            .setProperty("linger.ms", "5")
            .setRecordSerializer((KafkaRecordSerializationSchema<Out>) (o, ctx, ts) ->
                new ProducerRecord<>(OUT, o.key.getBytes(StandardCharsets.UTF_8), o.json))
            .build();
        x.fromSource(source, WatermarkStrategy.<Ev>forBoundedOutOfOrderness(Duration.ofSeconds(5)).withTimestampAssigner((e, t) -> e.ts), "in")
            .uid("in")
            .keyBy(e -> e.key)
            .window(TumblingEventTimeWindows.of(Duration.ofSeconds(10)))
            .aggregate(new Agg(), new Emit()).uid("agg")
            .sinkTo(sink).uid("out");
        x.execute("windows");
    }
}
