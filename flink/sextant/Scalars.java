package sextant;

import java.math.BigDecimal;
import java.math.RoundingMode;
import java.nio.charset.StandardCharsets;
import java.time.DayOfWeek;
import java.time.Instant;
import java.time.LocalDate;
import java.time.LocalDateTime;
import java.time.OffsetDateTime;
import java.time.ZoneOffset;
import java.time.format.DateTimeParseException;
import java.time.temporal.ChronoUnit;
import java.time.temporal.IsoFields;
import java.time.temporal.TemporalAdjusters;
import java.util.LinkedHashMap;
import java.util.Locale;
import java.util.Map;
import java.util.regex.Pattern;
import org.apache.flink.table.annotation.DataTypeHint;
import org.apache.flink.table.functions.ScalarFunction;

/** Where Flink's own SQL differs from the language of definitions (libs/common/expressions): null for what has no result. */
public final class Scalars {
    private Scalars() {}

    /** Of whole numbers: null beyond 64 bits. */
    public static final class Plus extends ScalarFunction {
        public Long eval(Long a, Long b) {
            if (a == null || b == null) {
                return null;
            }
            long sum = a + b;
            return ((a ^ sum) & (b ^ sum)) < 0 ? null : Long.valueOf(sum);
        }
    }

    public static final class Minus extends ScalarFunction {
        public Long eval(Long a, Long b) {
            if (a == null || b == null) {
                return null;
            }
            long rest = a - b;
            return ((a ^ b) & (a ^ rest)) < 0 ? null : Long.valueOf(rest);
        }
    }

    public static final class Times extends ScalarFunction {
        public Long eval(Long a, Long b) {
            if (a == null || b == null) {
                return null;
            }
            try {
                return Math.multiplyExact(a, b);
            } catch (ArithmeticException overflow) {
                return null;
            }
        }
    }

    public static final class Negate extends ScalarFunction {
        public Long eval(Long a) {
            return a == null || a == Long.MIN_VALUE ? null : Long.valueOf(-a);
        }
    }

    public static final class Modulo extends ScalarFunction {
        public Long eval(Long a, Long b) {
            return a == null || b == null || b == 0 ? null : Long.valueOf(b == -1 ? 0 : a % b);
        }
    }

    public static final class Divide extends ScalarFunction {
        public Double eval(Double a, Double b) {
            return a == null || b == null || b == 0 ? null : Double.valueOf(a / b);
        }
    }

    /** NaN and infinity are no numbers. */
    public static final class Finite extends ScalarFunction {
        public Double eval(Double a) {
            return a == null || !Double.isFinite(a) ? null : a;
        }
    }

    /** A whole number of 64 bits: of doubles the nearest, to even in the middle; of decimals the number itself. */
    public static final class Whole extends ScalarFunction {
        private static final BigDecimal LEAST = BigDecimal.valueOf(Long.MIN_VALUE);
        private static final BigDecimal MOST = BigDecimal.valueOf(Long.MAX_VALUE);

        public Long eval(Double a) {
            if (a == null || !Double.isFinite(a)) {
                return null;
            }
            double whole = Math.rint(a);
            return whole >= -0x1p63 && whole < 0x1p63 ? Long.valueOf((long) whole) : null;
        }

        public Long eval(@DataTypeHint("DECIMAL(38, 0)") BigDecimal a) {
            return a == null || a.compareTo(LEAST) < 0 || a.compareTo(MOST) > 0 ? null : Long.valueOf(a.longValue());
        }
    }

    /** Half away from zero. */
    public static final class Round extends ScalarFunction {
        public Double eval(Double a, Integer digits) {
            if (a == null || !Double.isFinite(a)) {
                return null;
            }
            double scale = Math.pow(10, digits), size = Math.abs(a) * scale;
            if (!Double.isFinite(size)) {
                return a;
            }
            double floor = Math.floor(size);
            return Math.copySign((size - floor >= 0.5 ? floor + 1 : floor) / scale, a);
        }
    }

    /** LIKE, and ILIKE where `loose`: % is any text, _ one character; nothing escapes. */
    public static final class Like extends ScalarFunction {
        private transient String last;
        private transient boolean lastLoose;
        private transient Pattern pattern;

        public Boolean eval(String text, String like, Boolean loose) {
            if (text == null || like == null) {
                return null;
            }
            if (pattern == null || !like.equals(last) || loose != lastLoose) {
                StringBuilder regex = new StringBuilder();
                like.codePoints().forEach(letter -> regex.append(
                        letter == '%' ? ".*" : letter == '_' ? "." : Pattern.quote(Character.toString(letter))));
                int flags = Pattern.DOTALL | (loose ? Pattern.CASE_INSENSITIVE | Pattern.UNICODE_CASE : 0);
                pattern = Pattern.compile(regex.toString(), flags);
                last = like;
                lastLoose = loose;
            }
            return pattern.matcher(text).matches();
        }
    }

    /** Whether the whole text fits a regular expression. */
    public static final class Matches extends ScalarFunction {
        private transient String last;
        private transient Pattern pattern;

        public Boolean eval(String text, String regex) {
            if (text == null || regex == null) {
                return null;
            }
            if (!regex.equals(last)) {
                pattern = Pattern.compile(regex);
                last = regex;
            }
            return pattern.matcher(text).matches();
        }
    }

