package sextant;

import java.time.LocalDateTime;
import java.util.Arrays;
import org.apache.flink.table.annotation.DataTypeHint;
import org.apache.flink.table.annotation.FunctionHint;
import org.apache.flink.table.functions.AggregateFunction;
import org.apache.flink.types.Row;

/** Aggregates that Flink lacks, or has in a form that loses digits. All of them merge. */
public final class Aggregates {
    private Aggregates() {}

    /** The offset range of a window's events in each partition: [partition, first, last], sorted. */
    @FunctionHint(output = @DataTypeHint(Offsets.TYPE))
    public static final class Offsets extends AggregateFunction<Row[], Offsets.Ranges> {
        static final String TYPE = "ARRAY<ROW<`partition` INT NOT NULL, `first` BIGINT NOT NULL,"
                + " `last` BIGINT NOT NULL> NOT NULL> NOT NULL";

        public static final class Ranges {
            /** Partition, first and last offset, one behind the other. */
            public long[] spans = new long[0];
        }

        @Override
        public Ranges createAccumulator() {
            return new Ranges();
        }

        public void accumulate(Ranges ranges, Integer partition, Long offset) {
            if (partition != null && offset != null) {
                add(ranges, partition, offset, offset);
            }
        }

        public void merge(Ranges ranges, Iterable<Ranges> others) {
            for (Ranges other : others) {
                for (int place = 0; place < other.spans.length; place += 3) {
                    add(ranges, other.spans[place], other.spans[place + 1], other.spans[place + 2]);
                }
            }
        }

        private static void add(Ranges ranges, long partition, long first, long last) {
            long[] spans = ranges.spans;
            int place = 0;
            while (place < spans.length && spans[place] < partition) {
                place += 3;
            }
            if (place < spans.length && spans[place] == partition) {
                spans[place + 1] = Math.min(spans[place + 1], first);
                spans[place + 2] = Math.max(spans[place + 2], last);
                return;
            }
            long[] wider = new long[spans.length + 3];
            System.arraycopy(spans, 0, wider, 0, place);
            System.arraycopy(spans, place, wider, place + 3, spans.length - place);
            wider[place] = partition;
            wider[place + 1] = first;
            wider[place + 2] = last;
            ranges.spans = wider;
        }

        @Override
        public Row[] getValue(Ranges ranges) {
            Row[] rows = new Row[ranges.spans.length / 3];
            for (int place = 0; place < rows.length; place++) {
                long[] spans = ranges.spans;
                rows[place] = Row.of((int) spans[3 * place], spans[3 * place + 1], spans[3 * place + 2]);
            }
            return rows;
        }
    }

    /** The different whole numbers, sorted. */
    @FunctionHint(output = @DataTypeHint("ARRAY<INT NOT NULL> NOT NULL"))
    public static final class Distinct extends AggregateFunction<Integer[], Distinct.Ids> {
        public static final class Ids {
            public int[] ids = new int[0];
        }

        @Override
        public Ids createAccumulator() {
            return new Ids();
        }

        public void accumulate(Ids found, Integer id) {
            if (id != null) {
                add(found, id);
            }
        }

        public void accumulate(Ids found, @DataTypeHint("ARRAY<INT NOT NULL>") Integer[] ids) {
            if (ids != null) {
                for (int id : ids) {
                    add(found, id);
                }
            }
        }

        public void merge(Ids found, Iterable<Ids> others) {
            for (Ids other : others) {
                for (int id : other.ids) {
                    add(found, id);
                }
            }
        }

        private static void add(Ids found, int id) {
            int place = Arrays.binarySearch(found.ids, id);
            if (place >= 0) {
                return;
            }
            int[] wider = Arrays.copyOf(found.ids, found.ids.length + 1);
            wider[wider.length - 1] = id;
            Arrays.sort(wider);
            found.ids = wider;
        }

        @Override
        public Integer[] getValue(Ids found) {
            return Arrays.stream(found.ids).boxed().toArray(Integer[]::new);
        }
    }

    /**
     * The sum of squared deviations from the mean, merged as in Chan, Golub, LeVeque (1979); numbers beyond 1e150 are
     * left out, as in the engine.
     */
    public static final class Deviations extends AggregateFunction<Double, Deviations.Moments> {
        private static final double LARGEST = 1e150;

        public static final class Moments {
            public long count = 0;
            public double mean = 0;
            public double m2 = 0;
        }

        @Override
        public Moments createAccumulator() {
            return new Moments();
        }

        public void accumulate(Moments moments, Double number) {
            if (number != null && Math.abs(number) <= LARGEST) {
                moments.count++;
                double apart = number - moments.mean;
                moments.mean += apart / moments.count;
                moments.m2 += apart * (number - moments.mean);
            }
        }

        public void merge(Moments moments, Iterable<Moments> others) {
            for (Moments other : others) {
                if (other.count > 0) {
                    long count = moments.count + other.count;
                    double apart = other.mean - moments.mean;
                    moments.m2 += other.m2 + apart * apart * moments.count * other.count / count;
                    moments.mean += apart * other.count / count;
                    moments.count = count;
                }
            }
        }

        @Override
        public Double getValue(Moments moments) {
            return moments.count == 0 ? null : Double.valueOf(moments.m2);
        }
    }

    /** The value, as text, of the earliest event that has one; of equal times by partition, then offset. */
    public static class First extends AggregateFunction<String, First.End> {
        public static final class End {
            public String value = null;
            @DataTypeHint("TIMESTAMP(3)")
            public LocalDateTime time = null;
            public long partition = 0;
            public long offset = 0;
        }

        @Override
        public End createAccumulator() {
            return new End();
        }

        public void accumulate(
                End end, String value, @DataTypeHint("TIMESTAMP(3)") LocalDateTime time, Integer partition, Long offset) {
            if (value != null && time != null && partition != null && offset != null) {
                take(end, value, time, partition, offset);
            }
        }

        public void merge(End end, Iterable<End> others) {
            for (End other : others) {
                if (other.value != null) {
                    take(end, other.value, other.time, other.partition, other.offset);
                }
            }
        }

        private void take(End end, String value, LocalDateTime time, long partition, long offset) {
            if (end.value != null) {
                int order = time.compareTo(end.time);
                order = order != 0 ? order : Long.compare(partition, end.partition);
                order = order != 0 ? order : Long.compare(offset, end.offset);
                if (!isBetter(order)) {
                    return;
                }
            }
            end.value = value;
            end.time = time;
            end.partition = partition;
            end.offset = offset;
        }

        protected boolean isBetter(int order) {
            return order < 0;
        }

        @Override
        public String getValue(End end) {
            return end.value;
        }
    }

    /** The latest one. */
    public static final class Last extends First {
        @Override
        protected boolean isBetter(int order) {
            return order > 0;
        }
    }
}
