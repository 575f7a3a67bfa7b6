package sextant;

import java.io.IOException;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Set;
import org.apache.flink.api.common.serialization.DeserializationSchema;
import org.apache.flink.api.common.typeinfo.TypeInformation;
import org.apache.flink.avro.registry.confluent.shaded.io.confluent.kafka.schemaregistry.client.rest.exceptions.RestClientException;
import org.apache.flink.configuration.ConfigOption;
import org.apache.flink.configuration.ConfigOptions;
import org.apache.flink.configuration.ReadableConfig;
import org.apache.flink.table.api.DataTypes;
import org.apache.flink.table.connector.ChangelogMode;
import org.apache.flink.table.connector.format.DecodingFormat;
import org.apache.flink.table.connector.source.DynamicTableSource;
import org.apache.flink.table.data.GenericRowData;
import org.apache.flink.table.data.RowData;
import org.apache.flink.table.factories.DeserializationFormatFactory;
import org.apache.flink.table.factories.DynamicTableFactory;
import org.apache.flink.table.factories.FactoryUtil;
import org.apache.flink.table.types.DataType;
import org.apache.flink.table.types.utils.DataTypeUtils;

/**
 * A source's events: another format (`of`: avro-confluent or json) that bears what else lies on the topic. A control
 * record (empty) is a row of nulls, whose headers say what it is; a record that cannot be decoded gives no row, for the
 * archive dead-letters it. A registry that does not answer is no fault of the record: the job fails and comes again.
 *
 * <p>Metadata: schema-id, the registry's id of the schema that the record was written with.
 */
public final class EventsFormat implements DeserializationFormatFactory {
    private static final ConfigOption<String> OF = ConfigOptions.key("of").stringType().noDefaultValue();
    private static final ConfigOption<String> URL = ConfigOptions.key("url").stringType().noDefaultValue();

    @Override
    public String factoryIdentifier() {
        return "sextant-events";
    }

    @Override
    public Set<ConfigOption<?>> requiredOptions() {
        return Set.of(OF);
    }

    @Override
    public Set<ConfigOption<?>> optionalOptions() {
        return Set.of(URL);
    }

    @Override
    public DecodingFormat<DeserializationSchema<RowData>> createDecodingFormat(
            DynamicTableFactory.Context context, ReadableConfig options) {
        String of = options.get(OF);
        DeserializationFormatFactory factory =
                FactoryUtil.discoverFactory(context.getClassLoader(), DeserializationFormatFactory.class, of);
        return new Events(factory.createDecodingFormat(context, options), of.equals("avro-confluent"));
    }

    private static final class Events implements DecodingFormat<DeserializationSchema<RowData>> {
        private final DecodingFormat<DeserializationSchema<RowData>> inner;
        private final boolean registered;
        private int metadata = 0;

        Events(DecodingFormat<DeserializationSchema<RowData>> inner, boolean registered) {
            this.inner = inner;
            this.registered = registered;
        }

        @Override
        public Map<String, DataType> listReadableMetadata() {
            Map<String, DataType> found = new HashMap<>();
            found.put("schema-id", DataTypes.INT());
            return found;
        }

        @Override
        public void applyReadableMetadata(List<String> keys) {
            metadata = keys.size();
        }

        @Override
        public DeserializationSchema<RowData> createRuntimeDecoder(
                DynamicTableSource.Context context, DataType physical) {
            DataType produced = physical;
            if (metadata > 0) {
                produced = DataTypeUtils.appendRowFields(physical, List.of(DataTypes.FIELD("schema-id", DataTypes.INT())));
            }
            int fields = DataType.getFieldCount(physical);
            return new Decoder(
                    inner.createRuntimeDecoder(context, physical),
                    context.createTypeInformation(produced), fields, metadata, registered);
        }

        @Override
        public ChangelogMode getChangelogMode() {
            return ChangelogMode.insertOnly();
        }
    }

    private static final class Decoder implements DeserializationSchema<RowData> {
        private static final long serialVersionUID = 1L;
        private final DeserializationSchema<RowData> inner;
        private final TypeInformation<RowData> produced;
        private final int fields;
        private final int metadata;
        private final boolean registered;

        Decoder(DeserializationSchema<RowData> inner, TypeInformation<RowData> produced, int fields, int metadata,
                boolean registered) {
            this.inner = inner;
            this.produced = produced;
            this.fields = fields;
            this.metadata = metadata;
            this.registered = registered;
        }

        @Override
        public void open(InitializationContext context) throws Exception {
            inner.open(context);
        }

        @Override
        public RowData deserialize(byte[] message) throws IOException {
            if (message == null || message.length == 0) {
                return new GenericRowData(fields + metadata);
            }
            RowData row;
            try {
                row = inner.deserialize(message);
            } catch (Exception error) {
                if (isOutage(error)) {
                    throw error;
                }
                return null;
            }
            return row == null || metadata == 0 ? row : withSchemaId((GenericRowData) row, message);
        }

        private RowData withSchemaId(GenericRowData row, byte[] message) {
            GenericRowData wider = new GenericRowData(row.getRowKind(), fields + metadata);
            for (int place = 0; place < fields; place++) {
                wider.setField(place, row.getField(place));
            }
            if (registered) {
                wider.setField(fields, java.nio.ByteBuffer.wrap(message, 1, 4).getInt());
            }
            return wider;
        }

        /** Whether the registry could not be asked; an id that it does not know is the record's own fault. */
        private static boolean isOutage(Throwable error) {
            for (Throwable each = error; each != null; each = each.getCause()) {
                if (each instanceof RestClientException) {
                    return ((RestClientException) each).getStatus() != 404;
                }
                if (each instanceof java.net.SocketException
                        || each instanceof java.net.SocketTimeoutException
                        || each instanceof java.net.UnknownHostException) {
                    return true;
                }
            }
            return false;
        }

        @Override
        public boolean isEndOfStream(RowData next) {
            return false;
        }

        @Override
        public TypeInformation<RowData> getProducedType() {
            return produced;
        }
    }
}
