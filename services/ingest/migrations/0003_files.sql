-- Which files a pull has seen, and how far each was taken: bytes of text, rows of Parquet.
CREATE TABLE files (
  source text NOT NULL,
  path text NOT NULL,
  tag text NOT NULL,
  taken bigint NOT NULL,
  head text NOT NULL,
  records bigint NOT NULL,
  done boolean NOT NULL,
  seen_at timestamptz NOT NULL,
  PRIMARY KEY (source, path)
);
