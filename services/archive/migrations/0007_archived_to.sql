-- How far each topic is archived, for those who read its past here and go on in the topic.
CREATE VIEW read.archived AS SELECT topic, partition, next_offset FROM offsets;