    /** EXTRACT: Sunday is day 0 of DOW and day 7 of ISODOW. */
    public static final class Part extends ScalarFunction {
        public Long eval(String part, @DataTypeHint("TIMESTAMP(3)") LocalDateTime time) {
            if (time == null) {
                return null;
            }
            switch (part) {
                case "HOUR": return (long) time.getHour();
                case "MINUTE": return (long) time.getMinute();
                case "SECOND": return (long) time.getSecond();
                default: return eval(part, time.toLocalDate());
            }
        }

        public Long eval(String part, LocalDate day) {
            if (day == null) {
                return null;
            }
            switch (part) {
                case "YEAR": return (long) day.getYear();
                case "QUARTER": return (long) day.get(IsoFields.QUARTER_OF_YEAR);
                case "MONTH": return (long) day.getMonthValue();
                case "WEEK": return (long) day.get(IsoFields.WEEK_OF_WEEK_BASED_YEAR);
                case "DAY": return (long) day.getDayOfMonth();
                case "DOY": return (long) day.getDayOfYear();
                case "DOW": return (long) day.getDayOfWeek().getValue() % 7;
                case "ISODOW": return (long) day.getDayOfWeek().getValue();
                default: throw new IllegalArgumentException("no part of a time: " + part);
            }
        }
    }

    /** Seconds since the epoch. */
    public static final class Epoch extends ScalarFunction {
        public Double eval(@DataTypeHint("TIMESTAMP(3)") LocalDateTime time) {
            return time == null ? null : Double.valueOf(time.toInstant(ZoneOffset.UTC).toEpochMilli() / 1000.0);
        }
    }

    /** DATE_TRUNC; weeks begin on Monday. */
    public static final class Truncate extends ScalarFunction {
        @DataTypeHint("TIMESTAMP(3)")
        public LocalDateTime eval(String unit, @DataTypeHint("TIMESTAMP(3)") LocalDateTime time) {
            if (time == null) {
                return null;
            }
            switch (unit) {
                case "SECOND": return time.truncatedTo(ChronoUnit.SECONDS);
                case "MINUTE": return time.truncatedTo(ChronoUnit.MINUTES);
                case "HOUR": return time.truncatedTo(ChronoUnit.HOURS);
                default: return eval(unit, time.toLocalDate()).atStartOfDay();
            }
        }

        public LocalDate eval(String unit, LocalDate day) {
            if (day == null) {
                return null;
            }
            switch (unit) {
                case "DAY": return day;
                case "WEEK": return day.with(TemporalAdjusters.previousOrSame(DayOfWeek.MONDAY));
                case "MONTH": return day.withDayOfMonth(1);
                case "QUARTER": return day.with(IsoFields.DAY_OF_QUARTER, 1);
                case "YEAR": return day.withDayOfYear(1);
                default: throw new IllegalArgumentException("no unit of time: " + unit);
            }
        }
    }

    /** A time in JSON: milliseconds since the epoch, or RFC 3339, without a zone in UTC. */
    public static final class Moment extends ScalarFunction {
        @DataTypeHint("TIMESTAMP(3)")
        public LocalDateTime eval(String text) {
            if (text == null) {
                return null;
            }
            try {
                if (text.matches("-?\\d+")) {
                    return LocalDateTime.ofInstant(Instant.ofEpochMilli(Long.parseLong(text)), ZoneOffset.UTC);
                }
                String spaced = text.trim().replace(' ', 'T');
                boolean zoned = spaced.matches(".*([zZ]|[+-]\\d{2}:?\\d{2})$");
                LocalDateTime time = zoned
                        ? OffsetDateTime.parse(spaced).withOffsetSameInstant(ZoneOffset.UTC).toLocalDateTime()
                        : LocalDateTime.parse(spaced);
                return time.truncatedTo(ChronoUnit.MILLIS);
            } catch (DateTimeParseException | NumberFormatException error) {
                return null;
            }
        }
    }

    /** A value in a series' name (libs/common/events/series.py): percent-encoded but for A-Z a-z 0-9 _ . ~ - and spaces. */
    public static final class Encode extends ScalarFunction {
        private static final Pattern PLAIN = Pattern.compile("[A-Za-z0-9_.~ -]*");

        public String eval(String text) {
            if (text == null || PLAIN.matcher(text).matches()) {
                return text;
            }
            StringBuilder out = new StringBuilder();
            for (byte each : text.getBytes(StandardCharsets.UTF_8)) {
                char letter = (char) (each & 0xFF);
                boolean plain = letter < 0x80 && PLAIN.matcher(Character.toString(letter)).matches();
                out.append(plain ? Character.toString(letter) : String.format(Locale.ROOT, "%%%02X", (int) letter));
            }
            return out.toString();
        }
    }

    /** A map of names, given as one text with commas between, to the values behind it; the order is that of the names. */
    private static <T> Map<String, T> map(String names, T[] values) {
        Map<String, T> map = new LinkedHashMap<>();
        if (!names.isEmpty()) {
            String[] keys = names.split(",");
            for (int place = 0; place < keys.length; place++) {
                map.put(keys[place], values[place]);
            }
        }
        return map;
    }

    /** The dimensions of a series. */
    public static final class Series extends ScalarFunction {
        @DataTypeHint("MAP<STRING NOT NULL, STRING> NOT NULL")
        public Map<String, String> eval(String names, String... values) {
            return map(names, values);
        }
    }

    /** The measures of a window. */
    public static final class Measures extends ScalarFunction {
        @DataTypeHint("MAP<STRING NOT NULL, DOUBLE> NOT NULL")
        public Map<String, Double> eval(String names, Double... values) {
            return map(names, values);
        }
    }
}
