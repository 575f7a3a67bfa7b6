package sextant;

import java.util.HashMap;
import java.util.Map;
import java.util.Optional;
import java.util.Set;
import org.apache.flink.configuration.ConfigOption;
import org.apache.flink.table.factories.ModuleFactory;
import org.apache.flink.table.functions.FunctionDefinition;
import org.apache.flink.table.module.Module;

/** `LOAD MODULE sextant`: the functions that compiled definitions call. */
public final class Functions implements Module {
    private static final Map<String, FunctionDefinition> ALL = new HashMap<>();

    static {
        ALL.put("sx_plus", new Scalars.Plus());
        ALL.put("sx_minus", new Scalars.Minus());
        ALL.put("sx_times", new Scalars.Times());
        ALL.put("sx_negate", new Scalars.Negate());
        ALL.put("sx_modulo", new Scalars.Modulo());
        ALL.put("sx_divide", new Scalars.Divide());
        ALL.put("sx_finite", new Scalars.Finite());
        ALL.put("sx_whole", new Scalars.Whole());
        ALL.put("sx_round", new Scalars.Round());
        ALL.put("sx_like", new Scalars.Like());
        ALL.put("sx_matches", new Scalars.Matches());
        ALL.put("sx_part", new Scalars.Part());
        ALL.put("sx_epoch", new Scalars.Epoch());
        ALL.put("sx_truncate", new Scalars.Truncate());
        ALL.put("sx_moment", new Scalars.Moment());
        ALL.put("sx_encode", new Scalars.Encode());
        ALL.put("sx_series", new Scalars.Series());
        ALL.put("sx_measures", new Scalars.Measures());
        ALL.put("sx_offsets", new Aggregates.Offsets());
        ALL.put("sx_distinct", new Aggregates.Distinct());
        ALL.put("sx_deviations", new Aggregates.Deviations());
        ALL.put("sx_first", new Aggregates.First());
        ALL.put("sx_last", new Aggregates.Last());
    }

    @Override
    public Set<String> listFunctions() {
        return ALL.keySet();
    }

    @Override
    public Optional<FunctionDefinition> getFunctionDefinition(String name) {
        return Optional.ofNullable(ALL.get(name.toLowerCase(java.util.Locale.ROOT)));
    }

    /** Finds it by its name. */
    public static final class Factory implements ModuleFactory {
        @Override
        public String factoryIdentifier() {
            return "sextant";
        }

        @Override
        public Set<ConfigOption<?>> requiredOptions() {
            return Set.of();
        }

        @Override
        public Set<ConfigOption<?>> optionalOptions() {
            return Set.of();
        }

        @Override
        public Module createModule(Context context) {
            return new Functions();
        }
    }
}
