-- +goose Up
-- What has an id among policies: those of files by their name alone, and those
-- that are stored here as a whole. revisions.policies grows with each change.
CREATE TABLE stored_policies (
  id         BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  name       TEXT NOT NULL UNIQUE,
  origin     TEXT NOT NULL,               -- file, api, swr or tcr: who says what it is
  label      TEXT NOT NULL,               -- what a vendor's clients call it, unlike name not unique
  registry   TEXT NOT NULL,
  namespace  TEXT NOT NULL,
  body       TEXT NOT NULL,               -- JSON; empty for origin file
  document   TEXT NOT NULL,               -- what a vendor's API was given, as JSON, else empty
  creator    TEXT NOT NULL,
  revision   BIGINT NOT NULL,             -- of revisions, when it was written last
  created_at BIGINT NOT NULL,
  updated_at BIGINT NOT NULL
);
CREATE UNIQUE INDEX stored_policies_label ON stored_policies (origin, registry, namespace, label) WHERE origin <> 'file';

CREATE TABLE revisions (
  name     TEXT PRIMARY KEY,
  revision BIGINT NOT NULL
);

-- Who changed what through an API. A row is written before the change, and
-- completed after it.
CREATE TABLE audit (
  id          BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  at          BIGINT NOT NULL,
  caller      TEXT NOT NULL,
  api         TEXT NOT NULL,
  action      TEXT NOT NULL,
  target      TEXT NOT NULL,
  request_id  TEXT NOT NULL,
  outcome     TEXT NOT NULL DEFAULT '',   -- empty: it was not told what came of it
  finished_at BIGINT NOT NULL DEFAULT 0
);
CREATE INDEX audit_at ON audit (at);
