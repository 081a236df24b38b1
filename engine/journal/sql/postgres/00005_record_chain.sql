-- +goose Up
ALTER TABLE executions ADD COLUMN request_id TEXT NOT NULL DEFAULT '';  -- of the request that fired it
ALTER TABLE records ADD COLUMN request_id TEXT NOT NULL DEFAULT '';

-- What became final of records, each entry bound to the one before it. Append only.
CREATE TABLE chain (
  seq           BIGINT PRIMARY KEY,  -- 1, 2, 3, …
  record_id     BIGINT NOT NULL,
  body          TEXT NOT NULL,       -- the record, as the hash is of it
  previous_hash TEXT NOT NULL,
  hash          TEXT NOT NULL
);
CREATE INDEX chain_record ON chain (record_id, seq);

-- The one row that whoever appends locks.
CREATE TABLE chain_head (
  id          BIGINT PRIMARY KEY CHECK (id = 1),
  seq         BIGINT NOT NULL,
  hash        TEXT NOT NULL,
  last_before BIGINT NOT NULL  -- records up to this one may have become final before there was a chain
);
INSERT INTO chain_head (id, seq, hash, last_before)
  SELECT 1, 0, '0000000000000000000000000000000000000000000000000000000000000000', COALESCE(MAX(id), 0) FROM records;

-- How far the chain was delivered to a sink, and who delivers.
CREATE TABLE sinks (
  name       TEXT PRIMARY KEY,
  delivered  BIGINT NOT NULL DEFAULT 0,  -- seq of the chain
  owner      TEXT NOT NULL DEFAULT '',
  expires_at BIGINT NOT NULL DEFAULT 0
);
