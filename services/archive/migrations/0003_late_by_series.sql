-- Late events are looked up by series, to explain one value.
CREATE INDEX late_events_by_series ON late_events (kpi, series_key, window_start);
DROP INDEX late_events_by_kpi;
