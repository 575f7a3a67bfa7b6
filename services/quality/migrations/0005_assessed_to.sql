-- How far each topic is judged, for those who wait for it.
CREATE VIEW read.assessed AS SELECT topic, partition, next_offset FROM offsets;
